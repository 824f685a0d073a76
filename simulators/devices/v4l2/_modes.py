"""What a camera offers: pixel formats, sizes, frame rates, and what it settles on when asked for something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from simulators.devices.v4l2._pixels import CODINGS, PixelCoding

Size = tuple[int, int]
"""`(height, width)` in pixels."""


@dataclass(frozen=True)
class Mode:
    """One way to stream: a pixel format by its four characters, and the picture's size."""

    fourcc: str
    size: Size

    @property
    def coding(self) -> PixelCoding:
        """How pictures become bytes."""
        return CODINGS[self.fourcc]

    @property
    def line_bytes(self) -> int:
        """Bytes of a line of the first plane, 0 for a compressed format."""
        return self.size[1] * self.coding.line_bits // 8

    @property
    def image_bytes(self) -> int:
        """Bytes of a whole picture, the most there can be for a compressed format."""
        return self.size[0] * self.size[1] * self.coding.bits // 8


@dataclass(frozen=True)
class Offer:
    """Every pixel format goes with every size and every frame rate (frames a second, at least one of each)."""

    formats: Sequence[str]
    sizes: Sequence[Size]
    rates: Sequence[float]

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in CODINGS]
        if unknown or not (self.formats and self.sizes and self.rates):
            raise ValueError(f"unknown formats {unknown}, or nothing on offer: {self}")
        if any(side < 2 or side % 2 for size in self.sizes for side in size) or min(self.rates) <= 0:
            raise ValueError("sides of a picture are even numbers, frame rates above zero")

    def nearest(self, fourcc: str, height: int, width: int) -> Mode:
        """What the camera settles on: the first format when it has not this one, the size nearest in area."""
        chosen = fourcc if fourcc in self.formats else self.formats[0]
        return Mode(chosen, min(self.sizes, key=lambda size: abs(size[0] * size[1] - height * width)))

    def nearest_interval(self, wanted: Fraction) -> Fraction:
        """The offered seconds per frame nearest to `wanted`."""
        return min(self.intervals, key=lambda interval: abs(interval - wanted))

    @property
    def intervals(self) -> Sequence[Fraction]:
        """Seconds per frame, in the order of `rates`."""
        return [1 / Fraction(rate).limit_denominator(1001) for rate in self.rates]
