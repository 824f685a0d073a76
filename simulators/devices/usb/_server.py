"""A USB/IP server over device models: protocol 1.1.1 as in the kernel's Documentation/usb/usbip_protocol.rst.

Our own, because the published Python server listens on every interface by default, cannot take a free port and tell
it, keeps devices in a global table, and lets two clients import one device.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

from simulators.devices.usb._connection import Exported, serve_connection
from simulators.devices.usb._model import UsbModel

MAX_CONNECTIONS = 32
"""Connections served at once; one more is closed at once."""

_JOIN_SECONDS = 2.0


class UsbipServer:
    """Models exported under bus identifiers 1-1, 1-2, … in the order given; ends with `close()`."""

    def __init__(self, models: Sequence[UsbModel], host: str, port: int) -> None:
        self._exported = tuple(Exported(number, model) for number, model in enumerate(models, start=1))
        self._listener = socket.create_server((host, port))
        self.host: str = host
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._closing = False
        self._acceptor = threading.Thread(target=self._accept, name=f"usbip-{self.port}", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Stop listening, cut every connection, wait for the threads; closing twice is allowed."""
        with self._lock:
            self._closing = True
            open_now = dict(self._connections)
        for sock in (self._listener, *open_now):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._acceptor, *open_now.values()):
            thread.join(_JOIN_SECONDS)

    def __enter__(self) -> UsbipServer:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _peer = self._listener.accept()
            except OSError:
                return
            self._start(sock)

    def _start(self, sock: socket.socket) -> None:
        with self._lock:
            if self._closing or len(self._connections) >= MAX_CONNECTIONS:
                sock.close()
                return
            thread = threading.Thread(target=self._serve, args=(sock,), name=f"usbip-{self.port}-peer", daemon=True)
            self._connections[sock] = thread
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            serve_connection(sock, self._exported)
        finally:
            with self._lock:
                self._connections.pop(sock, None)
            sock.close()


def serve_usbip(models: Sequence[UsbModel], host: str = "127.0.0.1", port: int = 0) -> UsbipServer:
    """Export `models` on `host`:`port` (0 takes a free one) from threads of this process.

    The protocol has no authentication: keep to loopback. Raises `OSError` when the port is taken.
    """
    return UsbipServer(models, host, port)
