"""Listeners: TLS 1.3, and the client's certificate where a request can see it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import resource
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from authority.pki import CertificateAuthority

HEAD_BYTES = 16 * 1024
"""Most that a request line and its headers may take together."""
REQUEST_S = 15.0
"""Time for the head of a request from the moment when the connection is made."""
IDLE_S = 75
"""An idle connection is kept this long for the next request."""
PING_S = 20.0
RESERVED = 256
"""Descriptors that are for the database, files and receivers of alerts."""
MOST_DESCRIPTORS = 65_536
"""Those of more are for nobody: strangers hold a connection each as well, of some 80 kB of memory."""
MOST_OPERATORS = 4096
"""Connections of operators, where the process may have that many descriptors."""
SHUTDOWN_S = 2
CERTIFICATE_KEY = "certificate_sha256"
"""Where `scope["state"]` holds the SHA-256 (hexadecimal) of the verified client certificate."""


class CertificateProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, with the client certificate's thumbprint in every request's state.

    uvicorn copies `app_state` into each request and hands it on when a connection becomes a WebSocket. A head that is
    too long or does not come in time ends the connection, which uvicorn alone would wait for without limit. `connected`
    is called for every handshake that succeeded.
    """

    def __init__(self, *arguments: Any, connected: Callable[[], None], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._connected = connected

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Read the certificate once per connection: TLS 1.3 asks for it in the handshake only."""
        super().connection_made(transport)
        self._connected()
        self._awaiting_head, self._head_bytes = True, 0
        self._head_timer = self.loop.call_later(REQUEST_S, self._give_up)
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if der:
            self.app_state = {**self.app_state, CERTIFICATE_KEY: hashlib.sha256(der).hexdigest()}

    def data_received(self, data: bytes) -> None:
        """Feed the parser, within the limits of a head."""
        if self._awaiting_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._awaiting_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("Request header too large.")

    def on_message_begin(self) -> None:
        """A new head begins."""
        super().on_message_begin()
        if not self._awaiting_head:
            self._awaiting_head, self._head_bytes = True, 0
            self._head_timer = self.loop.call_later(REQUEST_S, self._give_up)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._awaiting_head = False
        self._head_timer.cancel()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer with the connection."""
        self._head_timer.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class PlaneServer(uvicorn.Server):
    """A listener that leaves signals to the process, which may have several."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: whoever started this server sets `should_exit`."""
        yield

    @property
    def port(self) -> int:
        """The port that is listened on, once `started`."""
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port


def connections_allowed(descriptors: int) -> tuple[int, int]:
    """How many connections nodes and operators may have, in a process that may have so many open descriptors.

    Every connected node holds one; operators keep theirs, however many nodes there are. A larger fleet takes several
    replicas.
    """
    free = max(min(descriptors, MOST_DESCRIPTORS) - RESERVED, RESERVED)
    operators = min(MOST_OPERATORS, free // 4)
    return free - operators, operators


def take_descriptors() -> int:
    """Let this process have as many open descriptors as it may, and not as few as a shell begins with."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def _uncounted() -> None:
    """Nobody counts connections."""


def node_server(
    app: FastAPI, ca: CertificateAuthority, host: str, port: int, connected: Callable[[], None] = _uncounted
) -> PlaneServer:
    """The node plane's listener: a client certificate is welcome, and if one comes it must be of this CA."""
    most, _ = connections_allowed(_descriptors())
    return _server(app, _welcoming(ca), host, port, connected, most)


def operator_server(
    app: FastAPI,
    ca: CertificateAuthority,
    host: str,
    port: int,
    connected: Callable[[], None] = _uncounted,
    operator_ca: Path | None = None,
) -> PlaneServer:
    """The operator plane's listener: a client certificate is welcome, of this CA or of `operator_ca` (PEM).

    Which certificates are operators' is for the application. Raises `OSError` when the file cannot be used.
    """
    context = _welcoming(ca)
    if operator_ca is not None:
        context.load_verify_locations(operator_ca)
    _, most = connections_allowed(_descriptors())
    return _server(app, context, host, port, connected, most)


def _descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _welcoming(ca: CertificateAuthority) -> ssl.SSLContext:
    context = server_context(ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    for root in ca.client_roots:
        context.load_verify_locations(root)
    return context


def server_context(ca: CertificateAuthority) -> ssl.SSLContext:
    """TLS 1.3 only, with the authority's server certificate; no session tickets, so every connection is a full one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.load_cert_chain(ca.server_certificate_file, ca.server_key_file)
    return context


def _server(
    app: FastAPI, context: ssl.SSLContext, host: str, port: int, connected: Callable[[], None], most: int
) -> PlaneServer:
    settings: dict[str, Any] = {
        "http": partial(CertificateProtocol, connected=connected),
        "ws": "websockets-sansio",
        "ws_max_size": 4096,
        "ws_ping_interval": PING_S,
        "ws_ping_timeout": PING_S,
        "ws_per_message_deflate": False,
        "loop": "uvloop",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "timeout_keep_alive": IDLE_S,
        "timeout_graceful_shutdown": SHUTDOWN_S,
        "limit_concurrency": most,
    }
    config = uvicorn.Config(app, host=host, port=port, ssl_context_factory=lambda _config, _make: context, **settings)
    return PlaneServer(config)
