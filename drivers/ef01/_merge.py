"""One image from several transfers of it, each damaged in other places.

The sum of a packet is weak: two spoiled bytes whose changes cancel are not noticed, which on a line that spoils one
byte in a thousand would give one image in a hundred a wrong pixel. So a packet is believed

- when it came in a transfer without a single flaw, since a line that bad does not deliver one; or
- when two transfers agree on it byte by byte, and where they do not, exactly one choice among their bytes gives the
  right sum; or
- when one transfer has it right and another has it with one byte spoiled, lost or added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product

from drivers.ef01._packets import SUM_BYTES
from drivers.ef01._transfer import ImageLayout, align
from hal import ProtocolError

MOST_TRANSFERS = 8
"""How often an image is asked for at the most."""

_MOST_CHOICES = 64
"""Choices among differing bytes that are tried: more than that, and a sum of 16 bits no longer tells them apart."""


class Merge:
    """Collects transfers until every packet of the image is known."""

    def __init__(self, layout: ImageLayout) -> None:
        self._layout = layout
        self._known: dict[int, bytes] = {}
        self._whole: dict[int, list[bytes]] = {position: [] for position in range(layout.packets)}
        self._crooked: dict[int, list[bytes]] = {position: [] for position in range(layout.packets)}

    @property
    def missing(self) -> int:
        """Packets that are not known yet."""
        return self._layout.packets - len(self._known)

    def add(self, stream: bytes) -> None:
        """Take in one transfer, acknowledgement first, of any length and content."""
        transfer = align(stream, self._layout)
        if transfer.flawless:
            self._known = transfer.whole
            return
        for position in self._unknown():
            if position in transfer.whole:
                self._whole[position].append(transfer.whole[position])
            if position in transfer.crooked:
                self._crooked[position].append(transfer.crooked[position])
        self._learn({position: self._agreed(position) for position in self._unknown()})

    def image(self) -> bytes:
        """The image's bytes; a packet that no other transfer confirms counts here, if it is right and undisputed.

        Raises `ProtocolError` when a packet is still missing.
        """
        self._learn({position: self._undisputed(position) for position in self._unknown()})
        if self.missing:
            raise ProtocolError(
                f"{self.missing} of the {self._layout.packets} packets of the image never came undamaged",
                remedy="Shorten the cable, check its ground and the supply of the sensor, or set a lower baud rate.",
            )
        return b"".join(self._known[position][:-SUM_BYTES] for position in range(self._layout.packets))

    def _unknown(self) -> list[int]:
        return [position for position in range(self._layout.packets) if position not in self._known]

    def _learn(self, found: dict[int, bytes | None]) -> None:
        self._known |= {position: body for position, body in found.items() if body is not None}

    def _agreed(self, position: int) -> bytes | None:
        copies = self._whole[position]
        if len(copies) > 1:
            right = [body for body in _choices(copies) if self._layout.is_right(position, body)]
            if len(right) == 1:
                return right[0]
        return next((copy for copy in self._right(position) if self._witnessed(position, copy)), None)

    def _witnessed(self, position: int, copy: bytes) -> bool:
        return any(_one_slip_apart(copy, crooked) for crooked in self._crooked[position])

    def _undisputed(self, position: int) -> bytes | None:
        right = set(self._right(position))
        return right.pop() if len(right) == 1 else None

    def _right(self, position: int) -> list[bytes]:
        return [copy for copy in self._whole[position] if self._layout.is_right(position, copy)]


def merge_transfers(streams: Iterable[bytes], payload: int, address: int = 0xFFFFFFFF) -> bytes:
    """The 36,864 bytes of an image from what came over the wire in several transfers of it.

    `payload` is the packet size. Raises `ProtocolError` when the transfers do not make an image, and nothing else.
    """
    merge = Merge(ImageLayout(payload, address))
    for stream in streams:
        merge.add(stream)
    return merge.image()


def _choices(copies: list[bytes]) -> list[bytes]:
    """The packets that `copies` of one packet speak for, byte by byte; none when they are too far apart."""
    if len(set(copies)) == 1:
        return copies[:1]
    columns = [_most_common(column) if len(set(column)) > 1 else column[:1] for column in zip(*copies, strict=True)]
    count = 1
    for column in columns:
        count *= len(column)
        if count > _MOST_CHOICES:
            return []
    return [bytes(choice) for choice in product(*columns)]


def _most_common(column: tuple[int, ...]) -> tuple[int, ...]:
    counts = Counter(column)
    most = max(counts.values())
    return tuple(byte for byte, count in counts.items() if count == most)


def _one_slip_apart(right: bytes, other: bytes) -> bool:
    """Whether one byte changed, lost or added makes `other` of `right`."""
    if abs(len(right) - len(other)) > 1:
        return False
    same = _common(right, other) + _common(right[::-1], other[::-1])
    return same >= max(len(right), len(other)) - 1


def _common(one: bytes, other: bytes) -> int:
    """Length of what two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
