"""One transfer of an image as it came over the wire: which bytes belong to which packet.

A byte that is spoiled leaves every other one at its place, so a packet is found by counting even when its own header is
gone. A byte that is lost or added moves all that follow; there the next header tells how far.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from drivers.ef01._packets import FRAMING_BYTES, HEADER_BYTES, SUM_BYTES, PacketKind, checksum, encode, header

WIDTH, HEIGHT = 256, 288
IMAGE_BYTES = WIDTH * HEIGHT // 2
"""Two pixels a byte."""

_KIND_AT = 6
_SURE, _LIKELY = 7, 6
"""Of the nine bytes of a header: how many make one anywhere, and how many where one is due."""

_SLACK = 8
"""Bytes that a packet may have lost or gained and still be taken for one packet."""


@dataclass(frozen=True)
class ImageLayout:
    """How a sensor cuts its image: `payload` bytes a packet (32, 64, 128 or 256), sent from `address`."""

    payload: int
    address: int = 0xFFFFFFFF

    @property
    def packets(self) -> int:
        """Packets in an image."""
        return IMAGE_BYTES // self.payload

    @property
    def frame(self) -> int:
        """Bytes of a packet on the wire."""
        return self.payload + FRAMING_BYTES

    @property
    def acknowledgement(self) -> bytes:
        """The packet that goes before the image."""
        return encode(PacketKind.ACK, b"\0", self.address)

    @property
    def wire_bytes(self) -> int:
        """Bytes of a whole transfer, acknowledgement included."""
        return len(self.acknowledgement) + self.packets * self.frame

    def kind(self, position: int) -> PacketKind:
        """What the packet at `position` is: the last one says so."""
        return PacketKind.LAST_DATA if position == self.packets - 1 else PacketKind.DATA

    def is_right(self, position: int, body: bytes) -> bool:
        """Whether `body`, a payload and its sum, is a right packet at `position`."""
        payload, total = body[:-SUM_BYTES], int.from_bytes(body[-SUM_BYTES:], "big")
        return len(payload) == self.payload and checksum(self.kind(position), payload) == total

    def is_complete(self, stream: bytes | bytearray) -> bool:
        """Whether the last packet ends where `stream` ends, whatever came before."""
        return bytes(stream[-self.frame :][:HEADER_BYTES]) == header(PacketKind.LAST_DATA, self.payload, self.address)


@dataclass
class Transfer:
    """Packets by position, each as payload and sum. `whole` ones have all their bytes, right or not.

    `crooked` ones lost or gained a few. `flawless` tells that not one byte of the transfer was out of order.
    """

    whole: dict[int, bytes] = field(default_factory=dict)
    crooked: dict[int, bytes] = field(default_factory=dict)
    flawless: bool = False


def align(stream: bytes, layout: ImageLayout) -> Transfer:
    """Cut `stream`, acknowledgement first, into packets; raises nothing, whatever the bytes are.

    A packet is believed to be where counting puts it only as far as the counts add up to an image.
    """
    transfer = Transfer()
    gaps = _Gaps.between(_boundaries(stream, layout), layout.frame)
    for start, end, position, count in gaps.placed(layout, ends=_ends_with_last(stream, gaps, layout)):
        bodies = _bodies(stream, start, end, count, layout.frame)
        for place, body in enumerate(bodies, position):
            if 0 <= place < layout.packets:
                transfer.whole[place] = body
        if count == 1 and not bodies:
            transfer.crooked[position] = stream[start + HEADER_BYTES : end]
    transfer.flawless = stream == _perfect(transfer, layout)
    return transfer


def _bodies(stream: bytes, start: int, end: int, count: int, frame: int) -> list[bytes]:
    """The packets between two boundaries, if they have all their bytes."""
    if end - start != count * frame:
        return []
    return [stream[at + HEADER_BYTES : at + frame] for at in range(start, end, frame)]


def _perfect(transfer: Transfer, layout: ImageLayout) -> bytes:
    """What would have come over the wire, had these packets been sent and nothing happened to them."""
    if len(transfer.whole) != layout.packets:
        return b""
    payloads = (transfer.whole[position][:-SUM_BYTES] for position in range(layout.packets))
    packets = (encode(layout.kind(number), payload, layout.address) for number, payload in enumerate(payloads))
    return layout.acknowledgement + b"".join(packets)


@dataclass(frozen=True)
class _Gaps:
    """Stretches of bytes from one header to the next, and how many packets each must have held: one at the least."""

    edges: tuple[int, ...]
    counts: tuple[int, ...]
    frame: int

    @classmethod
    def between(cls, edges: list[int], frame: int) -> _Gaps:
        counts = (max(round((end - start) / frame), int(end > start)) for start, end in pairwise(edges))
        return cls(tuple(edges), tuple(counts), frame)

    def placed(self, layout: ImageLayout, *, ends: bool) -> Iterator[tuple[int, int, int, int]]:
        """Start, end, position of the first packet and count of packets, of each stretch whose position is certain."""
        total = sum(self.counts)
        torn = [number for number in range(len(self.counts)) if abs(self._odd(number)) > _SLACK]
        adds_up = total == layout.packets
        first_torn, last_torn = (torn[0], torn[-1]) if torn else (len(self.counts), -1)
        if not adds_up and not torn and (ends or total > layout.packets):
            return
        position = 0
        for number, count in enumerate(self.counts):
            start, end = self.edges[number], self.edges[number + 1]
            if adds_up or number < first_torn:
                yield start, end, position, count
            elif ends and number > last_torn:
                yield start, end, layout.packets - total + position, count
            position += count

    def _odd(self, number: int) -> int:
        return self.edges[number + 1] - self.edges[number] - self.counts[number] * self.frame


def _ends_with_last(stream: bytes, gaps: _Gaps, layout: ImageLayout) -> bool:
    """Whether the last stretch is the packet that says it is the last."""
    start = gaps.edges[-2] if len(gaps.edges) > 1 else 0
    return stream[start : start + HEADER_BYTES] == header(PacketKind.LAST_DATA, layout.payload, layout.address)


def _boundaries(stream: bytes, layout: ImageLayout) -> list[int]:
    """Where packets begin, and where the stream ends."""
    fit = _header_fit(stream, layout)
    sure = np.flatnonzero(fit >= _SURE)
    edges = [_first(sure, len(layout.acknowledgement))]
    while edges[-1] + layout.frame < len(stream):
        due = edges[-1] + layout.frame
        if due < len(fit) and fit[due] >= _LIKELY:
            edges.append(due)
            continue
        later = sure[np.searchsorted(sure, edges[-1] + HEADER_BYTES) :]
        if not later.size:
            break
        edges.append(int(later[0]))
    return [*edges, max(len(stream), edges[-1])]


def _first(sure: NDArray[np.intp], due: int) -> int:
    """The first packet begins right behind the acknowledgement, or a little off when that one was damaged."""
    near = sure[sure <= 2 * due]
    return due if due in near or not near.size else int(near[0])


def _header_fit(stream: bytes, layout: ImageLayout) -> NDArray[np.int8]:
    """How many of a header's nine bytes stand at each place of `stream`; either kind of data packet will do."""
    data = np.frombuffer(stream, np.uint8)
    places = max(0, len(data) - HEADER_BYTES + 1)
    expected = header(PacketKind.DATA, layout.payload, layout.address)
    fit = np.zeros(places, np.int8)
    for offset, byte in enumerate(expected):
        fit += data[offset : offset + places] == byte
    fit += data[_KIND_AT : _KIND_AT + places] == PacketKind.LAST_DATA
    return fit
