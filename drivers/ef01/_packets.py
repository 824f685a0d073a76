"""EF01 packets: a header, four bytes of address, what it is, its length, a payload, and a 16-bit sum.

Source: the ZFM-20 and R30x user manuals, "Data package format". Numbers are big-endian; the length counts the payload
and the sum; the sum is that of every byte from the packet's kind to the end of its payload.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

MARK = b"\xef\x01"
HEADER_BYTES, SUM_BYTES = 9, 2
FRAMING_BYTES = HEADER_BYTES + SUM_BYTES
"""What a packet adds to its payload."""

LONGEST_PAYLOAD = 256


class PacketKind(IntEnum):
    """The packet identifier."""

    COMMAND = 0x01
    DATA = 0x02
    ACK = 0x07
    LAST_DATA = 0x08


_KINDS = frozenset(kind.value for kind in PacketKind)


@dataclass(frozen=True)
class Packet:
    """A packet whose sum is right; `payload` is at most 256 bytes."""

    kind: PacketKind
    payload: bytes


def header(kind: PacketKind, payload_bytes: int, address: int) -> bytes:
    """The nine bytes before the payload."""
    return MARK + struct.pack(">IBH", address, kind, payload_bytes + SUM_BYTES)


def checksum(kind: PacketKind, payload: bytes) -> int:
    """The 16-bit sum over kind, length and payload."""
    length = len(payload) + SUM_BYTES
    return (kind + (length >> 8) + (length & 0xFF) + sum(payload)) & 0xFFFF


def encode(kind: PacketKind, payload: bytes, address: int) -> bytes:
    """The packet as it goes over the wire; `payload` has at most 256 bytes."""
    return header(kind, len(payload), address) + payload + struct.pack(">H", checksum(kind, payload))


def find_packets(data: bytes, address: int) -> list[Packet]:
    """Every packet of `address` (32 bits) in `data` whose sum is right, in order; what lies between is passed over.

    A header that leads to no such packet is garbage itself, and the search goes on right behind its mark. Raises
    nothing, whatever the bytes are.
    """
    return list(_walk(data, MARK + struct.pack(">I", address)))


def _walk(data: bytes, start: bytes) -> Iterator[Packet]:
    position = data.find(start)
    while position >= 0:
        packet = _packet_at(data, position)
        if packet is not None:
            yield packet
        taken = len(MARK) if packet is None else FRAMING_BYTES + len(packet.payload)
        position = data.find(start, position + taken)


def _packet_at(data: bytes, position: int) -> Packet | None:
    body = position + HEADER_BYTES
    if len(data) < body:
        return None
    kind, length = struct.unpack_from(">BH", data, position + 6)
    end = body + length - SUM_BYTES
    if kind not in _KINDS or not 0 <= end - body <= LONGEST_PAYLOAD or len(data) < end + SUM_BYTES:
        return None
    payload = data[body:end]
    if struct.unpack_from(">H", data, end)[0] != checksum(PacketKind(kind), payload):
        return None
    return Packet(PacketKind(kind), payload)
