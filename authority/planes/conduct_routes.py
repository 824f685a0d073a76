"""Operator plane: signals of taps, what operators make of them, tokens for taps, and the policy read anew."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row
from starlette.responses import Response

from authority import api, signals
from authority.operators import Operator
from authority.orders import Action, Order
from authority.planes.access import OPERATOR, access
from authority.planes.described import answers, second_operator, takes
from authority.planes.limits import RateLimit, read_body
from authority.planes.paging import AfterNumber, PageOf
from authority.refusal import Refused
from authority.roles import Scope
from authority.trust import Policy, PolicyError
from protocol.codec import decode, encode
from protocol.problems import ErrorCode
from protocol.signals import SignalReceipt, SignalReport

if TYPE_CHECKING:
    from authority.planes.operator_plane import Demand, OperatorContext

View = dict[str, Any]
NodeOf = Callable[[Connection, str], Row[Any]]


class Finding(BaseModel):
    """Why an operator finds a node hostile, or not; it goes into the audit log."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(min_length=1, max_length=500)


def signal_routes(app: FastAPI, context: OperatorContext, demand: Demand, node_of: NodeOf) -> None:
    """POST and GET /v1/signals."""
    rt, limit = context.runtime, RateLimit(burst=500, rate=20)
    tap = Depends(demand(Scope.SIGNAL))

    @app.post("/v1/signals")
    @takes(SignalReport)
    @answers(SignalReceipt)
    @access(OPERATOR)
    async def report_signal(request: Request, operator: Operator = tap) -> Response:
        """A tap or SIEM tells of a node's behaviour (`SignalReport`); the same `ref` again changes nothing."""
        now = rt.now()
        limit.check(operator.name, now)
        report, source = decode(await read_body(request), SignalReport), signals.Source(operator.name, node=False)
        receipt, pushes = await context.read(lambda conn: signals.record(conn, rt, source, report, now))
        await context.hub.push(pushes)
        return Response(encode(receipt), media_type="application/json")

    @app.get("/v1/signals", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.Signal])
    @access(OPERATOR)
    async def list_signals(page: PageOf, node: str | None = None, after: AfterNumber = 0) -> list[View]:
        """Signals that count now, newest first."""

        def listed(conn: Connection) -> list[View]:
            node_id = None if node is None else node_of(conn, node).id
            return signals.signal_list(conn, node_id, rt.now(), page.limit, after)

        return page.full(await context.read(listed), itemgetter("id"))


def finding_routes(app: FastAPI, context: OperatorContext, demand: Demand, node_of: NodeOf) -> None:
    """What an operator finds about a node's behaviour."""
    rt, operate = context.runtime, Depends(demand(Scope.OPERATE))

    @app.post("/v1/nodes/{name}/hostile")
    @answers(api.Done)
    @access(OPERATOR)
    async def confirm_hostile(name: str, body: Finding, operator: Operator = operate) -> View:
        """Confirm that the node is hostile; its score is capped until it is absolved."""
        return await context.act(
            lambda conn: signals.confirm_hostile(conn, rt, node_of(conn, name).id, operator.name, body.reason, rt.now())
        )

    @app.post("/v1/nodes/{name}/absolve")
    @answers(api.Done)
    @access(OPERATOR)
    async def absolve_node(name: str, body: Finding, operator: Operator = operate) -> View:
        """End every signal that speaks against the node."""
        return await context.act(
            lambda conn: signals.absolve(conn, rt, node_of(conn, name).id, operator.name, body.reason, rt.now())
        )


def policy_route(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    """POST /v1/policy/reload."""
    admin = Depends(demand(Scope.ADMIN))

    @app.post("/v1/policy/reload")
    @second_operator
    @answers(api.PolicyIdentity)
    @access(OPERATOR)
    async def reload_policy(response: Response, operator: Operator = admin) -> View:
        """Read the policy's file again; every decision from then on is by the new one."""
        policy = _read(context)
        order = Order(Action.POLICY_RELOAD, policy.version, dict(policy.identity))
        return await context.order(lambda _: order, operator, response)


def _read(context: OperatorContext) -> Policy:
    if context.load_policy is None:
        raise Refused(ErrorCode.CONFLICT, 409, "this authority has no policy file", "Start it from a state folder.")
    try:
        return context.load_policy()
    except PolicyError as error:
        raise Refused(ErrorCode.MALFORMED, 422, str(error), error.remedy) from None
