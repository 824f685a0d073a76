"""Signing in at the site's identity provider: the way there, and the way back."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from authority.console import entry, frame, sessions
from authority.console.desk import COOKIE, HEADERS, answer
from authority.console.markup import Markup, h
from authority.oidc import ProviderUnreachable, TokenRefused
from authority.oidc.code_flow import ATTEMPT_S, Attempt, CodeFlow
from authority.planes.access import ANONYMOUS, access
from authority.planes.limits import RateLimit
from authority.refusal import Refused
from protocol.codec import ProtocolViolation, b64url, unb64url
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

ATTEMPT_COOKIE = "__Host-keyvigil-attempt"
"""Lax, since the provider's page leads back here: a cookie that is Strict would stay behind."""
_APART = "~"
"""Between the attempt and where it leads on to."""
_log = logging.getLogger(__name__)


def provider_routes(app: FastAPI, context: OperatorContext, limit: RateLimit) -> None:
    """GET /console/sign-in/{provider}, and /console/sign-in/{provider}/back."""

    @app.get("/console/sign-in/{provider}", include_in_schema=False)
    @access(ANONYMOUS)
    async def lead_there(provider: str, request: Request) -> Response:
        """Send this browser to the provider, if a page of ours leads there."""

        async def work() -> Response:
            _check_led(request)
            limit.check(request.client.host if request.client else "", context.runtime.now())
            return await _sent(context, _flow(context, provider), request.query_params.get("next", ""))

        return await answer(work)

    @app.get("/console/sign-in/{provider}/back", include_in_schema=False)
    @access(ANONYMOUS)
    async def come_back(provider: str, request: Request) -> Response:
        """Open a session for whom the provider signed in."""

        async def work() -> Response:
            limit.check(request.client.host if request.client else "", context.runtime.now())
            return await _returned(context, _flow(context, provider), request)

        return await answer(work)


def _flow(context: OperatorContext, provider: str) -> CodeFlow:
    found = context.sign_on.console(provider) if context.sign_on is not None else None
    if found is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such identity provider", "Sign in on the first page.")
    return found


def _check_led(request: Request) -> None:
    """Raise `Refused` unless the form for signing in led here, in this browser: nobody else begins this for people."""
    kept, said = request.cookies.get(entry.COOKIE, ""), request.query_params.get(entry.FIELD, "")
    if not kept or not hmac.compare_digest(said.encode(errors="replace"), sessions.form_token(kept).encode()):
        remedy = "Open the page for signing in, and begin there."
        raise Refused(ErrorCode.FORBIDDEN, 403, "no page of the console led here", remedy)


async def _sent(context: OperatorContext, flow: CodeFlow, after: str) -> Response:
    rt = context.runtime
    attempt = Attempt.begin(rt.random(32), rt.now())
    try:
        address = await flow.address(attempt)
    except ProviderUnreachable as error:
        return _refused(context, flow, after, error)
    response = RedirectResponse(address, 303)
    kept = f"{attempt.kept}{_APART}{b64url(entry.inside(after).encode())}"
    response.set_cookie(
        ATTEMPT_COOKIE, kept, max_age=int(ATTEMPT_S), path="/", secure=True, httponly=True, samesite="lax"
    )
    return response


async def _returned(context: OperatorContext, flow: CodeFlow, request: Request) -> Response:
    rt = context.runtime
    kept, _, onward = request.cookies.get(ATTEMPT_COOKIE, "").partition(_APART)
    attempt, after = Attempt.of(kept, rt.now()), _address(onward)
    try:
        if attempt is None:
            raise TokenRefused("this answer is not of a sign-in that this browser began, or came too late")
        who = await flow.finish(attempt, dict(request.query_params), rt.now())
        text = await context.store.arun(lambda conn: sessions.begin_for_person(conn, rt, who, rt.now()))
    except (TokenRefused, ProviderUnreachable, Refused) as error:
        return _refused(context, flow, after, error)
    response = Response(f"<!doctype html>{_on(after)}", 200, {**HEADERS, **_UNREFERRED}, "text/html")
    _forget(response)
    response.delete_cookie(entry.COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    entry.set_cookie(response, COOKIE, text)
    return response


def _address(onward: str) -> str:
    try:
        return entry.inside(unb64url(onward).decode())
    except (ProtocolViolation, UnicodeDecodeError):
        return entry.inside("")


_UNREFERRED = {"referrer-policy": "no-referrer"}
"""The address of the page has the code in it, which is used up, and goes no further all the same."""


def _on(after: str) -> Markup:
    """Leads on from a page of ours: a redirection would come from the provider's, and find no cookie that is Strict."""
    onward = h("meta", http_equiv="refresh", content=f"0; url={after}")
    return frame.plain("Signed in", h("p", h("a", "Go on to the console", href=after)), head=onward)


def _refused(context: OperatorContext, flow: CodeFlow, after: str, error: Exception) -> Response:
    """The form again, with what was wrong; nothing that came with the address is said or logged."""
    refusal = error if isinstance(error, Refused) else _worded(error)
    _log.warning("a sign-in by an identity provider was refused: %s", error, extra={"provider": flow.name})
    response = entry.page(after, refusal.status, refusal, context.doors)
    _forget(response)
    return response


def _worded(error: Exception) -> Refused:
    if isinstance(error, ProviderUnreachable):
        remedy = "Try again later; a token of `token create` works meanwhile."
        return Refused(ErrorCode.UNAVAILABLE, 503, "the identity provider does not answer now", remedy)
    return Refused(ErrorCode.UNAUTHENTICATED, 401, str(error), "Sign in once more.")


def _forget(response: Response) -> None:
    """An attempt is good for one answer."""
    response.delete_cookie(ATTEMPT_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
