"""The int16 form of a ridge map, as it stands in a fingerprint's vector.

Five values of head: the number of the form, the row and column of the map's upper left corner in the impression and
its rows and columns, all in cells of 16 x 16 pixels at 500 dpi. Then the cells' weights, four bits each, and the
pixels' levels (8 x 8 a cell, two bits each), both row by row, the first in the highest bits of each 16-bit word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.errors import BiometricError
from agent.biometrics.parameters import FINGERPRINT_SIDE_RANGE

CELL = 16
"""Side of a cell in pixels at 500 dpi."""
SIDE = 8
"""Side of a cell in pixels of the map, which has 250 dpi."""
CELLS_MOST = 990
"""Largest number of cells, 6.5 square centimetres: the map of a larger picture is cut to its middle."""
WEIGHT_MOST = 15
_FORM = 1
_HEAD = 5
_SPAN = FINGERPRINT_SIDE_RANGE[1] // CELL
_LEVELS = np.array([-0.92, -0.38, 0.38, 0.92], np.float32)
"""Means of a cosine over the quarters of its values that are equally frequent."""
_BOUNDS = (-(0.5**0.5), 0.0, 0.5**0.5)


@dataclass(frozen=True, eq=False)
class RidgeMap:
    """Ridges of an impression at 250 dpi, from `top` and `left` (in cells) on.

    `ridges` float32 `[8 rows, 8 columns]`: 1 on the crest of a ridge, -1 in a valley. `weight` float32
    `[rows, columns]`: 0 (no ridges seen) to 1 per cell.
    """

    top: int
    left: int
    ridges: NDArray[np.float32]
    weight: NDArray[np.float32]


def _length(cells: int) -> int:
    return _HEAD + -(-cells // 4) + cells * SIDE


LONGEST = _length(CELLS_MOST)
"""Values of the longest block: 16.3 KB."""


def write(ridge_map: RidgeMap) -> NDArray[np.int16]:
    """The block of a map; ridges and weights are rounded to its levels."""
    head = np.array([_FORM, ridge_map.top, ridge_map.left, *ridge_map.weight.shape], np.int16)
    weights = np.round(ridge_map.weight * WEIGHT_MOST).astype(np.uint8)
    levels = np.digitize(ridge_map.ridges, _BOUNDS).astype(np.uint8)
    return np.concatenate([head, _pack(weights, 4), _pack(levels, 2)])


def read(block: NDArray[np.int16]) -> RidgeMap:
    """The map that a block holds; raises `BiometricError` for one that `write` does not make."""
    if block.ndim != 1 or block.dtype != np.int16 or not _HEAD < block.size <= LONGEST:
        raise BiometricError("a fingerprint template has ridges of a wrong length")
    form, top, left, rows, columns = (int(value) for value in block[:_HEAD])
    if form != _FORM or min(top, left) < 0 or min(rows, columns) < 1 or max(top + rows, left + columns) > _SPAN + 1:
        raise BiometricError("a fingerprint template has ridges of a wrong form")
    if block.size != _length(rows * columns):
        raise BiometricError("a fingerprint template has ridges of a wrong length")
    end = _HEAD + -(-rows * columns // 4)
    weights, rest = np.split(_unpack(block[_HEAD:end], 4), [rows * columns])
    if rest.any() or not weights.any():
        raise BiometricError("a fingerprint template has ridges of a wrong weight")
    levels = _LEVELS[_unpack(block[end:], 2)].reshape(rows * SIDE, columns * SIDE)
    return RidgeMap(top, left, levels, (weights.reshape(rows, columns) / np.float32(WEIGHT_MOST)).astype(np.float32))


def _pack(values: NDArray[np.uint8], bits: int) -> NDArray[np.int16]:
    flat = np.pad(values.reshape(-1), (0, -values.size % (16 // bits)))
    columns = (flat[:, np.newaxis] >> np.arange(bits - 1, -1, -1, dtype=np.uint8)) & 1
    return np.packbits(columns.reshape(-1)).view(">i2").astype(np.int16)


def _unpack(words: NDArray[np.int16], bits: int) -> NDArray[np.uint8]:
    columns = np.unpackbits(words.astype(">i2").view(np.uint8)).reshape(-1, bits)
    return np.asarray(np.packbits(columns, axis=1)[:, 0] >> (8 - bits), np.uint8)
