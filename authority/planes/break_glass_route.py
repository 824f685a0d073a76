"""Operator plane: the one way in that needs no token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from authority import break_glass
from authority.planes.access import ANONYMOUS, access, secret_answer
from authority.planes.limits import RateLimit
from authority.refusal import Refused
from protocol.codec import ProtocolViolation
from protocol.names import check_name
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

View = dict[str, Any]


class BreakGlassRequest(BaseModel):
    """The secret of a sealed credential (64 hexadecimal digits), who uses it, and why."""

    model_config = ConfigDict(extra="forbid")

    secret: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    operator: str
    reason: Annotated[str, Field(min_length=10, max_length=500)]


def break_glass_route(app: FastAPI, context: OperatorContext) -> None:
    """POST /v1/break-glass."""
    rt, limit = context.runtime, RateLimit(burst=5, rate=1 / 60)

    @app.post("/v1/break-glass", status_code=201, include_in_schema=False)
    @secret_answer
    @access(ANONYMOUS)
    async def break_the_glass(body: BreakGlassRequest, request: Request) -> View:
        """Use a sealed credential up: a token with every scope for an hour, and an alert to everybody."""
        now = rt.now()
        limit.check(request.client.host if request.client else "", now)
        try:
            name = check_name("operator", body.operator)
        except ProtocolViolation as error:
            raise Refused(
                ErrorCode.MALFORMED, 422, str(error), "Give your name as lists of operators have it."
            ) from None
        secret = bytes.fromhex(body.secret)
        token, ends = await context.read(lambda conn: break_glass.use(conn, rt, secret, name, body.reason, now))
        return {"token": token, "expires_at": ends}
