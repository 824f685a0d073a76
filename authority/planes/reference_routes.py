"""Operator plane: reference values, reviewed and rolled out, and attestation results for relying parties."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.responses import Response

from authority import api, ear, references, rollouts
from authority.operators import Operator
from authority.orders import Action, Order
from authority.planes.access import OPERATOR, access
from authority.planes.described import answers, second_operator
from authority.planes.paging import AfterName, AfterNumber, PageOf
from authority.references import Kind, State
from authority.refusal import Refused
from authority.roles import Scope
from authority.rollouts import MOST_STAGED, Wave
from authority.runtime import Push
from authority.views import find_node
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

View = dict[str, Any]
Demand = Callable[[Scope], Callable[[Request], Awaitable[Operator]]]
Nonce = Annotated[str | None, Query(min_length=12, max_length=88, pattern=r"^[A-Za-z0-9_-]+={0,2}$")]
"""8 to 64 bytes in base64url, as draft-ietf-rats-ear-04 has them."""
ValueId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class StageRequest(BaseModel):
    """Nodes that a value is rolled out to: `nodes` by name, or else a share of those that are like the canary.

    The share is of the nodes in `network` or `group`, where one is named, and counts those that accept the value
    already. `held_percent`: so many of the nodes that accept it must have shown it since, and none of them may fail.
    """

    model_config = ConfigDict(extra="forbid")

    nodes: list[str] = Field([], max_length=MOST_STAGED)
    percent: float | None = Field(None, gt=0, le=100)
    network: str | None = Field(None, max_length=63)
    group: str | None = Field(None, max_length=63)
    held_percent: float = Field(0, ge=0, le=100)

    def names(self, conn: Connection, value_id: int) -> list[str]:
        """The nodes that are wanted; raises `Refused`."""
        share = self.percent is not None or self.network is not None or self.group is not None
        if share == bool(self.nodes) or (self.nodes and self.held_percent):
            remedy = "Name `nodes`, or a share by `percent`, `network` or `group`."
            raise Refused(ErrorCode.MALFORMED, 422, "either nodes or a share of them", remedy)
        if self.nodes:
            return self.nodes
        return rollouts.choose(conn, value_id, Wave(self.percent or 100, self.network, self.group, self.held_percent))


class LearnRequest(BaseModel):
    """What is to be learned anew."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind = Kind.PCRS


def reference_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    """Add the routes."""
    _results(app, context, [Depends(demand(Scope.READ))])
    _reading(app, context, [Depends(demand(Scope.READ))])
    _deciding(app, context, demand)
    _rolling_out(app, context, demand)


def _reading(app: FastAPI, context: OperatorContext, read: list[Any]) -> None:
    @app.get("/v1/references", dependencies=read)
    @answers(list[api.Reference])
    @access(OPERATOR)
    async def list_references(
        page: PageOf, node: str | None = None, state: State | None = None, after: AfterNumber = 0
    ) -> list[View]:
        """Reference values and candidates, oldest first."""

        def view(conn: Connection) -> list[View]:
            node_id = _node_id(conn, node) if node is not None else None
            return references.listing(conn, node_id, None if state is None else state.value, after, page.limit)

        return page.full(await context.read(view), itemgetter("id"))

    @app.get("/v1/references/{value_id}", dependencies=read)
    @answers(api.ReferenceDetail)
    @access(OPERATOR)
    async def show_reference(value_id: ValueId) -> View:
        """One value, and what is different about it."""
        found: View = await context.read(lambda conn: references.detail(conn, value_id))
        return found


def _results(app: FastAPI, context: OperatorContext, read: list[Any]) -> None:
    rt = context.runtime

    @app.get("/v1/nodes/{name}/ear", dependencies=read)
    @answers(api.AttestationResult)
    @access(OPERATOR)
    async def node_ear(name: str, nonce: Nonce = None) -> View:
        """A signed attestation result (EAR) about the node; a nonce of the relying party's own comes back in it."""

        def make(conn: Connection) -> str:
            return ear.signed(conn, rt, _node_id(conn, name), rt.now(), nonce)

        token = await context.read(make)
        if not token:
            raise Refused(ErrorCode.UNAVAILABLE, 503, "this authority signs no attestation results", "Restart it.")
        return {"ear": token}

    @app.get("/v1/jwks", dependencies=read)
    @answers(api.KeySet)
    @access(OPERATOR)
    async def key_set() -> View:
        """The keys (RFC 7517) that attestation results are verified with."""
        return ear.jwks(rt.ear_key) if rt.ear_key is not None else {"keys": []}


