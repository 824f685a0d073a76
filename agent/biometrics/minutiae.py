"""Minutiae as int16 vectors, and the byte form that the native matcher reads.

A vector holds five values per minutia: x and y in pixels at 500 dpi (from the upper left corner), the angle in units
of 360/256 degrees, the kind (1 ridge ending, 2 bifurcation) and the reliability 0..63. Minutiae stand in ascending
order of x, y, angle: bozorth3 scores near zero when they do not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.errors import BiometricError
from agent.biometrics.parameters import FINGERPRINT_SIDE_RANGE, MINUTIAE_MAXIMUM

FIELDS = 5
_HEADER = struct.Struct(">8sIHHH7xB")
_RECORD = struct.Struct(">HHBB")
_UPPER = (FINGERPRINT_SIDE_RANGE[1], FINGERPRINT_SIDE_RANGE[1], 256, 3, 64)
_LOWER = (0, 0, 0, 1, 0)


class Minutia(NamedTuple):
    """One ridge ending or bifurcation; fields as in the vector."""

    x: int
    y: int
    angle: int
    kind: int
    reliability: int


def to_vector(minutiae: Iterable[Minutia]) -> NDArray[np.int16]:
    """The int16 vector of the most reliable 150 minutiae."""
    best = sorted(minutiae, key=lambda minutia: -minutia.reliability)[:MINUTIAE_MAXIMUM]
    return np.array(sorted(best), dtype=np.int16).reshape(-1)


def check_vector(vector: NDArray[np.int16]) -> None:
    """Raise `BiometricError` unless the vector holds minutiae in range and in order."""
    if vector.size == 0 or vector.size % FIELDS or vector.size > FIELDS * MINUTIAE_MAXIMUM:
        raise BiometricError("a fingerprint template has a wrong length")
    rows = vector.reshape(-1, FIELDS)
    if (rows < _LOWER).any() or (rows >= _UPPER).any():
        raise BiometricError("a fingerprint template holds a minutia out of range")
    records = [tuple(row) for row in rows.tolist()]
    if records != sorted(records):
        raise BiometricError("a fingerprint template holds minutiae out of order")


def to_native(vector: NDArray[np.int16]) -> bytes:
    """The vector as nbis-py reads it.

    It is the record of ISO/IEC 19794-2:2005 except for the header, which nbis-py 0.1.3 writes and expects with 26 bytes
    instead of 28, and for the quality, which it keeps as 0..63.
    """
    rows = vector.reshape(-1, FIELDS).tolist()
    side = FINGERPRINT_SIDE_RANGE[1]
    header = _HEADER.pack(b"FMR\0 20\0", _HEADER.size + _RECORD.size * len(rows), 0, side, side, len(rows))
    return header + b"".join(_RECORD.pack(kind << 14 | x, y, angle, quality) for x, y, angle, kind, quality in rows)
