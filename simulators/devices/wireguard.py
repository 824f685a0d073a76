"""A WireGuard interface in user space as its configuration sees it: no packets, but sessions that begin on demand."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class ModelPeer:
    """A peer as wireguard-go keeps it."""

    values: dict[str, str] = field(default_factory=dict)
    allowed: list[str] = field(default_factory=list)
    handshake: float = 0.0


class WireGuardModel:
    """Answers on `folder/NAME.sock` as wireguard-go does (wireguard.com/xplatform); a context manager.

    `fault` makes it misbehave: `errno`, `garbage`, `hang-up`, `silent`.
    """

    def __init__(self, folder: Path, interface: str) -> None:
        self.path = folder / f"{interface}.sock"
        self.private, self.port, self.fault = "", 0, ""
        self.peers: dict[str, ModelPeer] = {}
        self.requests = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve, name="wireguard model", daemon=True)

    def __enter__(self) -> WireGuardModel:
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def shake(self, public: bytes, at: float) -> None:
        """A handshake with a peer ends at `at`, POSIX seconds; raises `KeyError` for one that is not there."""
        self.peers[public.hex()].handshake = at

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                with line, contextlib.suppress(OSError):
                    self._answer(line)

    def _answer(self, line: socket.socket) -> None:
        data = b""
        while not data.endswith(b"\n\n"):
            more = line.recv(1 << 16)
            if not more:
                return
            data += more
        self.requests += 1
        if self.fault == "silent":
            line.recv(1)
        elif self.fault == "hang-up":
            line.sendall(b"listen_port=1")
        elif self.fault == "garbage":
            line.sendall(b"public_key=xyz\nerrno=0\n\n")
        elif self.fault == "errno":
            line.sendall(b"errno=-5\n\n")
        else:
            line.sendall(self._done(data.decode("ascii").splitlines()).encode("ascii"))

    def _done(self, lines: list[str]) -> str:
        if lines[0] == "get=1":
            return "\n".join([*self._shown(), "errno=0", "", ""])
        current = ""
        for line in filter(None, lines[1:]):
            key, _, value = line.partition("=")
            if key == "public_key":
                current = value
                self.peers.setdefault(current, ModelPeer())
            elif current:
                self._set_peer(current, key, value)
            elif key == "private_key":
                self.private = value
            elif key == "listen_port":
                self.port = int(value)
        return "errno=0\n\n"

    def _set_peer(self, public: str, key: str, value: str) -> None:
        peer = self.peers[public]
        if key == "remove":
            del self.peers[public]
        elif key == "replace_allowed_ips":
            peer.allowed = []
        elif key == "allowed_ip":
            peer.allowed.append(value)
        else:
            peer.values[key] = value

    def _shown(self) -> list[str]:
        lines = [f"private_key={self.private}"] if self.private else []
        lines.append(f"listen_port={self.port}")
        for public, peer in self.peers.items():
            seconds = int(peer.handshake)
            lines += [f"public_key={public}", *(f"{key}={value}" for key, value in peer.values.items())]
            lines += ["protocol_version=1", f"last_handshake_time_sec={seconds}"]
            lines += [f"last_handshake_time_nsec={int((peer.handshake - seconds) * 1e9)}", "tx_bytes=0", "rx_bytes=0"]
            lines += [f"allowed_ip={each}" for each in peer.allowed]
        return lines
