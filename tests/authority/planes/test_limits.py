"""Bodies and request rates; the clock is a number that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message

from authority.planes.limits import RateLimit, read_body
from authority.refusal import Refused
from protocol.problems import ErrorCode


def request(parts: Sequence[bytes], **headers: str) -> Request:
    """A request whose body comes in these parts and then not at all."""
    waiting = [*parts]

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or not complete}

    complete = "stalls" not in headers
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def read(made: Request, seconds: float = 20) -> bytes:
    return asyncio.run(read_body(made, 8, seconds))


def test_a_body_within_the_limit_is_read_whole() -> None:
    assert read(request([b"1234", b"5678"])) == b"12345678"


@pytest.mark.parametrize("parts", [[b"123456789"], [b"12345678", b"9"]])
def test_a_body_beyond_the_limit_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(Refused) as refused:
        read(request(parts))
    assert (refused.value.status, refused.value.code) == (413, ErrorCode.TOO_LARGE)


@pytest.mark.parametrize("length", ["9", "-1", "x", "9" * 40])
def test_an_announced_length_is_refused_unread(length: str) -> None:
    with pytest.raises(Refused) as refused:
        read(request([], content_length=length))
    assert refused.value.status == 413


def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(Refused) as refused:
        read(request([b"1"], stalls="yes"), seconds=0)
    assert refused.value.status == 408


def spend(limit: RateLimit, address: str, now: float, times: int) -> int:
    """How many of `times` requests are let through."""
    passed = 0
    for _ in range(times):
        try:
            limit.check(address, now)
        except Refused as refused:
            assert (refused.status, refused.code) == (429, ErrorCode.TOO_MANY_TRIES)
        else:
            passed += 1
    return passed


def test_a_burst_then_the_rate() -> None:
    limit = RateLimit(burst=5, rate=2)
    assert spend(limit, "a", 100.0, 9) == 5
    assert spend(limit, "a", 101.0, 9) == 2
    assert spend(limit, "a", 1e6, 9) == 5


def test_addresses_do_not_share_a_bucket() -> None:
    limit = RateLimit(burst=1, rate=1)
    assert [spend(limit, address, 0.0, 2) for address in ("a", "b")] == [1, 1]


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    limit = RateLimit(burst=2, rate=1)
    assert spend(limit, "a", 100.0, 1) == 1
    assert spend(limit, "a", 0.0, 9) == 1


def test_the_longest_silent_address_is_forgotten_first() -> None:
    limit = RateLimit(burst=1, rate=0.001, addresses=2)
    assert [spend(limit, address, 0.0, 1) for address in ("a", "b")] == [1, 1]
    assert spend(limit, "a", 0.0, 1) == 0
    assert spend(limit, "c", 0.0, 1) == 1
    assert spend(limit, "a", 0.0, 1) == 0
    assert spend(limit, "b", 0.0, 1) == 1
