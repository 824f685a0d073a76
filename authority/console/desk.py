"""Who may have which page: sessions, forms that only our own pages send, and what every answer forbids a browser."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request
from sqlalchemy import Connection
from starlette.responses import HTMLResponse, RedirectResponse, Response

from authority.console import entry, frame, sessions
from authority.console.markup import Markup
from authority.console.sessions import Session
from authority.keys.kek import KekError
from authority.planes.access import SESSION, access
from authority.planes.limits import read_body
from authority.refusal import Refused
from authority.roles import Scope
from authority.runtime import Push
from authority.store import StoreUnavailable
from authority.trust import PolicyError
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

COOKIE = "__Host-keyvigil"
"""A browser takes this prefix over TLS only, for this host alone, and from no neighbour (RFC 6265bis, 4.1.3.2)."""
MOST_FIELDS = 64
BODY_BYTES = 160 * 1024
"""A policy file, in which every third character may be written as three."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), usb=(), serial=(), hid=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Referrers stay on: without them browsers send `Origin: null` with a form, which the console refuses."""


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is signed in, and may do this."""

    context: OperatorContext
    session: Session
    request: Request
    form: Mapping[str, str]

    @property
    def name(self) -> str:
        """Who it is."""
        return self.session.operator.name

    @property
    def now(self) -> float:
        """POSIX seconds."""
        return self.context.runtime.now()

    def may(self, scope: Scope) -> bool:
        """Whether a form that needs `scope` is worth showing."""
        return self.session.operator.may(scope)

    def part(self, name: str) -> str:
        """A part of the address."""
        return str(self.request.path_params[name])

    def number(self, name: str) -> int:
        """A part of the address that is a number from 1; raises `Refused`."""
        return _number(self.part(name), "there is no such page")

    def asked(self, name: str) -> str:
        """A value of the query, at most 200 characters; empty without one."""
        return self.request.query_params.get(name, "").strip()[:200]

    def page_number(self, name: str = "page") -> int:
        """The page of a list, from 1; raises `Refused`."""
        return _number(self.asked(name) or "1", "a page has a number")

    def text(self, name: str, most: int = 500, *, needed: bool = False) -> str:
        """A field of the form; raises `Refused` for one too long, or missing where it is `needed`."""
        value = self.form.get(name, "").strip()
        if len(value) > most or (needed and not value):
            remedy = f"Go back, and write 1 to {most} characters." if needed else f"Write at most {most} characters."
            raise Refused(ErrorCode.MALFORMED, 422, f"the field {name} is {'too long' if value else 'empty'}", remedy)
        return value

    async def read(self, view: Callable[[Connection], Any]) -> Any:
        """Run `view` in a transaction."""
        return await self.context.read(view)

    async def act(self, action: Callable[[Connection], list[Push]], back: str) -> Response:
        """Run `action` in a transaction, tell the nodes, and show the page `back`."""
        await self.context.act(action)
        return RedirectResponse(back, 303)


Handler = Callable[[Visit], Awaitable[Markup | Response]]


class Desk:
    """Adds pages and forms to an application, each with the scope that it needs."""

    def __init__(self, app: FastAPI, context: OperatorContext) -> None:
        self.app = app
        self.context = context

    def page(self, address: str, scope: Scope = Scope.READ) -> Callable[[Handler], Handler]:
        """A page at `address`, below /console."""
        return self._route("GET", address, scope)

    def form(self, address: str, scope: Scope) -> Callable[[Handler], Handler]:
        """Where a form of a page of ours is sent."""
        return self._route("POST", address, scope)

    def _route(self, method: str, address: str, scope: Scope) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            @access(SESSION)
            async def endpoint(request: Request) -> Response:
                return await answer(lambda: self._visit(request, scope, handler))

            endpoint.__doc__ = handler.__doc__
            self.app.add_api_route(
                f"/console{address}", endpoint, methods=[method], include_in_schema=False, response_model=None
            )
            return handler

        return add

    async def _visit(self, request: Request, scope: Scope, handler: Handler) -> Markup | Response:
        asks = request.method == "GET"
        session = await self._session(request)
        if session is None:
            return entry.page(_local(request) if asks else "", 401, doors=self.context.doors)
        form = {} if asks else await checked_form(request, session.csrf)
        if not session.operator.may(scope):
            raise Refused(
                ErrorCode.FORBIDDEN, 403, f"your token lacks the scope {scope}", "Sign in with another token."
            )
        return await handler(Visit(self.context, session, request, form))

    async def _session(self, request: Request) -> Session | None:
        text, now = request.cookies.get(COOKIE, ""), self.context.runtime.now()
        if not text:
            return None
        return await self.context.store.arun(lambda conn: sessions.find(conn, text, now))


async def answer(work: Callable[[], Awaitable[Markup | Response]]) -> Response:
    """What `work` gives as a response that forbids a browser what no page of ours needs; refusals become pages."""
    try:
        made = await work()
    except (Refused, StoreUnavailable, KekError, PolicyError) as error:
        made = _refusal(error)
    response = HTMLResponse(f"<!doctype html>{made}") if isinstance(made, Markup) else made
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _refusal(error: Exception) -> Response:
    """The words of a fault of the store or of the keys are for the log: they may name paths."""
    status, said, remedy = 503, "the authority cannot do this now", "Try again later; nothing was changed."
    if isinstance(error, Refused):
        status, said, remedy = error.status, error.detail, error.remedy
    elif isinstance(error, PolicyError):
        status, said, remedy = 422, f"the policy cannot be used: {error}", error.remedy
    return HTMLResponse(f"<!doctype html>{frame.refusal(status, said, remedy)}", status)


def check_origin(request: Request) -> None:
    """Raise `Refused` for a form that another site's page sent, and for one that does not say whose page sent it."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = f"{request.url.scheme}://{request.headers.get('host', '')}"
    said = {site in {None, "same-origin"}, origin in {None, ours}}
    if said != {True} or (site is None and origin is None):
        raise Refused(
            ErrorCode.FORBIDDEN, 403, "this form was not sent by a page of the console", "Open the page anew."
        )


async def checked_form(request: Request, token: str) -> dict[str, str]:
    """The fields of a form that a page of ours sent, with `token`; of one that is there twice the first.

    Raises `Refused`.
    """
    check_origin(request)
    body = await read_body(request, BODY_BYTES)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise Refused(ErrorCode.MALFORMED, 400, "this is not what a form sends", "Open the page anew.") from None
    form = dict(reversed(pairs))
    if not bears(form, token):
        raise Refused(
            ErrorCode.FORBIDDEN, 403, "this form is not of your session", "Open the page anew, and send again."
        )
    return form


def bears(form: Mapping[str, str], token: str) -> bool:
    """Whether a form has the token of the session that it came with."""
    return hmac.compare_digest(form.get(entry.FIELD, "").encode(), token.encode())


def _number(text: str, said: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:20]) <= 2**63 - 1):
        raise Refused(ErrorCode.NOT_FOUND, 404, said, "Go back to the list.")
    return int(text)


def _local(request: Request) -> str:
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
