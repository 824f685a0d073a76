"""One image from several transfers of it, each damaged in other places.

The sum of a packet is weak: two spoiled bytes whose changes cancel are not noticed, which on a line that spoils one
byte in a thousand would give one image in a hundred a wrong pixel. So a packet is believed only

- when it came in a transfer without a single flaw, since a line that bad does not deliver one; or
- when at least two transfers speak for each of its bytes, more than for any other value, and its sum is right; or
- when one transfer has it with the right sum and another with a single byte spoiled, lost or added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from drivers.ef01._packets import SUM_BYTES
from drivers.ef01._transfer import ImageLayout, align
from hal import ProtocolError

MOST_TRANSFERS = 8
"""How often an image is asked for at the most."""


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
        majority = _majority(self._whole[position])
        if self._layout.is_right(position, majority):
            return majority
        return next((copy for copy in self._right(position) if self._witnessed(position, copy)), None)

    def _witnessed(self, position: int, copy: bytes) -> bool:
        others = [other for other in self._whole[position] if other is not copy] + self._crooked[position]
        return any(_one_slip_apart(copy, other) for other in others)

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


def _majority(copies: list[bytes]) -> bytes:
    """The packet that `copies` of it speak for, byte by byte; empty where one byte is not certain."""
    if len(copies) == 2:
        return copies[0] if copies[0] == copies[1] else b""
    spoken_for = bytearray()
    for column in zip(*copies, strict=True):
        byte = _spoken_for(column)
        if byte is None:
            return b""
        spoken_for.append(byte)
    return bytes(spoken_for)


def _spoken_for(column: tuple[int, ...]) -> int | None:
    """The value that two witnesses at least have, and more than have any other."""
    if len(set(column)) == 1:
        return column[0] if len(column) > 1 else None
    (byte, count), (_, second) = Counter(column).most_common(2)
    return byte if count > max(1, second) else None


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
