"""Signing in by a token, and out; the files that every page loads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from authority.console import assets, entry, sessions
from authority.console.desk import COOKIE, HEADERS, Desk, Visit, answer, checked_form
from authority.console.markup import path
from authority.console.provider_sign_in import provider_routes
from authority.planes.access import ANONYMOUS, access
from authority.planes.limits import RateLimit
from authority.refusal import Refused
from authority.roles import Scope
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

TRIES, TRIES_A_SECOND = 10.0, 0.2
_log = logging.getLogger(__name__)


def sign_in_routes(app: FastAPI, context: OperatorContext) -> None:
    """GET and POST /console/sign-in, the ways to identity providers and back, and the files."""
    limit = RateLimit(TRIES, TRIES_A_SECOND)
    provider_routes(app, context, limit)

    @app.get("/", include_in_schema=False)
    @access(ANONYMOUS)
    async def root() -> Response:
        """A browser that knows the host only."""
        return RedirectResponse("/console", 303)

    @app.get("/console/sign-in", include_in_schema=False)
    @access(ANONYMOUS)
    async def sign_in_page(request: Request) -> Response:
        """The form for a token."""

        async def work() -> Response:
            return entry.page(request.query_params.get("next", ""), doors=context.doors)

        return await answer(work)

    @app.post("/console/sign-in", include_in_schema=False)
    @access(ANONYMOUS)
    async def sign_in(request: Request) -> Response:
        """Open a session for the token in the form."""

        async def work() -> Response:
            form = await checked_form(request, _expected(request))
            limit.check(request.client.host if request.client else "", context.runtime.now())
            return await _signed_in(context, form.get("token", "").strip(), form.get("next", ""))

        return await answer(work)

    @app.get("/console/static/{name}", include_in_schema=False)
    @access(ANONYMOUS)
    async def static(name: str) -> Response:
        """A file of `assets`."""
        return _file(name)


def sign_out_routes(desk: Desk) -> None:
    """POST /console/sign-out."""

    @desk.form("/sign-out", Scope.READ)
    async def sign_out(visit: Visit) -> Response:
        """End this session, or all of the token or person."""
        everywhere = visit.text("everywhere") == "yes"
        await visit.read(lambda conn: sessions.end(conn, visit.session, visit.now, everywhere=everywhere))
        response = RedirectResponse(path("sign-in"), 303)
        response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return response


def _expected(request: Request) -> str:
    kept = request.cookies.get(entry.COOKIE, "")
    if not kept:
        remedy = "Let the browser take cookies of this address, and open the page anew."
        raise Refused(ErrorCode.FORBIDDEN, 403, "this browser has not been given the form", remedy)
    return sessions.form_token(kept)


async def _signed_in(context: OperatorContext, token: str, after: str) -> Response:
    rt = context.runtime
    try:
        text = await context.store.arun(lambda conn: sessions.begin(conn, rt, token, rt.now()))
    except Refused as error:
        _log.warning("a sign-in at the console was refused: %s", error.detail)
        return entry.page(after, error.status, error, context.doors)
    response = RedirectResponse(entry.inside(after), 303)
    response.delete_cookie(entry.COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    entry.set_cookie(response, COOKIE, text)
    return response


def _file(name: str) -> Response:
    if name not in assets.CONTENT:
        raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such file", "Open the page anew.")
    headers = {**HEADERS, "cache-control": assets.KEPT}
    return Response(assets.CONTENT[name], 200, headers, assets.KINDS[name])
