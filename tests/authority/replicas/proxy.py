"""A TCP proxy of loopback that can be cut: what is on its way then goes nowhere, as in a network that parts."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

from simulators.lab.ports import free_port


class Proxy:
    """Forwards connections to `target`, a port of loopback, until it is cut or closed."""

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._cut = threading.Event()
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Carry nothing from now on; both ends believe that they are connected."""
        self._cut.set()

    def heal(self) -> None:
        """Let new connections through; those of before stay dead."""
        self._drop()
        self._cut.clear()

    def close(self) -> None:
        """End everything."""
        self._closed.set()
        self._listening.close()
        self._drop()

    def _drop(self) -> None:
        pairs, self._pairs = self._pairs, []
        for each in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                each.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            while not self._closed.is_set():
                for key, _ in ready.select(0.2):
                    if self._cut.is_set():
                        return
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        self._end(near, far)
                        return
                    key.data.sendall(data)

    @staticmethod
    def _end(*ends: socket.socket) -> None:
        for each in ends:
            each.close()
