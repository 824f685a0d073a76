"""Every refusal and error is a problem document, and none says more than it should."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from authority.planes.problems import MEDIA_TYPE, Refused, install_problem_handlers
from authority.runtime import Refusal
from authority.store import StoreUnavailable
from protocol.codec import ProtocolViolation, decode
from protocol.problems import ErrorCode, Problem

SECRET = "kvj1.secret"


class Body(BaseModel):
    number: int


def answer(error: Exception) -> httpx.Response:
    """What a route gives that raises `error`."""

    def fail() -> NoReturn:
        raise error

    return ask(lambda http: http.get("/fail"), fail)


def ask(send: Callable[[httpx.AsyncClient], object], fail: Callable[[], None] = lambda: None) -> httpx.Response:
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/fail")
    async def failing() -> None:
        fail()

    @app.post("/number")
    async def number(body: Body) -> None: ...

    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://authority") as http:
            return await send(http)  # type: ignore[misc, no-any-return]

    return asyncio.run(sent())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Refused(ErrorCode.NAME_TAKEN, 409, "d", "r"), 409, ErrorCode.NAME_TAKEN),
        (Refusal("d", "r"), 409, ErrorCode.CONFLICT),
        (ProtocolViolation("d"), 400, ErrorCode.MALFORMED),
        (StoreUnavailable("disk full"), 503, ErrorCode.UNAVAILABLE),
        (HTTPException(404, "d"), 404, ErrorCode.NOT_FOUND),
        (HTTPException(413, "d"), 413, ErrorCode.TOO_LARGE),
        (RuntimeError("d"), 500, ErrorCode.UNAVAILABLE),
    ],
)
def test_each_error_has_its_problem(error: Exception, status: int, code: ErrorCode) -> None:
    response = answer(error)
    found = decode(response.content, Problem)
    assert response.headers["content-type"] == MEDIA_TYPE
    assert (response.status_code, found.status, found.code) == (status, status, code)


def test_detail_and_remedy_arrive() -> None:
    found = decode(answer(Refusal("the node is isolated", "Release it.")).content, Problem)
    assert (found.detail, found.remedy) == ("the node is isolated", "Release it.")


def test_an_unexpected_error_shows_a_reference_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = answer(KeyError(SECRET))
    reference = decode(response.content, Problem).detail.rsplit(" ", 1)[1]
    assert reference in caplog.text
    assert "KeyError" in caplog.text
    assert SECRET not in response.text + caplog.text


def test_a_full_disk_is_not_described_to_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = answer(StoreUnavailable("/var/lib/keyvigil: disk full"))
    assert "/var/lib" not in response.text
    assert "disk full" in caplog.text
    assert response.headers["retry-after"]


def test_a_wrong_body_is_named_by_place_and_never_repeated() -> None:
    response = ask(lambda http: http.post("/number", json={"number": SECRET}))
    found = decode(response.content, Problem)
    assert (found.status, found.code) == (422, ErrorCode.MALFORMED)
    assert "body.number" in found.detail
    assert SECRET not in response.text
