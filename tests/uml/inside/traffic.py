"""Traffic between nodes: UDP at a rate and pings, every packet numbered, whatever is lost or doubled counted."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.uml.inside.net import Place, inside

MARKER = b"keyvigil-cleartext-marker"
"""In every packet: what a capture looks for."""
_PORT = 4500 + 1
_PACKET = struct.Struct("!HI")
_ECHO = struct.Struct("!BBHHH")
SO_RCVBUFFORCE = 33
_LINGER_S = 1.5
_BURST = 40


@dataclass
class Flow:
    """Packets one way, and pings there and back."""

    source: int
    destination: int
    sent: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    pings: int = 0
    ponged: set[int] = field(default_factory=set)
    refused: int = 0

    def summary(self) -> dict[str, int]:
        """Counts."""
        return {
            "source": self.source,
            "destination": self.destination,
            "sent": self.sent,
            "lost": self.sent - len(self.seen),
            "duplicated": sum(count - 1 for count in self.seen.values()),
            "pings": self.pings,
            "pings_lost": self.pings - len(self.ponged),
            "refused": self.refused,
        }


class Traffic:
    """A process of its own that sends until it is told to stop."""

    def __init__(self, places: Sequence[Place], rate: float, ping_s: float = 0.02) -> None:
        read, write = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(read)
            _child(places, rate, ping_s, write)
        os.close(write)
        self._read = read
        os.read(self._read, 1)

    def stop(self) -> list[dict[str, int]]:
        """Flows after the last packet had time to arrive."""
        os.kill(self._pid, signal.SIGTERM)
        with os.fdopen(self._read, "rb") as file:
            found: list[dict[str, int]] = pickle.loads(file.read())
        os.waitpid(self._pid, 0)
        return found


def totals(flows: Sequence[dict[str, int]]) -> dict[str, int]:
    """Sums over flows."""
    return {name: sum(flow[name] for flow in flows) for name in flows[0] if name not in {"source", "destination"}}


def _child(places: Sequence[Place], rate: float, ping_s: float, out: int) -> None:
    status = 1
    try:
        run = _Run(places, rate, ping_s)
        signal.signal(signal.SIGTERM, lambda *_: setattr(run, "over", True))
        os.write(out, b".")
        run.run()
        with os.fdopen(out, "wb") as file:
            file.write(pickle.dumps([flow.summary() for flow in run.flows]))
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


class _Run:
    def __init__(self, places: Sequence[Place], rate: float, ping_s: float) -> None:
        self.over = False
        nodes = range(len(places))
        self.flows = [Flow(one, other) for one in nodes for other in nodes if one != other]
        self._places, self._rate, self._ping_s = places, rate, ping_s
        self._udp = [_open(place, socket.SOCK_DGRAM, 0) for place in places]
        self._raw = [_open(place, socket.SOCK_RAW, socket.IPPROTO_ICMP) for place in places]
        self._started = time.monotonic()

    def run(self) -> None:
        while not self.over:
            elapsed = time.monotonic() - self._started
            for flow in self.flows:
                self._send_due(flow, elapsed)
            self._receive(0.0015)
        end = time.monotonic() + _LINGER_S
        while time.monotonic() < end:
            self._receive(0.05)

    def _send_due(self, flow: Flow, elapsed: float) -> None:
        target = self._places[flow.destination].address
        for _ in range(min(_BURST, int(elapsed * self._rate) - flow.sent - flow.refused)):
            try:
                body = _PACKET.pack(self.flows.index(flow), flow.sent) + MARKER
                self._udp[flow.source].sendto(body, (target, _PORT))
                flow.sent += 1
            except OSError:
                flow.refused += 1
        if self._ping_s and elapsed >= flow.pings * self._ping_s:
            packet = _echo(self.flows.index(flow), flow.pings)
            flow.pings += 1
            try:
                self._raw[flow.source].sendto(packet, (target, 0))
            except OSError:
                flow.refused += 1

    def _receive(self, patience: float) -> None:
        ready, _, _ = select.select([*self._udp, *self._raw], [], [], patience)
        for one in ready:
            try:
                while True:
                    data = one.recv(2048)
                    self._count(data) if one in self._udp else self._pong(data)
            except BlockingIOError:
                continue

    def _count(self, data: bytes) -> None:
        index, number = _PACKET.unpack_from(data)
        seen = self.flows[index].seen
        seen[number] = seen.get(number, 0) + 1

    def _pong(self, data: bytes) -> None:
        kind, _, _, index, low = _ECHO.unpack_from(data, (data[0] & 15) * 4)
        if kind == 0:
            flow = self.flows[index]
            number = flow.pings - 1 - ((flow.pings - 1 - low) & 0xFFFF)
            flow.ponged.add(number)


def _open(place: Place, kind: int, protocol: int) -> socket.socket:
    with inside(place.name):
        made = socket.socket(socket.AF_INET, kind, protocol)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    made.bind((place.address, _PORT if kind == socket.SOCK_DGRAM else 0))
    return made


def _echo(index: int, number: int) -> bytes:
    """An ICMP echo request (RFC 792)."""
    body = MARKER + bytes(len(MARKER) % 2)
    head = _ECHO.pack(8, 0, 0, index, number & 0xFFFF)
    total = sum(struct.unpack(f"!{len(head + body) // 2}H", head + body))
    total = (total & 0xFFFF) + (total >> 16)
    return _ECHO.pack(8, 0, ~(total + (total >> 16)) & 0xFFFF, index, number & 0xFFFF) + body
