"""What a stranger may use up: bytes of a body, time to send it, requests per address."""

from __future__ import annotations

import asyncio
import math

from starlette.requests import ClientDisconnect, Request

from authority.refusal import Refused
from protocol.problems import ErrorCode

BODY_BYTES = 64 * 1024
BODY_S = 15.0
ADDRESSES = 10_000
"""Addresses that are remembered; beyond that the one that was silent longest is forgotten."""


async def read_body(request: Request, limit: int = BODY_BYTES, seconds: float = BODY_S) -> bytes:
    """The body of up to `limit` bytes; raises `Refused` as soon as it is known to be longer, or comes too slowly."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise _too_large(limit)
    except (TimeoutError, ClientDisconnect):
        raise Refused(ErrorCode.MALFORMED, 408, "the request's body did not come in time") from None
    return bytes(body)


def _too_large(limit: int) -> Refused:
    return Refused(ErrorCode.TOO_LARGE, 413, f"a body has at most {limit} bytes")


class RateLimit:
    """A token bucket per address or name of a sender: `burst` requests at once, `rate` a second in the long run."""

    def __init__(self, burst: float = 60.0, rate: float = 20.0, addresses: int = ADDRESSES) -> None:
        self._burst = burst
        self._rate = rate
        self._addresses = addresses
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, address: str, now: float) -> None:
        """Take one from the address's bucket; raises `Refused` when it is empty."""
        left, at = self._buckets.pop(address, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - at) * self._rate)
        self._buckets[address] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > self._addresses:
            del self._buckets[next(iter(self._buckets))]
        if left < 1:
            wait = math.ceil((1 - left) / self._rate)
            remedy = "Try again in a few seconds."
            raise Refused(ErrorCode.TOO_MANY_TRIES, 429, "too many requests", remedy, retry_after_s=wait)
