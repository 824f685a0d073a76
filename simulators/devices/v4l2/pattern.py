"""A test picture that says which frame it is, in every row: a frame put together from two cannot pass for one.

The picture is cut into 16 bands. Each row of a band spells 64 bits from left to right as black and white blocks: the
frame's number (32), the band (8), and the upper 24 bits of the CRC-32 of those five bytes. Survives chroma
subsampling; JPEG from 320 columns on.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

BANDS = 16
BITS = 64
_MIDDLE = 128

Picture = NDArray[np.uint8]


def counting_picture(number: int, height: int, width: int) -> Picture:
    """Frame `number` (taken modulo 2^32) as BGR, uint8 `[height, width, 3]`; at least 16 rows and 64 columns."""
    if height < BANDS or width < BITS:
        raise ValueError(f"a picture of {height} x {width} is too small for the pattern")
    words = b"".join(_word(number & 0xFFFFFFFF, band) for band in range(BANDS))
    bits = np.unpackbits(np.frombuffer(words, np.uint8)).reshape(BANDS, BITS)
    grey = np.full((height, width), _MIDDLE // 2, np.uint8)
    block = width // BITS
    grey[:, : block * BITS] = np.repeat(bits[_band_of_rows(height)] * np.uint8(255), block, axis=1)
    return np.repeat(grey[:, :, None], 3, axis=2)


def read_number(picture: Picture) -> int | None:
    """The frame's number from uint8 `[height, width]` or BGR `[height, width, 3]`; `None` when any row disagrees."""
    grey = picture if picture.ndim == 2 else picture[:, :, 1]
    height, width = grey.shape
    if height < BANDS or width < BITS:
        return None
    block = width // BITS
    middles = grey[:, block // 2 : block * BITS : block]
    words = np.packbits(middles >= _MIDDLE, axis=1)
    number = int.from_bytes(words[0, :4].tobytes(), "big")
    expected = np.frombuffer(b"".join(_word(number, band) for band in range(BANDS)), np.uint8).reshape(BANDS, -1)
    return number if np.array_equal(words, expected[_band_of_rows(height)]) else None


def _word(number: int, band: int) -> bytes:
    head = number.to_bytes(4, "big") + bytes([band])
    return head + (zlib.crc32(head) >> 8).to_bytes(3, "big")


def _band_of_rows(height: int) -> NDArray[np.intp]:
    return np.arange(height) * BANDS // height
