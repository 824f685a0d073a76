"""What passes a node's wire: a packet socket in its namespace (packet(7))."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

from tests.uml.inside.net import Place, inside
from tests.uml.inside.traffic import MARKER, SO_RCVBUFFORCE

_ALL = 3
"""ETH_P_ALL."""
_ESP = 50
_HEAD = {0x0800: (9, 20), 0x86DD: (6, 40)}
"""By EtherType: where the protocol stands in the IP header, and how long that is."""


@dataclass
class Seen:
    """ESP packets by SPI and sequence number, and how many packets carried the marker in clear."""

    esp: list[tuple[int, int]] = field(default_factory=list)
    clear: int = 0


class Capture:
    """All on the wire of a node, at the router's end: the node's own shows what leaves the tunnel as well."""

    def __init__(self, place: Place) -> None:
        with inside("router"):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
        self._socket.bind((f"v{place.name[1:]}", _ALL))
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)

    def seen(self) -> Seen:
        """What passed since the last question."""
        found = Seen()
        while True:
            try:
                data, (_, kind, *_) = self._socket.recvfrom(65535)
            except BlockingIOError:
                return found
            protocol_at, length = _HEAD.get(kind, (0, 0))
            found.clear += MARKER in data
            if length and data[protocol_at] == _ESP:
                found.esp.append(struct.unpack_from("!II", data, length))
