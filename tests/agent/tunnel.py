"""An HTTP proxy on loopback that opens tunnels (RFC 9110 §9.3.6), or refuses to; keeps what was asked and passed."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Tunnel:
    """`refusal` is the status line that it answers with instead of a tunnel; `to` another place than was asked for."""

    url: str
    refusal: str = ""
    to: tuple[str, int] | None = None
    asked: list[str] = field(default_factory=list)
    passed: bytearray = field(default_factory=bytearray)

    def serve(self, client: socket.socket) -> None:
        """One connection to its end."""
        with client, contextlib.suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                part = client.recv(1)
                if not part:
                    return
                head += part
            line = head.split(b"\r\n", 1)[0].decode()
            self.asked.append(line)
            if self.refusal or not line.startswith("CONNECT "):
                client.sendall(f"HTTP/1.1 {self.refusal or '400 Bad Request'}\r\ncontent-length: 0\r\n\r\n".encode())
                return
            host, port = line.split()[1].rsplit(":", 1)
            with socket.create_connection(self.to or (host, int(port)), 10) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=self._carry, args=(server, client), daemon=True)
                back.start()
                self._carry(client, server)
                back.join(10)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                self.passed += part
                target.sendall(part)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@contextmanager
def tunnelling(refusal: str = "", to: tuple[str, int] | None = None) -> Iterator[Tunnel]:
    """Such a proxy while the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Tunnel(f"http://127.0.0.1:{listener.getsockname()[1]}", refusal, to)
        threading.Thread(target=_accept, args=(listener, proxy), daemon=True).start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, proxy: Tunnel) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()
