"""Minutiae as arrays in a plane whose y axis points up, and what is measured between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.minutiae import CELL

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]
_TURN = np.float32(2 * np.pi)


@dataclass(frozen=True, eq=False, repr=False)
class Points:
    """Places and directions: pixels at 500 dpi with y upwards (so that y of an image is negative), radians."""

    x: Floats
    y: Floats
    angle: Floats

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Indices) -> Points:
        return Points(self.x[index], self.y[index], self.angle[index])


def points(minutiae: NDArray[np.int16]) -> Points:
    """The places and directions of minutiae int16 `[n, 5]`."""
    rows = minutiae.astype(np.float32)
    return Points(rows[:, 0], -rows[:, 1], wrap(rows[:, 2] * (_TURN / 256)))


def wrap(angle: Floats) -> Floats:
    """Angles within -pi..pi."""
    wrapped: Floats = (angle + np.float32(np.pi)) % _TURN - np.float32(np.pi)
    return wrapped


def between(one: Floats, other: Floats) -> Floats:
    """`one[i] - other[j]` as `[i, j]`."""
    return one[:, np.newaxis] - other[np.newaxis, :]


def sigmoid(values: Floats, middle: float, slope: float) -> Floats:
    """1 / (1 + exp(-slope (values - middle)))."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-slope * (values - middle), -60.0, 60.0))), np.float32)


def inside(foreground: NDArray[np.bool_], x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Which places `x`, `y` (`[n]`, pixels, y upwards) lie in a foreground cell, bool `[n]`."""
    column, row = np.floor(x / CELL).astype(np.intp), np.floor(-y / CELL).astype(np.intp)
    within = (column >= 0) & (column < foreground.shape[1]) & (row >= 0) & (row < foreground.shape[0])
    result = np.zeros(len(x), np.bool_)
    result[within] = foreground[row[within], column[within]]
    return result
