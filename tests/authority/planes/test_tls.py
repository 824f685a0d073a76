"""The listeners: TLS 1.3 or nothing, garbage ends its own connection only, and an end that does not wait for long."""

from __future__ import annotations

import hashlib
import signal
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import FastAPI
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed

from authority.pki import CertificateAuthority
from authority.planes.tls import CERTIFICATE_KEY, HEAD_BYTES, REQUEST_S, CertificateProtocol
from tests.authority.planes.plane import HOST, PATIENCE_S, Plane, everything

ALIVE = b"GET /v1/ca HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def test_tls_1_2_is_not_spoken(plane: Plane) -> None:
    context = plane.stranger().context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((HOST, plane.port), PATIENCE_S) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname=HOST)


def test_tls_1_3_is(plane: Plane) -> None:
    with plane.stranger().raw() as sock:
        assert sock.version() == "TLSv1.3"


def test_plain_http_gets_nothing(plane: Plane) -> None:
    with socket.create_connection((HOST, plane.port), PATIENCE_S) as sock:
        sock.sendall(ALIVE)
        assert b"BEGIN CERTIFICATE" not in everything(sock)


@pytest.mark.parametrize("inside", [False, True], ids=["before the handshake", "inside TLS"])
def test_garbage_ends_its_own_connection_only(plane: Plane, inside: bool) -> None:
    garbage = bytes(range(256)) * 64
    with socket.create_connection((HOST, plane.port), PATIENCE_S) if not inside else plane.stranger().raw() as sock:
        with suppress(OSError):
            sock.sendall(garbage)
        received = everything(sock)
    assert not received.startswith(b"HTTP/1.1 200")
    assert plane.stranger().get("/v1/ca").status_code == 200


@pytest.mark.parametrize("part", [b"GET /" + b"a" * 70_000, b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000])
def test_a_head_that_never_ends_is_cut_off(plane: Plane, part: bytes) -> None:
    with plane.stranger().raw() as sock:
        sock.settimeout(REQUEST_S / 3)  # at the limit, not when the time for a head is over
        with suppress(OSError):  # the other side may be gone before all of it is sent
            sock.sendall(part)
        assert everything(sock)[:12] in {b"HTTP/1.1 400", b""}


def test_a_long_head_within_the_limit_is_read(plane: Plane) -> None:
    with plane.stranger().raw() as sock:
        sock.sendall(ALIVE[:-2] + b"x: " + b"a" * (HEAD_BYTES - 1000) + b"\r\n\r\n")
        assert everything(sock).startswith(b"HTTP/1.1 200")


class Clock:
    """An event loop's timers, to be fired by hand."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, delay: float, work: Callable[[], None]) -> Timer:
        self.timers.append(Timer(delay, work))
        return self.timers[-1]

    def create_task(self, work: Any) -> Any:
        work.close()
        return self

    def add_done_callback(self, _: object) -> None: ...


class Timer:
    def __init__(self, delay: float, work: Callable[[], None]) -> None:
        self.delay, self.work, self.cancelled = delay, work, False

    def cancel(self) -> None:
        self.cancelled = True


class Wire:
    """A transport that notes being closed."""

    closed = False

    def get_extra_info(self, _: str) -> None: ...

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def connection() -> tuple[CertificateProtocol, Clock, Wire]:
    clock, wire = Clock(), Wire()
    protocol = CertificateProtocol(uvicorn.Config(FastAPI(), log_config=None), ServerState(), {}, clock)  # type: ignore[arg-type]
    protocol.connection_made(wire)  # type: ignore[arg-type]
    return protocol, clock, wire


def test_a_head_that_does_not_come_in_time_is_given_up() -> None:
    protocol, clock, wire = connection()
    protocol.data_received(b"GET / HT")
    assert [(timer.delay, timer.cancelled) for timer in clock.timers] == [(REQUEST_S, False)]
    clock.timers[0].work()
    assert wire.closed


def test_a_head_that_came_is_not_timed_any_more() -> None:
    protocol, clock, wire = connection()
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert [timer.cancelled for timer in clock.timers] == [True]
    assert not wire.closed


def test_the_certificate_is_known_to_the_request_by_its_thumbprint(plane: Plane) -> None:
    """Sent as a header it is ignored: what counts is the handshake."""
    client = plane.node("thumb")
    assert client.certificate is not None
    der = x509.load_pem_x509_certificate(client.certificate.read_bytes()).public_bytes(Encoding.DER)
    thumb = hashlib.sha256(der).hexdigest()
    assert plane.row(client.node_id).certificate_sha256 == thumb
    assert client.get("/v1/deliveries").status_code == 200
    pretending = {CERTIFICATE_KEY: thumb, "x-client-cert": thumb, "x-ssl-client-fingerprint": thumb}
    assert plane.stranger().request("GET", "/v1/deliveries", headers=pretending).status_code == 401


def test_an_end_waits_for_no_open_socket(own_plane: Plane) -> None:
    clients = [own_plane.node(f"open-{number}") for number in range(3)]
    with ExitStack() as stack:
        sockets = [stack.enter_context(client.events()) for client in clients]
        for each in sockets:
            each.recv(PATIENCE_S)
        idle, half = (stack.enter_context(own_plane.stranger().raw()) for _ in range(2))
        half.sendall(b"GET /v1/ca HT")
        assert own_plane.running.stop() < 3.0
        assert everything(idle) + everything(half) == b""
        for each in sockets:
            with pytest.raises(ConnectionClosed):
                each.recv(PATIENCE_S)


def test_an_end_waits_for_no_node_that_does_not_read(own_plane: Plane) -> None:
    """A node that answers neither close frame nor anything else."""
    with own_plane.node("dead").raw() as sock:
        key = b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n"
        sock.sendall(
            b"GET /v1/events HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n" + key + b"\r\n"
        )
        assert sock.recv(12) == b"HTTP/1.1 101"
        assert own_plane.running.stop() < 3.0


def test_signals_are_left_to_the_process(own_plane: Plane) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with own_plane.running.server.capture_signals():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_control_uvicorn_alone_takes_them() -> None:
    before = signal.getsignal(signal.SIGINT)
    with uvicorn.Server(uvicorn.Config(FastAPI(), log_config=None)).capture_signals():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_a_server_of_another_site_is_noticed(plane: Plane, tmp_path: Path) -> None:
    """The control for all of the above: the client does check the server."""
    other = CertificateAuthority.create(tmp_path / "ca", [HOST], time.time())
    context = ssl.create_default_context(cafile=str(other.ca_file))
    with socket.create_connection((HOST, plane.port), PATIENCE_S) as plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain, server_hostname=HOST)
