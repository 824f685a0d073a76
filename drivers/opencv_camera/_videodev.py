"""The structures of linux/videodev2.h that a capture program reads, taken apart without trust in what filled them.

Laid out as 64-bit kernels do. Every parser takes the bytes of one structure and raises `ProtocolError` for a length or
a value that no sound device gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from struct import Struct
from typing import Any

from hal import ProtocolError

_READ, _WRITE = 2, 1


def _request(direction: int, number: int, size: int) -> int:
    """The `_IOC` macro of asm-generic/ioctl.h for the letter V."""
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERYCAP = _request(_READ, 0, 104)
ENUM_FMT = _request(_READ | _WRITE, 2, 64)
S_FMT = _request(_READ | _WRITE, 5, 208)
REQBUFS = _request(_READ | _WRITE, 8, 20)
QUERYBUF = _request(_READ | _WRITE, 9, 88)
QBUF = _request(_READ | _WRITE, 15, 88)
DQBUF = _request(_READ | _WRITE, 17, 88)
STREAMON = _request(_WRITE, 18, 4)
STREAMOFF = _request(_WRITE, 19, 4)
S_PARM = _request(_READ | _WRITE, 22, 204)
ENUM_FRAMESIZES = _request(_READ | _WRITE, 74, 44)
ENUM_FRAMEINTERVALS = _request(_READ | _WRITE, 75, 52)

CAPTURE = 1
"""V4L2_BUF_TYPE_VIDEO_CAPTURE"""
MMAP = 1
"""V4L2_MEMORY_MMAP"""
LARGEST_SIDE = 16_384
LARGEST_IMAGE = 256 * 1024 * 1024

_VIDEO_CAPTURE, _MULTIPLANAR, _STREAMING, _DEVICE_CAPS = 0x1, 0x1000, 0x0400_0000, 0x8000_0000
_FLAG_ERROR, _TIMESTAMP_MASK, _TIMESTAMP_MONOTONIC = 0x40, 0xE000, 0x2000
_DISCRETE = 1

_CAPABILITY = Struct("=16s32s32sIII12x")
_FORMAT_DESCRIPTION = Struct("=III32sI16x")
_FORMAT = Struct("=I4xIIIIII176x")
_BUFFER = Struct("=IIIIIxxxxqq16xIIQI12x")
_BUFFER_REQUEST = Struct("=III8x")
_FRAME_SIZE = Struct("=III6I8x")
_FRAME_INTERVAL = Struct("=IIIII6I8x")
_STREAM_PARAMETERS = Struct("=III4I176x")


@dataclass(frozen=True)
class NodeCapability:
    """Who a node says it is (struct v4l2_capability), and whether it captures pictures into mapped buffers."""

    driver: str
    card: str
    bus: str
    captures: bool
    multiplanar: bool


@dataclass(frozen=True)
class PixelFormat:
    """What a stream is made of (struct v4l2_pix_format): `fourcc` four characters, sizes in pixels and in bytes."""

    width: int
    height: int
    fourcc: str
    line_bytes: int
    image_bytes: int


@dataclass(frozen=True)
class BufferState:
    """One buffer as the kernel hands it out (struct v4l2_buffer).

    `captured_ns` is CLOCK_MONOTONIC, `None` where the kernel's driver takes no such time. `sequence` is 32 bits wide.
    """

    index: int
    used: int
    damaged: bool
    sequence: int
    captured_ns: int | None
    offset: int
    length: int


def parse_capability(raw: bytes) -> NodeCapability:
    """From struct v4l2_capability, 104 bytes."""
    driver, card, bus, _, everything, own = _unpack(_CAPABILITY, raw, "capabilities")
    flags = own if everything & _DEVICE_CAPS else everything
    captures = bool(flags & _VIDEO_CAPTURE and flags & _STREAMING)
    return NodeCapability(_text(driver), _text(card), _text(bus), captures, bool(flags & _MULTIPLANAR))


def parse_format_description(raw: bytes) -> str:
    """The four characters of the pixel format in struct v4l2_fmtdesc, 64 bytes."""
    return _fourcc(_unpack(_FORMAT_DESCRIPTION, raw, "format description")[4])


def parse_format(raw: bytes) -> PixelFormat:
    """From struct v4l2_format, 208 bytes: one with pixels in it, and an image that fits into memory."""
    kind, width, height, number, _, line, image = _unpack(_FORMAT, raw, "format")
    sides_are_sound = 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE
    if kind != CAPTURE or not sides_are_sound or not 0 < image <= LARGEST_IMAGE or line > LARGEST_IMAGE:
        raise ProtocolError(f"the camera describes a picture of {width} x {height} pixels in {image} bytes")
    return PixelFormat(width, height, _fourcc(number), line, image)


def parse_buffer(raw: bytes) -> BufferState:
    """From struct v4l2_buffer, 88 bytes."""
    fields = _unpack(_BUFFER, raw, "buffer")
    index, _, used, flags, _, seconds, micros, sequence, _, offset, length = fields
    captured = None
    if flags & _TIMESTAMP_MASK == _TIMESTAMP_MONOTONIC and seconds >= 0 and 0 <= micros < 1_000_000:
        captured = seconds * 1_000_000_000 + micros * 1000
    if used > LARGEST_IMAGE or length > LARGEST_IMAGE:
        raise ProtocolError(f"the camera speaks of {used} bytes in a buffer of {length}")
    return BufferState(index, used, bool(flags & _FLAG_ERROR), sequence, captured, offset, length)


def parse_buffer_count(raw: bytes) -> int:
    """How many buffers there are, from struct v4l2_requestbuffers, 20 bytes."""
    return int(_unpack(_BUFFER_REQUEST, raw, "buffer request")[0])


def offers_size(raw: bytes, width: int, height: int) -> bool:
    """Whether struct v4l2_frmsizeenum, 44 bytes, stands for this size: one size, or ranges with steps."""
    _, _, kind, *limits = _unpack(_FRAME_SIZE, raw, "frame size")
    if kind == _DISCRETE:
        return bool(limits[:2] == [width, height])
    low_x, high_x, step_x, low_y, high_y, step_y = limits
    return _in_range(width, low_x, high_x, step_x) and _in_range(height, low_y, high_y, step_y)


def offers_rate(raw: bytes, fps: float) -> bool:
    """Whether struct v4l2_frmivalenum, 52 bytes, stands for `fps` frames a second or more."""
    numerator, denominator = _unpack(_FRAME_INTERVAL, raw, "frame interval")[5:7]
    # Of a range, the first fraction is the shortest interval.
    return bool(numerator) and denominator / numerator >= fps - 0.5


def format_request(width: int, height: int, fourcc: str) -> bytearray:
    """A struct v4l2_format that asks for this."""
    return bytearray(_FORMAT.pack(CAPTURE, width, height, fourcc_number(fourcc), 0, 0, 0))


def buffer_request(count: int) -> bytearray:
    """A struct v4l2_requestbuffers that asks for `count` mapped buffers."""
    return bytearray(_BUFFER_REQUEST.pack(count, CAPTURE, MMAP))


def buffer_at(index: int) -> bytearray:
    """A struct v4l2_buffer that names the mapped buffer `index`."""
    return bytearray(_BUFFER.pack(index, CAPTURE, 0, 0, 0, 0, 0, 0, MMAP, 0, 0))


def description_at(index: int) -> bytearray:
    """A struct v4l2_fmtdesc that asks for the pixel format `index`."""
    return bytearray(_FORMAT_DESCRIPTION.pack(index, CAPTURE, 0, b"", 0))


def frame_size_at(index: int, fourcc: str) -> bytearray:
    """A struct v4l2_frmsizeenum that asks for size `index` of a pixel format."""
    return bytearray(_FRAME_SIZE.pack(index, fourcc_number(fourcc), 0, *(0,) * 6))


def frame_interval_at(index: int, fourcc: str, width: int, height: int) -> bytearray:
    """A struct v4l2_frmivalenum that asks for interval `index` of a pixel format and size."""
    return bytearray(_FRAME_INTERVAL.pack(index, fourcc_number(fourcc), width, height, 0, *(0,) * 6))


def rate_request(fps: float) -> bytearray:
    """A struct v4l2_streamparm that asks for `fps` frames a second."""
    interval = 1 / Fraction(fps).limit_denominator(1001)
    return bytearray(_STREAM_PARAMETERS.pack(CAPTURE, 0, 0, interval.numerator, interval.denominator, 0, 0))


def fourcc_number(name: str) -> int:
    """A pixel format's four characters as a number."""
    return int.from_bytes(name.encode("latin-1"), "little")


def _fourcc(number: int) -> str:
    name = number.to_bytes(4, "little").decode("latin-1")
    return name if name.isascii() and name.isprintable() else f"0x{number:08x}"


def _in_range(value: int, low: int, high: int, step: int) -> bool:
    return low <= value <= high and (value - low) % max(1, step) == 0


def _text(raw: bytes) -> str:
    text = raw.partition(b"\0")[0].decode("utf-8", "replace")
    return "".join(letter for letter in text if letter.isprintable()).strip()


def _unpack(layout: Struct, raw: bytes, what: str) -> tuple[Any, ...]:
    if len(raw) != layout.size:
        raise ProtocolError(f"the {what} of the camera is {len(raw)} bytes long, not {layout.size}")
    return layout.unpack(raw)
