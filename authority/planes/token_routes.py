"""Operator plane: credentials of operators and taps."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.responses import Response

from authority import api, audit, operators
from authority.operators import Kind, Operator
from authority.orders import Action, Order
from authority.planes.access import OPERATOR, access, secret_answer
from authority.planes.described import answers, second_operator
from authority.planes.paging import AfterName, PageOf
from authority.refusal import Refused
from authority.roles import Role, Scope, draw_token, lookup_of
from protocol.codec import ProtocolViolation
from protocol.names import check_name
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_plane import Demand, OperatorContext

View = dict[str, Any]
_WHOSE = r"^(oidc:[a-z0-9-]{1,16}/[!-~]{1,57}|person:[a-z0-9][a-z0-9._-]{0,55})$"
Identity = Annotated[str, Field(pattern=_WHOSE, max_length=63)]
"""As `token persons` names somebody, or `person:NAME`."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
OF_WEIGHT = frozenset({Scope.OPERATE, Scope.APPROVE, Scope.ADMIN})
"""Whoever makes credentials with these makes a second operator, who asks or who approves."""


class TokenRequest(BaseModel):
    """A credential for `name`, with only these scopes and those of the role.

    `sha256` is that of a token that whoever asks has drawn: 32 random bytes in base64url behind `kvo1.`;
    `certificate_sha256` that of a client certificate (DER). With neither, a token is drawn and shown in the answer.
    `identity` is whose it is: credentials of one identity are one person's.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    role: Role | None = None
    scopes: list[Scope] = Field([], max_length=len(Scope))
    lifetime_s: float = Field(90 * 86400, ge=60, le=366 * 86400)
    sha256: Digest | None = None
    certificate_sha256: Digest | None = None
    identity: Identity | None = None

    def allowed(self) -> list[Scope]:
        """Every scope once, sorted; raises `Refused` when there is none."""
        scopes = sorted({*self.scopes, *(self.role.scopes if self.role is not None else ())})
        if not scopes:
            raise Refused(ErrorCode.MALFORMED, 422, "a token needs a role or a scope", "Name one.")
        return scopes

    def credential(self) -> tuple[Kind, str] | None:
        """What whoever asks has already; raises `Refused` for two at once."""
        if self.sha256 is not None and self.certificate_sha256 is not None:
            raise Refused(ErrorCode.MALFORMED, 422, "a credential is a token or a certificate", "Name one of them.")
        if self.certificate_sha256 is not None:
            return Kind.CERTIFICATE, self.certificate_sha256
        return None if self.sha256 is None else (Kind.TOKEN, self.sha256)


class WhoseRequest(BaseModel):
    """Whose a credential is."""

    model_config = ConfigDict(extra="forbid")
    identity: Identity


def token_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    """GET and POST /v1/tokens, and POST /v1/tokens/{name}/identity and …/revoke."""
    rt, admin = context.runtime, Depends(demand(Scope.ADMIN))
    _reading(app, context, demand)
    _naming(app, context, demand)

    @app.post("/v1/tokens", status_code=201)
    @secret_answer
    @second_operator
    @answers(api.NewToken)
    @access(OPERATOR)
    async def create_token(body: TokenRequest, response: Response, operator: Operator = admin) -> View:
        """A credential with these scopes; a token that is drawn here is shown only here."""
        name, scopes, known = _name(body.name), body.allowed(), body.credential()
        text = draw_token(rt.random) if known is None else None
        kind, lookup = known or (Kind.TOKEN, lookup_of(text or ""))
        given = {"name": name, "kind": kind.value, "scopes": scopes, "lifetime_s": body.lifetime_s, "lookup": lookup}
        given |= {"identity": body.identity} if body.identity is not None else {}
        if rt.policy.approvals.persons > 1:
            _check_whose(scopes, body.identity)
        if not OF_WEIGHT & {*scopes}:
            made: View = await context.read(lambda conn: operators.register(conn, given, operator.name, rt.now()))
        elif text is not None and rt.policy.approvals.persons > 1:
            raise Refused(
                ErrorCode.MALFORMED,
                422,
                "a token that may approve needs a second operator, who is not to see it",
                "Draw it yourself and send its `sha256`, as `token create` does.",
            )
        else:
            whose = f" of {body.identity}" if body.identity is not None else ""
            order = Order(Action.TOKEN_CREATE, f"{name}{whose} ({' '.join(scopes)})", given)
            made = await context.order(lambda _: order, operator, response)
        return made if text is None else made | {"token": text}

    @app.post("/v1/tokens/{name}/revoke")
    @answers(api.Revoked)
    @access(OPERATOR)
    async def revoke_token(name: str, operator: Operator = admin) -> View:
        """End a token at once, and with it what its operator voted and asked for."""
        if name == operator.name:
            detail = "nobody revokes their own token"
            raise Refused(ErrorCode.CONFLICT, 409, detail, "Have another administrator do it.")

        def revoke(conn: Connection) -> None:
            if not operators.revoke_operator_token(conn, name, rt.now()):
                raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such token in force", "Look into the audit log.")
            audit.append(conn, "operator-token-revoked", operator.name, None, {"name": name}, rt.now())

        await context.read(revoke)
        return {"name": name, "revoked": True}


def _naming(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    admin = Depends(demand(Scope.ADMIN))

    @app.post("/v1/tokens/{name}/identity")
    @second_operator
    @answers(api.Done)
    @access(OPERATOR)
    async def say_whose(name: str, body: WhoseRequest, response: Response, operator: Operator = admin) -> View:
        """Say, once, whose a credential is that names nobody."""

        def order(conn: Connection) -> Order:
            given = {
                "name": name,
                "identity": body.identity,
                "lookup": operators.unnamed(conn, name, context.runtime.now()),
            }
            return Order(Action.TOKEN_IDENTITY, f"{name} of {body.identity}", given)

        done: View = await context.order(order, operator, response)
        return done


def _check_whose(scopes: list[Scope], identity: str | None) -> None:
    if identity is None and OF_WEIGHT & {*scopes}:
        detail = "where the policy asks for two persons, a token that may operate or approve says whose it is"
        raise Refused(ErrorCode.MALFORMED, 422, detail, "Name its `identity`: oidc:PROVIDER/SUBJECT or person:NAME.")


def _reading(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    @app.get("/v1/tokens", dependencies=[Depends(demand(Scope.AUDIT))])
    @answers(list[api.Token])
    @access(OPERATOR)
    async def list_tokens(page: PageOf, after: AfterName = "") -> list[View]:
        """Credentials in force: whose, for what, until when; never what they are."""
        found = await context.read(lambda conn: operators.token_list(conn, context.runtime.now()))
        return page.cut(found, after, itemgetter("name"))


def _name(name: str) -> str:
    try:
        return check_name("token", name)
    except ProtocolViolation as error:
        raise Refused(ErrorCode.MALFORMED, 422, str(error), "Choose another name.") from None
