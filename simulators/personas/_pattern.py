"""Ridge orientation and ridge spacing of a finger, from its singular points.

Orientation follows the zero-pole model (Sherlock and Monro, 1993) with the piecewise-linear correction of each
singular point (Vizcaya and Gerhardt, 1996); arches have no singular point and follow a sinusoid (Cappelli, SFinGe).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from simulators.personas._fields import Field, pixel_grid, smooth_field
from simulators.personas._spacing import spacing_factor

DPI = 500
"""Pixels per inch of every master print and impression."""

SHAPE = (560, 416)
"""Rows and columns of a master print: 28.4 by 21.1 mm."""


class PatternClass(Enum):
    """The Henry classes that are drawn."""

    LEFT_LOOP = "left loop"
    RIGHT_LOOP = "right loop"
    WHORL = "whorl"
    ARCH = "arch"


CORRECTION_KNOTS = 8
TIP_ROUNDING = (0.1, 0.7)

ROUNDNESS = (0.3, 0.8)
"""How far ridges go round a core in a semicircle and run on side by side; at 0 they fan out from it."""

OPENINGS = {
    PatternClass.LEFT_LOOP: (-2.0,),
    PatternClass.RIGHT_LOOP: (-1.1,),
    PatternClass.WHORL: (-np.pi / 2, np.pi / 2),
}
"""Direction in radians in which the ridges leave each core."""

WOBBLE = 0.4
"""Radians by which a finger's ridges stray from its class; less, and fingers of one class begin to match."""


@dataclass(frozen=True)
class RidgePattern:
    """`orientation` in radians (0 along a row, anticlockwise) and `period` in pixels, both float32 `SHAPE`."""

    kind: PatternClass
    orientation: Field
    period: Field


def draw_pattern(kind: PatternClass, rng: np.random.Generator) -> RidgePattern:
    """A random finger of class `kind`."""
    regular = _arch(rng) if kind is PatternClass.ARCH else _zero_pole(kind, rng)
    orientation = (regular + WOBBLE * smooth_field(rng, SHAPE, (7, 6))).astype(np.float32)
    period = rng.uniform(8.4, 9.6) * spacing_factor(orientation) + 0.5 * smooth_field(rng, SHAPE, (8, 7))
    return RidgePattern(kind, orientation, np.clip(period, 7.4, 11.2).astype(np.float32))


def _arch(rng: np.random.Generator) -> Field:
    x, y = pixel_grid(SHAPE)
    height, width = SHAPE
    steepness = np.maximum(0.0, rng.uniform(1.6, 2.2) - 3.0 * (y / height - 0.08))
    slope = steepness * np.cos(np.pi * (x - rng.uniform(-15, 15)) / width)
    return np.asarray(np.arctan(slope), np.float32)


def _singular_points(kind: PatternClass, rng: np.random.Generator) -> tuple[list[complex], list[complex]]:
    """Cores and deltas in pixels, the y axis upward, the origin at the image centre."""

    def near(x: float, y: float, spread: float) -> complex:
        return complex(x + rng.uniform(-spread, spread), y + rng.uniform(-spread, spread))

    if kind is PatternClass.WHORL:
        gap = rng.uniform(22, 75)
        cores = [near(0, 20 + gap / 2, 12), near(0, 20 - gap / 2, 12)]
        return cores, [near(-130, -105, 40), near(130, -105, 40)]
    side = -1.0 if kind is PatternClass.RIGHT_LOOP else 1.0
    return [near(0, 20, 20)], [near(side * 110, -120, 45)]


def _zero_pole(kind: PatternClass, rng: np.random.Generator) -> Field:
    x, y = pixel_grid(SHAPE)
    z = (x - SHAPE[1] / 2) + 1j * (SHAPE[0] / 2 - y)
    cores, deltas = _singular_points(kind, rng)
    angle = np.zeros(SHAPE, np.float64)
    for delta in deltas:
        angle -= 0.5 * _corrected(np.angle(z - delta), rng)
    for core, opening in zip(cores, OPENINGS[kind], strict=True):
        around = np.angle(z - core)
        roundness = rng.uniform(*ROUNDNESS)
        angle += 0.5 * (_corrected(around, rng) - roundness * np.sin(around - opening))
    return (angle + _fingertip(z.real, z.imag, rng)).astype(np.float32)


def _fingertip(right: NDArray[np.float64], up: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The rounding of the ridges toward the tip, which singular points alone leave flat."""
    above = np.clip((up - 30) / 200, 0.0, 1.0)
    return np.asarray(-rng.uniform(*TIP_ROUNDING) * above * right / (SHAPE[1] / 2), np.float64)


def _corrected(angle: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The angle around one singular point, bent by a few degrees between evenly spaced knots."""
    knots = np.linspace(-np.pi, np.pi, CORRECTION_KNOTS + 1)
    bend = rng.uniform(-0.3, 0.3, CORRECTION_KNOTS)
    values = knots + np.append(bend, bend[0])
    return np.asarray(np.interp(angle, knots, values), np.float64)
