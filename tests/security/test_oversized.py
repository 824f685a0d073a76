"""CVE-2022-23951: a quote's compressed log grew a thousandfold when it was read; here sizes are bounded first."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from authority.planes import limits, node_plane
from protocol.codec import encode
from protocol.messages import NonceRequest
from tests.authority.planes.plane import Plane, open_plane
from tests.security.broken import NOTICED, replaced

ASK = encode(NonceRequest(node_id="0" * 64))
BOMB = gzip.compress(ASK + b" " * (64 << 20), 9)
DEEP = b'{"node_id":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
WIDE = b'{"node_id":"x","more":' + b"9" * 60_000 + b"}"


def ask(plane: Plane, body: bytes, **headers: str) -> httpx.Response:
    return plane.stranger().request("POST", "/v1/nonces", body, headers=headers)


def check_nothing_is_unpacked(plane: Plane) -> None:
    """64 MiB of a right request in 64 KiB: what is not JSON as it comes is no request."""
    assert len(BOMB) < limits.BODY_BYTES * 2
    assert ask(plane, ASK).status_code == 200
    for packed in (BOMB, gzip.compress(ASK)):
        assert ask(plane, packed, **{"content-encoding": "gzip"}).status_code in {400, 413}


def check_long_bodies_are_not_read(plane: Plane) -> None:
    long = ASK + b" " * limits.BODY_BYTES
    assert ask(plane, long).status_code == 413
    assert ask(plane, long, **{"transfer-encoding": "chunked"}).status_code in {400, 413}


@pytest.mark.parametrize("body", [DEEP, WIDE], ids=["deep", "wide"])
def test_a_body_within_the_limit_that_is_hard_to_read_is_refused(plane: Plane, body: bytes) -> None:
    assert len(body) < limits.BODY_BYTES
    assert ask(plane, body).status_code == 400
    assert ask(plane, ASK).status_code == 200


def test_nothing_is_unpacked(plane: Plane) -> None:
    check_nothing_is_unpacked(plane)


def test_long_bodies_are_not_read(plane: Plane) -> None:
    check_long_bodies_are_not_read(plane)


async def unpacks(request: Request) -> bytes:
    body = await request.body()
    return gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body


@pytest.mark.parametrize("check", [check_nothing_is_unpacked, check_long_bodies_are_not_read])
def test_a_plane_without_bounds_is_noticed(tmp_path, check: Any) -> None:
    with replaced(node_plane, "read_body", unpacks), open_plane(tmp_path) as opened, pytest.raises(NOTICED):
        check(opened)
