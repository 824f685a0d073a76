"""The int16 vector of an impression: minutiae and foreground.

A vector is the number of its form, then blocks of kind, length and content, in ascending order of kind:

1. Minutiae: x and y in pixels at 500 dpi (from the upper left corner), the angle anticlockwise in units of 360/256
   degrees, the kind (1 ridge ending, 2 bifurcation) and the reliability 0..63; in ascending order.
2. Foreground: rows and columns of cells of 16 x 16 pixels, then each row's cells as bits of 16-bit words, the leftmost
   cell in the highest bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.errors import BiometricError
from agent.biometrics.parameters import FINGERPRINT_SIDE_RANGE, MINUTIAE_MAXIMUM

FIELDS = 5
CELL = 16
"""Side of a foreground cell in pixels at 500 dpi."""
_FORM = 2
_MINUTIAE, _FOREGROUND = 1, 2
_UPPER = (FINGERPRINT_SIDE_RANGE[1], FINGERPRINT_SIDE_RANGE[1], 256, 3, 64)
_LOWER = (0, 0, 0, 1, 0)
_CELLS = FINGERPRINT_SIDE_RANGE[1] // CELL
_WORD = 16


class Minutia(NamedTuple):
    """One ridge ending or bifurcation; fields as in the vector."""

    x: int
    y: int
    angle: int
    kind: int
    reliability: int

    def __repr__(self) -> str:
        return "Minutia()"


class Impression(NamedTuple):
    """What a vector holds: minutiae int16 `[n, 5]` and foreground bool `[rows, columns]`."""

    minutiae: NDArray[np.int16]
    foreground: NDArray[np.bool_]

    def __repr__(self) -> str:
        return "Impression()"


def most_reliable(minutiae: Iterable[Minutia]) -> NDArray[np.int16]:
    """The 150 most reliable minutiae as int16 `[n, 5]` in the order of the vector."""
    best = sorted(minutiae, key=lambda minutia: -minutia.reliability)[:MINUTIAE_MAXIMUM]
    return np.array(sorted(best), dtype=np.int16).reshape(-1, FIELDS)


def to_vector(impression: Impression) -> NDArray[np.int16]:
    """The vector of an impression."""
    rows, columns = impression.foreground.shape
    size = np.array([rows, columns], np.int16)
    blocks = [
        (_MINUTIAE, impression.minutiae.reshape(-1)),
        (_FOREGROUND, np.concatenate([size, _pack(impression.foreground)])),
    ]
    parts = [np.array([_FORM], np.int16)]
    for kind, content in blocks:
        if content.size:
            parts += [np.array([kind, content.size], np.int16), content.astype(np.int16)]
    return np.concatenate(parts)


def from_vector(vector: NDArray[np.int16]) -> Impression:
    """What the vector holds; raises `BiometricError` for one that `to_vector` does not make of sound minutiae."""
    blocks = _blocks(vector)
    if set(blocks) != {_MINUTIAE, _FOREGROUND}:
        raise BiometricError("a fingerprint template lacks a part or has one too many")
    return Impression(_minutiae(blocks[_MINUTIAE]), _foreground(blocks[_FOREGROUND]))


def check_vector(vector: NDArray[np.int16]) -> None:
    """Raise `BiometricError` unless `from_vector` reads the vector."""
    from_vector(vector)


def _blocks(vector: NDArray[np.int16]) -> dict[int, NDArray[np.int16]]:
    if vector.size == 0 or vector[0] != _FORM:
        raise BiometricError("a fingerprint template has another form than this version reads")
    blocks: dict[int, NDArray[np.int16]] = {}
    at = 1
    while at < vector.size:
        kind, length = (int(value) for value in vector[at : at + 2]) if at + 2 <= vector.size else (0, 0)
        at += 2 + length
        if length <= 0 or at > vector.size or kind <= max(blocks, default=0):
            raise BiometricError("a fingerprint template has a wrong length or order")
        blocks[kind] = vector[at - length : at]
    return blocks


def _minutiae(block: NDArray[np.int16]) -> NDArray[np.int16]:
    if block.size % FIELDS or block.size > FIELDS * MINUTIAE_MAXIMUM:
        raise BiometricError("a fingerprint template has a wrong number of minutiae")
    rows = block.reshape(-1, FIELDS)
    if (rows < _LOWER).any() or (rows >= _UPPER).any():
        raise BiometricError("a fingerprint template holds a minutia out of range")
    records = [tuple(row) for row in rows.tolist()]
    if records != sorted(records):
        raise BiometricError("a fingerprint template holds minutiae out of order")
    return rows


def _foreground(block: NDArray[np.int16]) -> NDArray[np.bool_]:
    rows, columns = (int(value) for value in block[:2]) if block.size > 2 else (0, 0)
    words = -(-columns // _WORD)
    if not (0 < rows <= _CELLS and 0 < columns <= _CELLS) or block.size != 2 + rows * words:
        raise BiometricError("a fingerprint template has a foreground of a wrong size")
    cells = np.unpackbits(block[2:].astype(">i2").view(np.uint8)).reshape(rows, words * _WORD).astype(np.bool_)
    if cells[:, columns:].any() or not cells.any():
        raise BiometricError("a fingerprint template has a foreground of a wrong form")
    return cells[:, :columns]


def _pack(foreground: NDArray[np.bool_]) -> NDArray[np.int16]:
    missing = -foreground.shape[1] % _WORD
    bits = np.packbits(np.pad(foreground, ((0, 0), (0, missing))), axis=1)
    return bits.reshape(-1).view(">i2").astype(np.int16)