def _deciding(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt, approver = context.runtime, Depends(demand(Scope.APPROVE))

    @app.post("/v1/references/{value_id}/accept")
    @second_operator
    @answers(api.Done)
    @access(OPERATOR)
    async def accept_reference(value_id: ValueId, response: Response, operator: Operator = approver) -> View:
        """Let the node show this value."""

        def order(conn: Connection) -> Order:
            return Order(Action.REFERENCE_ACCEPT, _value_name(conn, value_id), {"value_id": value_id})

        return await context.order(order, operator, response)

    @app.post("/v1/references/{value_id}/reject")
    @answers(api.Done)
    @access(OPERATOR)
    async def reject_reference(value_id: ValueId, operator: Operator = approver) -> View:
        """Close a candidate, or stop accepting a value."""
        return await context.act(_silent(lambda conn: references.reject(conn, value_id, operator.name, rt.now())))

    @app.post("/v1/nodes/{name}/learn")
    @second_operator
    @answers(api.Done)
    @access(OPERATOR)
    async def learn_reference(name: str, body: LearnRequest, response: Response, operator: Operator = approver) -> View:
        """Trust the next value that a sound quote of the node shows, and forget the others."""

        def order(conn: Connection) -> Order:
            arguments = {"node_id": _node_id(conn, name), "kind": body.kind.value}
            return Order(Action.REFERENCE_LEARN, f"{body.kind.value} of {name}", arguments)

        return await context.order(order, operator, response)


def _rolling_out(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt, approver = context.runtime, Depends(demand(Scope.APPROVE))

    @app.post("/v1/references/{value_id}/stage")
    @second_operator
    @answers(api.RolledOut)
    @access(OPERATOR)
    async def stage_reference(
        value_id: ValueId, body: StageRequest, response: Response, operator: Operator = approver
    ) -> View:
        """Accept a value that has held at its node at further ones, before they show it: by name, or in waves."""

        def order(conn: Connection) -> Order:
            names = body.names(conn, value_id)
            arguments = {"value_id": value_id, "node_ids": [_node_id(conn, name) for name in names]}
            target = f"{_value_name(conn, value_id)} for {len(names)} nodes: {', '.join(names)}"
            return Order(Action.REFERENCE_STAGE, target, arguments)

        return await context.order(order, operator, response)

    @app.get("/v1/references/{value_id}/rollout", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.RolloutNode])
    @access(OPERATOR)
    async def reference_rollout(value_id: ValueId, page: PageOf, after: AfterName = "") -> list[View]:
        """The nodes that a value was rolled out to, by name: which have shown it, and which fail."""
        return page.cut(await context.read(lambda conn: rollouts.progress(conn, value_id)), after, itemgetter("node"))

    @app.post("/v1/references/{value_id}/rollback")
    @answers(api.RolledOut)
    @access(OPERATOR)
    async def roll_back_reference(value_id: ValueId, operator: Operator = approver) -> View:
        """Withdraw a value wherever it was rolled out to."""
        done = await context.read(lambda conn: references.rollback(conn, value_id, operator.name, rt.now()))
        return {"ok": True, "nodes": done}


def _silent(action: Callable[[Connection], None]) -> Callable[[Connection], list[Push]]:
    """An action of which nodes hear with their next attestation."""

    def act(conn: Connection) -> list[Push]:
        action(conn)
        return []

    return act


def _value_name(conn: Connection, value_id: int) -> str:
    value = references.detail(conn, value_id)
    return f"value {value_id}, {value['kind']} of {value['node']}"


def _node_id(conn: Connection, name: str) -> str:
    row = find_node(conn, name)
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"no node named {name!r}", "List nodes with `node list`.")
    return str(row.id)
