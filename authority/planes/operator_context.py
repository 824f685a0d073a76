"""What the routes of the operator plane work with: store, runtime, nodes, and who is behind a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from authority import operators, orders, repeating
from authority.alerts import Origin
from authority.alerts.destinations import Destination
from authority.operators import Operator
from authority.orders import Carried, Order
from authority.planes.access import answers_secretly
from authority.planes.gate import Handler, OperatorLimits
from authority.planes.hub import Hub, Push
from authority.planes.tls import CERTIFICATE_KEY
from authority.runtime import Runtime
from authority.store import Store
from authority.trust import Policy
from authority.watching import Watch

View = dict[str, Any]
NOBODY = Origin("-")


@dataclass(frozen=True)
class OperatorContext:
    """What the routes of the operator plane work with."""

    store: Store
    runtime: Runtime
    hub: Hub
    ca_sha256: str
    load_policy: Callable[[], Policy] | None = None
    destinations: Callable[[], Sequence[Destination]] = list
    origin: Origin = NOBODY
    limits: OperatorLimits = field(default_factory=OperatorLimits)
    watch: Watch | None = None

    async def read(self, view: Callable[[Connection], Any]) -> Any:
        """Run `view` in a transaction."""
        return await self.store.arun(view)

    async def act(self, action: Callable[[Connection], list[Push]]) -> View:
        """Run `action` in a transaction and tell the nodes afterwards."""
        pushes = await self.store.arun(action)
        await self.hub.push(pushes)
        return {"ok": True}

    async def order(self, make: Callable[[Connection], Order], operator: Operator, response: Response) -> View:
        """Carry out what `make` gives, or let it wait for a second operator (202)."""
        rt, now = self.runtime, self.runtime.now()

        def act(conn: Connection) -> Carried:
            return orders.submit(conn, rt, make(conn), operator.name, now, self.load_policy)

        done = await self.store.arun(act)
        await self.hub.push(done.pushes)
        if done.approval is not None:
            response.status_code = 202
            response.headers["location"] = f"/v1/approvals/{done.approval}"
        return done.view

    async def find(self, request: Request) -> Operator | None:
        """The operator whose credential a request bears: a token, or else the certificate of its connection."""
        said, now = request.headers.get("authorization"), self.runtime.now()
        if said is None:
            thumbprint = request.scope.get("state", {}).get(CERTIFICATE_KEY, "")
            if not thumbprint:
                return None
            return await self.store.arun(lambda conn: operators.find_by_certificate(conn, thumbprint, now))
        kind, _, text = said.partition(" ")
        if kind.lower() != "bearer":
            return None
        return await self.store.arun(lambda conn: operators.find_operator(conn, text.strip(), now))

    async def again(self, request: Request, operator: Operator, body: bytes, handler: Handler) -> Response:
        """The answer to a request with an idempotency key: carried out, or as it was answered before."""
        key, target = request.headers["idempotency-key"], f"{request.url.path}?{request.url.query}"
        what = repeating.repeatable(operator.name, key, request.method, target, body)
        kept = await self.store.arun(lambda conn: repeating.claim(conn, what, self.runtime.now()))
        if kept is not None:
            return Response(kept.body, kept.status, {"idempotency-replayed": "true"}, "application/json")
        done = False
        try:
            response = await handler(request)
            done = 200 <= response.status_code < 300
        finally:
            if not done:
                await self.store.arun(lambda conn: repeating.forget(conn, what))
        answer = None if answers_secretly(request.scope.get("endpoint")) else bytes(response.body)
        await self.store.arun(lambda conn: repeating.keep(conn, what, response.status_code, answer))
        return response
