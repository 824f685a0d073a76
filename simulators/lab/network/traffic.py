"""Numbered UDP packets between nodes, counted at both ends; runs as a process in a node's network namespace.

    python -m simulators.lab.network.traffic CONTROL-SOCKET ADDRESS RATE PEER...

Every RATE-th of a second a packet goes to every PEER (addresses in the network). Orders come as JSON lines on the
control socket: `{"op": "sent"}` gives the next number to each peer, `{"op": "received", "source": S, "begin": A, "end":
B}` how many numbers of that range came from S, how many of them again, and when the last packet of S came (POSIX
seconds), `{"op": "totals"}` how many came from each source, and when the last.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulators.lab.processes import LabError

PORT = 7700
IP_FREEBIND = 15
"""ip(7): bind to an address that is not there yet; IPv6 sockets heed it as well."""
_SO_RCVBUFFORCE = 33
"""socket(7): with CAP_NET_ADMIN, whatever `net.core.rmem_max` says."""
_ROOM = 8 << 20
_PACKET = struct.Struct("!Q")
_FILLING = bytes(100)


@dataclass
class _Source:
    """What came from one peer: how often each number did, and when the last."""

    numbers: Counter[int] = field(default_factory=Counter)
    last: float = 0.0


class Traffic:
    """Sends to every peer and counts what comes. `refused` counts packets that this node's own kernel did not take."""

    def __init__(self, address: str, rate: float, peers: Sequence[str]) -> None:
        self._period = 1 / rate
        self._next = dict.fromkeys(peers, 0)
        self._refused = Counter[str]()
        self._sources: dict[str, _Source] = {}
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        # Room for what comes while this process does not get to it.
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        # The address comes with the first keys.
        self._socket.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        self._socket.bind((address, PORT))

    async def run(self, control: Path) -> None:
        """Send until cancelled, and answer orders on `control`."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._receive)
        async with await asyncio.start_unix_server(self._obey, control):
            due = loop.time()
            while True:
                for peer in self._next:
                    self._send(peer)
                due += self._period
                await asyncio.sleep(max(0.0, due - loop.time()))

    def _send(self, peer: str) -> None:
        try:
            self._socket.sendto(_PACKET.pack(self._next[peer]) + _FILLING, (peer, PORT))
        except OSError:
            # No route, no tunnel, or a filter: the packet never left, and its number is used for the next one.
            self._refused[peer] += 1
        else:
            self._next[peer] += 1

    def _receive(self) -> None:
        while True:
            try:
                packet, (source, *_) = self._socket.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError:
                continue
            came = self._sources.setdefault(source, _Source())
            came.numbers[_PACKET.unpack_from(packet)[0]] += 1
            came.last = time.time()

    async def _obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            writer.write(json.dumps(self._done(json.loads(line))).encode() + b"\n")
            await writer.drain()
        writer.close()

    def _done(self, order: dict[str, Any]) -> dict[str, Any]:
        self._receive()  # what waits at the socket has come, however late this process gets to it
        if order["op"] == "sent":
            return {"next": self._next, "refused": self._refused}
        if order["op"] == "totals":
            return {source: [len(came.numbers), came.last] for source, came in self._sources.items()}
        came = self._sources.get(order["source"], _Source())
        counts = [came.numbers[number] for number in range(order["begin"], order["end"])]
        again = sum(count - 1 for count in counts if count > 1)
        return {"received": sum(count > 0 for count in counts), "duplicated": again, "last": came.last}


def ask(control: Path, order: dict[str, Any]) -> Any:
    """What the process behind `control` answers to an order; raises `LabError`."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(10)
            line.connect(str(control))
            line.sendall(json.dumps(order).encode() + b"\n")
            return json.loads(line.makefile("rb").readline())
    except (OSError, ValueError) as error:
        raise LabError(f"the traffic at {control.name} does not answer: {error}") from None


def main() -> None:
    """See the module's text."""
    control, address, rate, *peers = sys.argv[1:]
    asyncio.run(Traffic(address, float(rate), peers).run(Path(control)))


if __name__ == "__main__":
    main()
