"""Operator plane: signals of taps, what operators make of them, tokens for taps, and the policy read anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row
from starlette.responses import Response

from authority import audit, operators, policies, signals
from authority.operators import Operator, Role, Scope
from authority.planes.access import OPERATOR, access, secret_answer
from authority.planes.limits import RateLimit, read_body
from authority.refusal import Refused
from authority.trust import Policy, PolicyError
from protocol.codec import ProtocolViolation, decode, encode
from protocol.names import check_name
from protocol.problems import ErrorCode
from protocol.signals import SignalReport

if TYPE_CHECKING:
    from authority.planes.operator_plane import Demand, OperatorContext

View = dict[str, Any]
NodeOf = Callable[[Connection, str], Row[Any]]


class TokenRequest(BaseModel):
    """A token of the operator plane for `name`, with only these scopes and those of the role."""

    model_config = ConfigDict(extra="forbid")
    name: str
    role: Role | None = None
    scopes: list[Scope] = Field([], max_length=len(Scope))
    lifetime_s: float = Field(90 * 86400, ge=60, le=366 * 86400)

    def allowed(self) -> list[Scope]:
        """Every scope once, sorted; raises `Refused` when there is none."""
        scopes = sorted({*self.scopes, *(self.role.scopes if self.role is not None else ())})
        if not scopes:
            raise Refused(ErrorCode.MALFORMED, 422, "a token needs a role or a scope", "Name one.")
        return scopes


class Finding(BaseModel):
    """Why an operator finds a node hostile, or not; it goes into the audit log."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(min_length=1, max_length=500)


def signal_routes(app: FastAPI, context: OperatorContext, demand: Demand, node_of: NodeOf) -> None:
    """POST and GET /v1/signals."""
    rt, limit = context.runtime, RateLimit(burst=500, rate=20)
    tap = Depends(demand(Scope.SIGNAL))

    @app.post("/v1/signals")
    @access(OPERATOR)
    async def signal(request: Request, operator: Operator = tap) -> Response:
        """A tap or SIEM tells of a node's behaviour (`SignalReport`); the same `ref` again changes nothing."""
        now = rt.now()
        limit.check(operator.name, now)
        report, source = decode(await read_body(request), SignalReport), signals.Source(operator.name, node=False)
        receipt, pushes = await context.read(lambda conn: signals.record(conn, rt, source, report, now))
        await context.hub.push(pushes)
        return Response(encode(receipt), media_type="application/json")

    @app.get("/v1/signals", dependencies=[Depends(demand(Scope.READ))])
    @access(OPERATOR)
    async def list_signals(node: str | None = None) -> list[View]:
        """Signals that count now, newest first."""

        def listed(conn: Connection) -> list[View]:
            return signals.signal_list(conn, None if node is None else node_of(conn, node).id, rt.now())

        found: list[View] = await context.read(listed)
        return found


def finding_routes(app: FastAPI, context: OperatorContext, demand: Demand, node_of: NodeOf) -> None:
    """What an operator finds about a node's behaviour."""
    rt, operate = context.runtime, Depends(demand(Scope.OPERATE))

    @app.post("/v1/nodes/{name}/hostile")
    @access(OPERATOR)
    async def confirm(name: str, body: Finding, operator: Operator = operate) -> View:
        """Confirm that the node is hostile; its score is capped until it is absolved."""
        return await context.act(
            lambda conn: signals.confirm_hostile(conn, rt, node_of(conn, name).id, operator.name, body.reason, rt.now())
        )

    @app.post("/v1/nodes/{name}/absolve")
    @access(OPERATOR)
    async def absolve(name: str, body: Finding, operator: Operator = operate) -> View:
        """End every signal that speaks against the node."""
        return await context.act(
            lambda conn: signals.absolve(conn, rt, node_of(conn, name).id, operator.name, body.reason, rt.now())
        )


def token_route(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    """GET and POST /v1/tokens, and POST /v1/tokens/{name}/revoke."""
    rt, admin = context.runtime, Depends(demand(Scope.ADMIN))

    @app.get("/v1/tokens", dependencies=[Depends(demand(Scope.AUDIT))])
    @access(OPERATOR)
    async def list_tokens() -> list[View]:
        """Tokens in force: whose, for what, until when; never what they are."""
        found: list[View] = await context.read(lambda conn: operators.token_list(conn, rt.now()))
        return found

    @app.post("/v1/tokens", status_code=201)
    @secret_answer
    @access(OPERATOR)
    async def create_token(body: TokenRequest, operator: Operator = admin) -> View:
        """A token with these scopes; it is shown only here."""
        name, scopes = _name(body.name), body.allowed()

        def create(conn: Connection) -> str:
            if operators.name_is_taken(conn, name, rt.now()):
                raise Refused(ErrorCode.CONFLICT, 409, f"there is a token named {name} already", "Choose another name.")
            audit.append(conn, "operator-token", operator.name, None, {"name": name, "scopes": scopes}, rt.now())
            return operators.create_operator_token(conn, rt, name, scopes, body.lifetime_s)

        token = await context.read(create)
        return {"name": name, "scopes": scopes, "token": token, "expires_at": rt.now() + body.lifetime_s}

    @app.post("/v1/tokens/{name}/revoke")
    @access(OPERATOR)
    async def revoke_token(name: str, operator: Operator = admin) -> View:
        """End a token at once, and with it what its operator voted for."""
        if name == operator.name:
            raise Refused(
                ErrorCode.CONFLICT, 409, "nobody revokes their own token", "Have another administrator do it."
            )

        def revoke(conn: Connection) -> None:
            if not operators.revoke_operator_token(conn, name, rt.now()):
                raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such token in force", "Look into the audit log.")
            audit.append(conn, "operator-token-revoked", operator.name, None, {"name": name}, rt.now())

        await context.read(revoke)
        return {"name": name, "revoked": True}


def policy_route(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    """POST /v1/policy/reload."""
    rt, admin = context.runtime, Depends(demand(Scope.ADMIN))

    @app.post("/v1/policy/reload")
    @access(OPERATOR)
    async def reload_policy(operator: Operator = admin) -> View:
        """Read the policy's file again; every decision from then on is by the new one."""
        policy = _read(context)
        pushes = await context.read(lambda conn: policies.adopt(conn, rt, policy, operator.name, rt.now()))
        await context.hub.push(pushes)
        return dict(rt.policy.identity)


def _read(context: OperatorContext) -> Policy:
    if context.load_policy is None:
        raise Refused(ErrorCode.CONFLICT, 409, "this authority has no policy file", "Start it from a state folder.")
    try:
        return context.load_policy()
    except PolicyError as error:
        raise Refused(ErrorCode.MALFORMED, 422, str(error), error.remedy) from None


def _name(name: str) -> str:
    try:
        return check_name("token", name)
    except ProtocolViolation as error:
        raise Refused(ErrorCode.MALFORMED, 422, str(error), "Choose another name.") from None
