"""Operator plane: what a request passes before its endpoint: who asks, for what, how often, how much, and if again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from authority.operators import Operator
from authority.planes.access import OPERATOR, AccessUndeclared, declared_access
from authority.planes.limits import RateLimit, read_body
from authority.refusal import Refused
from authority.roles import Scope
from protocol.problems import ErrorCode

BODY_BYTES = 8 * 1024 * 1024
"""Most that an operator may send at once: a mapping document of some ten thousand places."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Find = Callable[[Request], Awaitable[Operator | None]]
Again = Callable[[Request, Operator, bytes, Handler], Awaitable[Response]]


class Demanded:
    """A dependency of an endpoint: the operator whom the gate has let in, who must have the scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Operator:
        """Raises `Refused` when no gate stands before the route, or one that let somebody else in."""
        operator = getattr(request.state, "operator", None)
        if not isinstance(operator, Operator):
            raise _nobody()
        return permitted(operator, self.scope)


@dataclass(frozen=True)
class OperatorLimits:
    """Requests of one operator, and requests without a good credential from one address."""

    operators: RateLimit = field(default_factory=lambda: RateLimit(burst=600, rate=50))
    strangers: RateLimit = field(default_factory=lambda: RateLimit(burst=600, rate=10))


@dataclass(frozen=True)
class Gate:
    """Stands before every endpoint for operators; nothing of a body is read before it is known who sends it.

    `find` gives the operator behind a request's credentials, `again` answers a request that bears an idempotency key.
    """

    find: Find
    again: Again
    limits: OperatorLimits
    now: Callable[[], float]

    async def admit(self, request: Request, scope: Scope) -> Operator:
        """The operator who asks; raises `Refused`: 401, 403 without the scope, 429 when it is too often."""
        try:
            operator = await self.find(request)
        except Refused:
            self._count_stranger(request)
            raise
        if operator is None:
            self._count_stranger(request)
            raise _nobody()
        self.limits.operators.check(operator.name, self.now())
        return permitted(operator, scope)

    def _count_stranger(self, request: Request) -> None:
        self.limits.strangers.check(request.client.host if request.client else "", self.now())

    async def handle(self, request: Request, scope: Scope, handler: Handler) -> Response:
        """The endpoint's answer to a request that may pass."""
        request.state.operator = operator = await self.admit(request, scope)
        body = await read_body(request, BODY_BYTES)
        whole = Request(request.scope, _once(body))
        if request.method == "POST" and "idempotency-key" in request.headers:
            return await self.again(whole, operator, body, handler)
        return await handler(whole)


def install_gate(app: FastAPI, gate: Gate) -> None:
    """Put `gate` before every endpoint for operators that is added from now on."""

    class GatedRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handler, scope = super().get_route_handler(), demanded_scope(self)
            if scope is None:
                return handler

            async def guarded(request: Request) -> Response:
                return await gate.handle(request, scope, handler)

            return guarded

    app.router.route_class = GatedRoute


def demanded_scope(route: APIRoute) -> Scope | None:
    """The scope that a route's endpoint demands, if it demands one."""
    calls = [dependency.call for dependency in route.dependant.dependencies]
    return next((call.scope for call in calls if isinstance(call, Demanded)), None)


def check_scopes_demanded(app: FastAPI) -> None:
    """Raise `AccessUndeclared` naming the routes that are for operators and do not say with which scope."""
    ours = [route for route in app.routes if declared_access(getattr(route, "endpoint", None)) is OPERATOR]
    silent = [str(getattr(route, "path", route)) for route in ours if not _demands(route)]
    if silent:
        raise AccessUndeclared(f"these routes are for operators, whatever their scopes: {', '.join(sorted(silent))}")


def permitted(operator: Operator, scope: Scope) -> Operator:
    """The operator again; raises `Refused` without the scope."""
    if not operator.may(scope):
        raise Refused(ErrorCode.FORBIDDEN, 403, f"this token lacks the scope {scope}", "Use another token.")
    return operator


def _demands(route: object) -> bool:
    return isinstance(route, APIRoute) and demanded_scope(route) is not None


def _nobody() -> Refused:
    return Refused(ErrorCode.UNAUTHENTICATED, 401, "no valid operator token", "Name a valid token file.")


def _once(body: bytes) -> Callable[[], Awaitable[Message]]:
    """The body again, for an endpoint that reads it itself."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return parts.pop() if parts else {"type": "http.disconnect"}

    return receive
