"""From the bytes of a buffer to a picture, by OpenCV (media kernel docs, "Image Formats")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.opencv_camera._videodev import PixelFormat
from hal import ProtocolError, Unsupported

Picture = NDArray[np.uint8]

GREY_FORMATS = ("GREY", "Y8  ", "Y10 ", "Y12 ", "Y16 ")
"""What an infrared sensor sends, by preference: 8 bits a pixel, or 10, 12, 16 in words of 16 (little-endian)."""

COLOUR_FORMATS = ("YUYV", "UYVY", "NV12", "BGR3", "RGB3", "MJPG", "JPEG")
"""By preference: whole pictures over compressed ones, compact ones over large ones."""

_COMPRESSED = frozenset({"MJPG", "JPEG"})


@dataclass(frozen=True)
class _Layout:
    """`line` bytes per pixel in a line of the first plane, `lines` lines per line of the picture, and what they are."""

    line: int
    lines: float
    decode: Callable[[NDArray[np.uint8], int], Picture]


def _wide(shift: int) -> Callable[[NDArray[np.uint8], int], Picture]:
    def decode(lines: NDArray[np.uint8], width: int) -> Picture:
        words = np.ascontiguousarray(lines[:, : 2 * width]).view("<u2") >> shift
        return _coloured(np.minimum(words, 255).astype(np.uint8))

    return decode


def _packed(bytes_each: int, conversion: int) -> Callable[[NDArray[np.uint8], int], Picture]:
    def decode(lines: NDArray[np.uint8], width: int) -> Picture:
        pixels = np.ascontiguousarray(lines[:, : bytes_each * width]).reshape(len(lines), width, bytes_each)
        return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)

    return decode


def _nv12(lines: NDArray[np.uint8], width: int) -> Picture:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(lines[:, :width]), cv2.COLOR_YUV2BGR_NV12), np.uint8)


def _coloured(grey: NDArray[np.uint8]) -> Picture:
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


_GREY = _Layout(1, 1, lambda lines, width: _coloured(np.ascontiguousarray(lines[:, :width])))
_LAYOUTS: Mapping[str, _Layout] = {
    "GREY": _GREY,
    "Y8  ": _GREY,
    "Y10 ": _Layout(2, 1, _wide(2)),
    "Y12 ": _Layout(2, 1, _wide(4)),
    "Y16 ": _Layout(2, 1, _wide(8)),
    "YUYV": _Layout(2, 1, _packed(2, cv2.COLOR_YUV2BGR_YUYV)),
    "UYVY": _Layout(2, 1, _packed(2, cv2.COLOR_YUV2BGR_UYVY)),
    "NV12": _Layout(1, 1.5, _nv12),
    "BGR3": _Layout(3, 1, lambda lines, width: lines[:, : 3 * width].reshape(len(lines), width, 3).copy()),
    "RGB3": _Layout(3, 1, _packed(3, cv2.COLOR_RGB2BGR)),
}

_PADDING = 4096
"""Some cameras fill the buffer up behind a compressed picture, by as much as a page."""
_START, _END = b"\xff\xd8", b"\xff\xd9"
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_format(form: PixelFormat) -> None:
    """Raise `Unsupported` for a pixel format we do not decode, `ProtocolError` for sizes that cannot be."""
    if form.fourcc in _COMPRESSED:
        return
    layout = _LAYOUTS.get(form.fourcc)
    if layout is None:
        raise Unsupported(
            f"the camera sends {form.fourcc!r} pictures",
            remedy=f"Use a camera with one of {', '.join((*GREY_FORMATS, *COLOUR_FORMATS))}.",
        )
    if _line_bytes(form, layout) < layout.line * form.width or form.image_bytes < _least_bytes(form, layout):
        raise ProtocolError(
            f"the camera says that {form.width} x {form.height} pixels in {form.fourcc} take {form.image_bytes} bytes"
        )
    if (form.fourcc in {"YUYV", "UYVY"} and form.width % 2) or (
        form.fourcc == "NV12" and form.width % 2 + form.height % 2
    ):
        raise ProtocolError(f"{form.width} x {form.height} pixels cannot be in {form.fourcc}")


def decode(raw: bytes, form: PixelFormat) -> Picture:
    """BGR, uint8 `[height, width, 3]`, from the bytes of one buffer; `form` has passed `check_format`.

    Raises `ProtocolError` for bytes that are too few or no picture of that size.
    """
    if form.fourcc in _COMPRESSED:
        return decode_jpeg(raw, form.width, form.height)
    layout = _LAYOUTS[form.fourcc]
    if len(raw) < _least_bytes(form, layout):
        raise ProtocolError(f"a picture of {_least_bytes(form, layout)} bytes arrived with {len(raw)}")
    line = _line_bytes(form, layout)
    count = int(form.height * layout.lines)
    padded = raw[: line * count].ljust(line * count, b"\0")
    return layout.decode(np.frombuffer(padded, np.uint8).reshape(count, line), form.width)


def decode_jpeg(raw: bytes, width: int, height: int) -> Picture:
    """BGR of a whole JPEG of exactly this size; nothing is decoded, and no memory taken, of any other."""
    if jpeg_size(raw) != (width, height):
        raise ProtocolError(f"the camera sent a JPEG of another size than {width} x {height}")
    try:
        picture = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        picture = None
    if picture is None or picture.shape != (height, width, 3):
        raise ProtocolError("the camera sent a JPEG that cannot be decoded")
    return np.asarray(picture, np.uint8)


def jpeg_size(raw: bytes) -> tuple[int, int]:
    """`(width, height)` from the frame header of a JPEG (ITU-T T.81, annex B) that is whole, to its last marker.

    Raises `ProtocolError`.
    """
    if not raw.startswith(_START) or _END not in raw[-_PADDING:]:
        raise ProtocolError("the camera sent a JPEG without beginning or end")
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker in _FRAME_HEADERS:
            return int.from_bytes(raw[at + 7 : at + 9], "big"), int.from_bytes(raw[at + 5 : at + 7], "big")
        fill = marker == 0xFF
        at += 1 if fill else 2 if marker in _NO_LENGTH else 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    raise ProtocolError("the camera sent a JPEG without a frame header")


def _line_bytes(form: PixelFormat, layout: _Layout) -> int:
    return form.line_bytes or layout.line * form.width


def _least_bytes(form: PixelFormat, layout: _Layout) -> int:
    """Bytes of a picture whose last line is not padded."""
    line = _line_bytes(form, layout)
    return line * (int(form.height * layout.lines) - 1) + layout.line * form.width
