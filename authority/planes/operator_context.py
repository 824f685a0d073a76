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
from authority.oidc import ProviderUnreachable, SignOn, TokenRefused
from authority.oidc.compact import is_compact
from authority.oidc.people import admit
from authority.operators import Operator
from authority.orders import Carried, Order
from authority.planes.access import answers_secretly
from authority.planes.gate import Handler, OperatorLimits
from authority.planes.hub import Hub, Push
from authority.planes.tls import CERTIFICATE_KEY
from authority.refusal import Refused
from authority.results import Subscriber
from authority.roles import PREFIX
from authority.runtime import Runtime
from authority.store import Store
from authority.trust import Policy
from authority.watching import Watch
from protocol.problems import ErrorCode

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
    sign_on: SignOn | None = None
    subscribers: Callable[[], Sequence[Subscriber]] = list

    @property
    def doors(self) -> list[str]:
        """Names of the identity providers by which people sign in at the console."""
        return [] if self.sign_on is None else self.sign_on.consoles

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
        """The operator whose credential a request bears: a token, or else the certificate of its connection.

        Raises `Refused` for an identity provider's token that is not good, or of which that cannot be told now.
        """
        said, now = request.headers.get("authorization"), self.runtime.now()
        thumbprint = request.scope.get("state", {}).get(CERTIFICATE_KEY, "")
        if said is None:
            if not thumbprint:
                return None
            return await self.store.arun(lambda conn: operators.find_by_certificate(conn, thumbprint, now))
        kind, _, text = said.partition(" ")
        if kind.lower() != "bearer":
            return None
        text = text.strip()
        if self.sign_on is not None and is_compact(text) and not text.startswith(PREFIX):
            return await self._signed_on(self.sign_on, text, thumbprint)
        return await self.store.arun(lambda conn: operators.find_operator(conn, text, now))

    async def _signed_on(self, sign_on: SignOn, text: str, thumbprint: str) -> Operator:
        try:
            person = await sign_on.person(text, thumbprint)
        except TokenRefused as error:
            remedy = "Get a new token from the identity provider; docs/api.md says what it must be."
            raise Refused(ErrorCode.UNAUTHENTICATED, 401, str(error), remedy) from None
        except ProviderUnreachable as error:
            detail = f"the identity provider gives no keys to verify by: {error}"
            remedy = "Try again later; a token of `token create` works meanwhile."
            raise Refused(ErrorCode.UNAVAILABLE, 503, detail, remedy, retry_after_s=10) from None
        return await self.store.arun(lambda conn: admit(conn, person, self.runtime.now()))

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
