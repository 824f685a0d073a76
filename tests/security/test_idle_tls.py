"""CVE-2023-38200: one connection that never finished its handshake kept a registrar from answering anybody."""

from __future__ import annotations

import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.authority.planes.plane import HOST, Plane
from tests.security.broken import NOTICED, one_at_a_time

IDLE = 1_000
DESCRIPTORS = 2 * IDLE + 200
PATIENCE_S = 10.0
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of one: the rest never comes."""
ASK = b"GET /v1/ca HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


@contextmanager
def many_descriptors() -> Iterator[None]:
    """Both ends of every connection are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f"{IDLE} connections need {DESCRIPTORS} open files, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check_it_answers_beside_idle_handshakes(port: int, context: ssl.SSLContext, patience_s: float) -> None:
    """Half of them have said nothing, half the beginning of a ClientHello."""
    with many_descriptors(), ExitStack() as stack:
        for number in range(IDLE):
            idle = stack.enter_context(socket.create_connection((HOST, port), patience_s))
            if number % 2:
                idle.sendall(CLIENT_HELLO)
        assert answer(port, context, patience_s).startswith(b"HTTP/1.1 200")


def answer(port: int, context: ssl.SSLContext, patience_s: float) -> bytes:
    with (
        suppress(TimeoutError),
        socket.create_connection((HOST, port), patience_s) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as sock,
    ):
        sock.sendall(ASK)
        return sock.recv(64)
    return b""


def test_it_answers_beside_a_thousand_idle_handshakes(own_plane: Plane) -> None:
    check_it_answers_beside_idle_handshakes(own_plane.port, own_plane.stranger().context(), PATIENCE_S)


def test_a_server_that_shakes_hands_one_at_a_time_is_noticed(own_plane: Plane) -> None:
    context = own_plane.stranger().context()
    with one_at_a_time(own_plane.ca) as port:
        assert answer(port, context, PATIENCE_S).startswith(b"HTTP/1.1 200"), "alone it does answer"
        with pytest.raises(NOTICED):
            check_it_answers_beside_idle_handshakes(port, context, 1.0)
