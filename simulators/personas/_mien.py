"""What a face does while it holds still: brows, lids, cheeks and mouth are never twice where they were."""

from __future__ import annotations

import cv2
import numpy as np

from simulators.personas._fields import Field, rng_of

_GRID = (6, 5)
_PIXELS = 1.6
"""Deviation of each knot, in pixels of the portrait."""

_PERIODS_S = (60.0, 600.0)
"""Slow, so that within one answer the parts of the face keep their places; natural sway is the pose's."""


def mien(seed: int, seconds: float, shape: tuple[int, int]) -> tuple[Field, Field]:
    """How far each point of a head's window `shape` (rows, columns) is off at `seconds`: across and down, in pixels."""
    rng = rng_of(seed, 9)
    low, high = _PERIODS_S
    periods = low * (high / low) ** rng.uniform(0.0, 1.0, (2, 2, *_GRID))
    phases = rng.uniform(0.0, 1.0, periods.shape)
    knots = _PIXELS * np.sin(2 * np.pi * (seconds / periods + phases)).sum(axis=0)
    across, down = (
        cv2.resize(one.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC) for one in knots
    )
    return np.asarray(across, np.float32), np.asarray(down, np.float32)
