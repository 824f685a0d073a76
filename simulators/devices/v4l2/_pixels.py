"""From what the lens sees to the bytes of a pixel format (media kernel docs, "Image Formats")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""BGR, uint8 `[height, width, 3]`."""

_JPEG_QUALITY = 92


@dataclass(frozen=True)
class PixelCoding:
    """One pixel format: `bits` per pixel over all planes, `line_bits` per pixel of a line of the first plane."""

    encode: Callable[[Picture], bytes]
    bits: int
    line_bits: int
    description: str
    compressed: bool = False


def _grey(picture: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)


def _wide_grey(shift: int) -> Callable[[Picture], bytes]:
    """Grey in 16-bit little-endian words with `8 + shift` significant bits."""
    return lambda picture: (_grey(picture).astype("<u2") << shift).tobytes()


def _nv12(picture: Picture) -> bytes:
    """I420 with its two chroma planes interleaved into one."""
    height, width = picture.shape[:2]
    planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8).reshape(-1)
    luma, chroma = planes[: height * width], planes[height * width :].reshape(2, -1)
    return luma.tobytes() + np.ascontiguousarray(chroma.T).tobytes()


def _packed(conversion: int) -> Callable[[Picture], bytes]:
    return lambda picture: bytes(cv2.cvtColor(picture, conversion).tobytes())


def _jpeg(picture: Picture) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes())


CODINGS: Mapping[str, PixelCoding] = {
    "GREY": PixelCoding(lambda picture: _grey(picture).tobytes(), 8, 8, "8-bit Greyscale"),
    "Y10 ": PixelCoding(_wide_grey(2), 16, 16, "10-bit Greyscale"),
    "Y12 ": PixelCoding(_wide_grey(4), 16, 16, "12-bit Greyscale"),
    "Y16 ": PixelCoding(_wide_grey(8), 16, 16, "16-bit Greyscale"),
    "YUYV": PixelCoding(_packed(cv2.COLOR_BGR2YUV_YUYV), 16, 16, "YUYV 4:2:2"),
    "UYVY": PixelCoding(_packed(cv2.COLOR_BGR2YUV_UYVY), 16, 16, "UYVY 4:2:2"),
    "NV12": PixelCoding(_nv12, 12, 8, "Y/UV 4:2:0"),
    "BGR3": PixelCoding(lambda picture: picture.tobytes(), 24, 24, "24-bit BGR 8-8-8"),
    "RGB3": PixelCoding(_packed(cv2.COLOR_BGR2RGB), 24, 24, "24-bit RGB 8-8-8"),
    "MJPG": PixelCoding(_jpeg, 24, 0, "Motion-JPEG", compressed=True),
}
