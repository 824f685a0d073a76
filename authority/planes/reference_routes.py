"""Operator plane: reference values, reviewed and rolled out, and attestation results for relying parties."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from authority import ear, references
from authority.operators import Operator, Scope
from authority.planes.access import OPERATOR, access
from authority.references import Kind, State
from authority.refusal import Refused
from authority.runtime import Push
from authority.views import find_node
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_plane import OperatorContext

View = dict[str, Any]
Demand = Callable[[Scope], Callable[[Request], Awaitable[Operator]]]
Nonce = Annotated[str | None, Query(min_length=12, max_length=88, pattern=r"^[A-Za-z0-9_-]+={0,2}$")]
"""8 to 64 bytes in base64url, as draft-ietf-rats-ear-04 has them."""
ValueId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class StageRequest(BaseModel):
    """Nodes that a value is rolled out to."""

    model_config = ConfigDict(extra="forbid")

    nodes: list[str] = Field(min_length=1, max_length=10_000)


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
    @access(OPERATOR)
    async def list_references(node: str | None = None, state: State | None = None) -> list[View]:
        """Reference values and candidates, oldest first."""

        def view(conn: Connection) -> list[View]:
            node_id = _node_id(conn, node) if node is not None else None
            return references.listing(conn, node_id, state.value if state is not None else None)

        found: list[View] = await context.read(view)
        return found

    @app.get("/v1/references/{value_id}", dependencies=read)
    @access(OPERATOR)
    async def show_reference(value_id: ValueId) -> View:
        """One value, and what is different about it."""
        found: View = await context.read(lambda conn: references.detail(conn, value_id))
        return found


def _results(app: FastAPI, context: OperatorContext, read: list[Any]) -> None:
    rt = context.runtime

    @app.get("/v1/nodes/{name}/ear", dependencies=read)
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
    @access(OPERATOR)
    async def key_set() -> View:
        """The keys (RFC 7517) that attestation results are verified with."""
        return ear.jwks(rt.ear_key) if rt.ear_key is not None else {"keys": []}


def _deciding(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt, approver = context.runtime, Depends(demand(Scope.APPROVE))

    @app.post("/v1/references/{value_id}/accept")
    @access(OPERATOR)
    async def accept_reference(value_id: ValueId, operator: Operator = approver) -> View:
        """Let the node show this value."""
        return await context.act(_silent(lambda conn: references.accept(conn, value_id, operator.name, rt.now())))

    @app.post("/v1/references/{value_id}/reject")
    @access(OPERATOR)
    async def reject_reference(value_id: ValueId, operator: Operator = approver) -> View:
        """Close a candidate, or stop accepting a value."""
        return await context.act(_silent(lambda conn: references.reject(conn, value_id, operator.name, rt.now())))

    @app.post("/v1/nodes/{name}/learn")
    @access(OPERATOR)
    async def learn_reference(name: str, body: LearnRequest, operator: Operator = approver) -> View:
        """Trust the next value that a sound quote of the node shows, and forget the others."""

        def learn(conn: Connection) -> None:
            references.await_next(conn, _node_id(conn, name), body.kind, operator.name, rt.now())

        return await context.act(_silent(learn))


def _rolling_out(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt, approver = context.runtime, Depends(demand(Scope.APPROVE))

    @app.post("/v1/references/{value_id}/stage")
    @access(OPERATOR)
    async def stage_reference(value_id: ValueId, body: StageRequest, operator: Operator = approver) -> View:
        """Accept a value that has held at its node at further ones, before they show it."""

        def stage(conn: Connection) -> int:
            node_ids = [_node_id(conn, name) for name in body.nodes]
            return references.stage(conn, value_id, node_ids, operator.name, rt.now())

        return {"ok": True, "nodes": await context.read(stage)}

    @app.post("/v1/references/{value_id}/rollback")
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


def _node_id(conn: Connection, name: str) -> str:
    row = find_node(conn, name)
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"no node named {name!r}", "List nodes with `node list`.")
    return str(row.id)
