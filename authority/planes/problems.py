"""Refusals as problem details (RFC 9457), and errors of ours that say nothing but a reference."""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authority.keys.kek import KekError
from authority.refusal import Refused
from authority.runtime import Refusal
from authority.store import StoreUnavailable
from protocol.codec import ProtocolViolation, encode
from protocol.problems import ErrorCode, Problem

__all__ = ["MEDIA_TYPE", "Refused", "install_problem_handlers", "problem_response"]

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_CODES = {
    401: ErrorCode.UNAUTHENTICATED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    413: ErrorCode.TOO_LARGE,
    429: ErrorCode.TOO_MANY_TRIES,
}
_log = logging.getLogger(__name__)


def install_problem_handlers(app: FastAPI) -> None:
    """Make every refusal and error of `app`, WebSockets included, a problem document."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Refusal, _not_now)
    app.add_exception_handler(StoreUnavailable, _unavailable)
    app.add_exception_handler(KekError, _keyless)
    app.add_exception_handler(ProtocolViolation, _violation)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(WebSocketRequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(_CatchAll)


def problem_response(
    code: ErrorCode, status: int, detail: str = "", remedy: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """A problem document; a request whose body was not read ends the connection with it."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail, remedy=remedy)
    closing = {"connection": "close"} if code is ErrorCode.TOO_LARGE else {}
    return Response(encode(problem), status, {**closing, **(headers or {})}, MEDIA_TYPE)


async def _refused(_: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, Refused)
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return problem_response(error.code, error.status, error.detail, error.remedy, headers)


async def _not_now(_: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problem_response(ErrorCode.CONFLICT, 409, str(error), error.remedy)


async def _unavailable(_: HTTPConnection, error: Exception) -> Response:
    _log.error("the store is unavailable: %s", error)
    detail, headers = "the authority cannot write its database", {"retry-after": str(RETRY_AFTER_S)}
    return problem_response(ErrorCode.UNAVAILABLE, 503, detail, "Try again later; nothing was changed.", headers)


async def _keyless(_: HTTPConnection, error: Exception) -> Response:
    """What is wrong is for the log: the other side learns neither paths nor which key it is."""
    _log.error("stored secrets cannot be used: %s", error)
    detail = "the authority cannot use the keys of its stored secrets"
    return problem_response(ErrorCode.UNAVAILABLE, 503, detail, "See the authority's log; nothing was changed.")


async def _violation(_: HTTPConnection, error: Exception) -> Response:
    return problem_response(ErrorCode.MALFORMED, 400, str(error), "Use a matching version of the agent.")


async def _invalid(_: HTTPConnection, error: Exception) -> Response:
    """Where the request is wrong and why; never the value itself, which may be a secret."""
    assert isinstance(error, RequestValidationError | WebSocketRequestValidationError)
    places = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5]]
    return problem_response(ErrorCode.MALFORMED, 422, "; ".join(places), "Correct the request.")


async def _http(_: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, ErrorCode.MALFORMED)
    return problem_response(code, error.status_code, str(error.detail), headers=error.headers)


class _CatchAll:
    """Turns an unexpected exception into a problem that names a reference, and logs where it came from.

    The exception's text is left out of the log: it may quote what a node or an operator has sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def sender(message: Message) -> None:
            nonlocal started
            started = started or message["type"] != "websocket.close"
            await send(message)

        try:
            await self._app(scope, receive, sender)
        except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, the other side learns nothing
            reference = secrets.token_hex(6)
            _log.error("unexpected %s, reference %s, at %s", type(error).__name__, reference, _places(error))
            if not started:
                detail = f"the authority met an error of its own; reference {reference}"
                response = problem_response(ErrorCode.UNAVAILABLE, 500, detail, "Tell the operator the reference.")
                await response(scope, receive, send)


def _places(error: BaseException) -> str:
    return " > ".join(f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-6:])
