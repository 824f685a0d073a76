"""Smooth random fields: the low-frequency variation of skin, light and pressure."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def rng_of(*key: int) -> np.random.Generator:
    """A generator that the key alone determines; every word is a non-negative integer."""
    return np.random.default_rng(np.random.SeedSequence(key))


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], knots: tuple[int, int]) -> Field:
    """Float32 `shape` (rows, columns), about -1..1: `knots` random values, cubic between them."""
    coarse = rng.uniform(-1.0, 1.0, knots).astype(np.float32)
    fine: Field = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return fine


def pixel_grid(shape: tuple[int, int]) -> tuple[Field, Field]:
    """Column and row number of every pixel, float32 `shape` each."""
    rows, columns = np.indices(shape, dtype=np.float32)
    return columns, rows
