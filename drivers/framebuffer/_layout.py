"""What a framebuffer says of itself, and the bytes of a colour on it.

Source: include/uapi/linux/fb.h and Documentation/fb/api.rst of the Linux kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hal import Colour, ProtocolError, Unsupported

Ioctl = Callable[[int, int, Any], Any]
"""`fcntl.ioctl`, for requests that fill a buffer."""

GET_VARIABLE = 0x4600
"""FBIOGET_VSCREENINFO."""

GET_FIXED = 0x4602
"""FBIOGET_FSCREENINFO."""

VARIABLE = struct.Struct("=8I12I20I")
"""struct fb_var_screeninfo: sizes, the bit fields of red, green, blue and alpha, timings."""

FIXED = struct.Struct("@16sLIIIIHHHILIIHHH0L")
"""struct fb_fix_screeninfo."""

PACKED_PIXELS = 0
TRUE_COLOUR, DIRECT_COLOUR = 2, 4
_LARGEST_SIDE = 32_768
_LARGEST_BYTES = 256 * 1024 * 1024
_DEPTHS = frozenset({16, 24, 32})


@dataclass(frozen=True)
class Field:
    """Where the bits of one component are in a pixel."""

    offset: int
    length: int

    def bits(self, share: float) -> int:
        """`share` of the most that fits (0 to 1), at its place."""
        return round(share * ((1 << self.length) - 1)) << self.offset


@dataclass(frozen=True)
class Layout:
    """Where the visible pixels are: `width` x `height` from pixel `left` of line `top`, a line every `pitch` bytes."""

    name: str
    width: int
    height: int
    left: int
    top: int
    pitch: int
    depth: int
    colours: tuple[Field, Field, Field]
    alpha: Field

    @property
    def start(self) -> int:
        """Offset of the first line that is visible at all, in bytes."""
        return self.top * self.pitch

    @property
    def size(self) -> int:
        """Bytes of all lines that are visible."""
        return self.height * self.pitch

    def pixel(self, colour: Colour) -> bytes:
        """One pixel in the machine's byte order, opaque where there is an alpha."""
        parts = (colour.red, colour.green, colour.blue)
        value = sum(field.bits(part / 255) for field, part in zip(self.colours, parts, strict=True))
        value |= self.alpha.bits(1.0)
        whole = struct.pack("=I", value)
        return whole[: self.depth // 8] if struct.pack("=H", 1)[0] else whole[4 - self.depth // 8 :]

    def filled(self, before: bytes, colour: Colour) -> bytes:
        """The visible lines with every visible pixel in `colour`, and what is beside them as it was `before`."""
        step = self.depth // 8
        row, begin = self.pixel(colour) * self.width, self.left * step
        end = begin + len(row)
        if (begin, end) == (0, self.pitch):
            return row * self.height
        lines = (before[at : at + self.pitch] for at in range(0, self.size, self.pitch))
        return b"".join(line[:begin] + row + line[end:] for line in lines)


def read_layout(descriptor: int, ioctl: Ioctl) -> Layout:
    """The layout now; raises `OSError`, `Unsupported` for pixels of another kind, `ProtocolError` for nonsense."""
    variable, fixed = bytearray(VARIABLE.size), bytearray(FIXED.size)
    ioctl(descriptor, GET_VARIABLE, variable)
    ioctl(descriptor, GET_FIXED, fixed)
    return parse_layout(bytes(variable), bytes(fixed))


def parse_layout(variable: bytes, fixed: bytes) -> Layout:
    """The layout in both structures; raises as `read_layout`."""
    width, height, _, _, left, top, depth, grey, *rest = VARIABLE.unpack(variable)
    fields = [(rest[at], rest[at + 1], rest[at + 2]) for at in range(0, 12, 3)]
    name, _, memory, kind, _, visual, *_steps, pitch, _, _, _, _, _, _ = FIXED.unpack(fixed)
    if kind != PACKED_PIXELS or visual not in {TRUE_COLOUR, DIRECT_COLOUR} or grey or depth not in _DEPTHS:
        raise Unsupported(
            f"the screen has {depth} bits a pixel of a kind that has no colours of its own",
            remedy="Set the console to 16, 24 or 32 bits a pixel (kernel parameter video=…).",
        )
    red, green, blue, alpha = (_field(field, depth) for field in fields)
    label = bytes(name).split(b"\0")[0].decode("ascii", "replace")
    layout = Layout(label, width, height, left, top, pitch, depth, (red, green, blue), alpha)
    _check(layout, memory)
    return layout


def _field(field: tuple[int, int, int], depth: int) -> Field:
    offset, length, reversed_bits = field
    if reversed_bits or length > 16 or offset + length > depth:
        raise ProtocolError(f"the framebuffer has {length} bits of a colour at {offset} of {depth}")
    return Field(offset, length)


def _check(layout: Layout, memory: int) -> None:
    """What the kernel said must fit together, and into memory."""
    sides = (layout.width, layout.height)
    if not all(0 < side <= _LARGEST_SIDE for side in sides) or min(field.length for field in layout.colours) < 4:
        raise ProtocolError(f"the framebuffer says it has {layout.width} x {layout.height} pixels")
    shown = (layout.left + layout.width) * layout.depth // 8
    end = layout.start + layout.size
    if layout.pitch < shown or end > memory or layout.size > _LARGEST_BYTES:
        raise ProtocolError(f"the framebuffer's lines of {layout.pitch} bytes do not fit into its {memory} bytes")
