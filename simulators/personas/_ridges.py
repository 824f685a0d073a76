"""Growing a master print: random seeds, spread by filters tuned to the local orientation and spacing.

The method is that of SFinGe (Cappelli, Maio, Maltoni, 2000): repeated convolution of seed points with a Gabor filter
that follows the local orientation and period. Ridges from different seeds meet out of step, and where they do,
endings and bifurcations arise; nothing else places a minutia.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.personas._fields import Field
from simulators.personas._pattern import SHAPE, RidgePattern

COARSE_RADIUS = 5
FINE_RADIUS = 8
ANGLES = 64
PERIODS = 12
PERIOD_RANGE = (7.4, 11.2)
SEEDS = 70
COARSE_ROUNDS = 28
FINE_ROUNDS = 2
PORES_PER_MASTER = 900


@dataclass(frozen=True)
class MasterPrint:
    """`ridges` is float32 `SHAPE`, -1 mid-valley to 1 mid-ridge; `skin` lightens it at pores and creases, 0..1."""

    ridges: Field = field(repr=False)
    skin: Field = field(repr=False)


def grow_master(pattern: RidgePattern, rng: np.random.Generator) -> MasterPrint:
    """The finger's whole ridge pattern; about half a second of one core."""
    half = (SHAPE[1] // 2, SHAPE[0] // 2)
    orientation = _shrink_orientation(pattern.orientation, half)
    period = cv2.resize(pattern.period, half, interpolation=cv2.INTER_AREA)
    sown = _sow((half[1], half[0]), rng)
    coarse = _grow(sown, _kernel_index(orientation, period), _kernels(COARSE_RADIUS, 0.5), COARSE_ROUNDS)
    fine = cv2.resize(coarse, (SHAPE[1], SHAPE[0]), interpolation=cv2.INTER_CUBIC)
    index = _kernel_index(pattern.orientation, pattern.period)
    ridges = _grow(fine, index, _kernels(FINE_RADIUS, 1.0), FINE_ROUNDS)
    return MasterPrint(ridges, _skin(ridges, rng))


def _sow(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    field = np.zeros(shape, np.float32)
    field[rng.integers(0, shape[0], SEEDS), rng.integers(0, shape[1], SEEDS)] = 1.0
    return field


def _shrink_orientation(orientation: Field, size: tuple[int, int]) -> Field:
    """Averaged as doubled angles, so that 0 and pi stay one orientation."""
    cos2 = cv2.resize(np.cos(2 * orientation), size, interpolation=cv2.INTER_AREA)
    sin2 = cv2.resize(np.sin(2 * orientation), size, interpolation=cv2.INTER_AREA)
    return np.asarray(0.5 * np.arctan2(sin2, cos2), np.float32)


def _kernel_index(orientation: Field, period: Field) -> NDArray[np.intp]:
    """Which of the `ANGLES * PERIODS` kernels fits each pixel."""
    angle = np.rint(orientation / np.pi * ANGLES).astype(np.intp) % ANGLES
    low, high = PERIOD_RANGE
    step = np.rint((period - low) / (high - low) * (PERIODS - 1)).astype(np.intp)
    return np.asarray(angle * PERIODS + np.clip(step, 0, PERIODS - 1), np.intp)


def _kernels(radius: int, scale: float) -> dict[tuple[int, int], Field]:
    """Per offset (dy, dx) of the upper half plane: the tap of every kernel, float32 `[ANGLES * PERIODS]`.

    The kernels are even, so the other half plane repeats these taps.
    """
    angles = np.repeat(np.arange(ANGLES) * np.pi / ANGLES, PERIODS)
    periods = scale * np.tile(np.linspace(*PERIOD_RANGE, PERIODS), ANGLES)
    offsets = [(dy, dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)]
    dy, dx = np.array(offsets, np.float64).T[:, :, None]
    across = dx * np.sin(angles) + dy * np.cos(angles)
    envelope = np.exp(-(dx**2 + dy**2) / (2 * (0.42 * periods) ** 2))
    taps = envelope * np.cos(2 * np.pi * across / periods)
    taps -= envelope * (taps.sum(axis=0) / envelope.sum(axis=0))
    taps *= 2.0 / np.abs(taps).sum(axis=0)
    return {offset: row for offset, row in zip(offsets, taps.astype(np.float32), strict=True) if offset >= (0, 0)}


def _grow(field: Field, index: NDArray[np.intp], kernels: dict[tuple[int, int], Field], rounds: int) -> Field:
    radius = max(dx for _, dx in kernels)
    height, width = field.shape
    local = {offset: taps[index] for offset, taps in kernels.items()}
    for _ in range(rounds):
        padded = np.pad(field, radius, mode="reflect")
        total = np.zeros_like(field)
        for (dy, dx), taps in local.items():
            ahead = padded[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
            behind = padded[radius - dy : radius - dy + height, radius - dx : radius - dx + width]
            total += taps * (ahead + behind if (dy, dx) != (0, 0) else ahead)
        field = np.clip(1.8 * total, -1.0, 1.0)
    return field


def _skin(ridges: Field, rng: np.random.Generator) -> Field:
    """Pores along the ridges and a few creases, which belong to the finger and so appear in every impression."""
    skin = np.zeros(SHAPE, np.float32)
    rows, columns = np.nonzero(ridges > 0.9)
    chosen = rng.integers(0, rows.size, PORES_PER_MASTER)
    skin[rows[chosen], columns[chosen]] = 1.0
    skin = cv2.GaussianBlur(skin, (0, 0), 0.8) * 3.0
    for _ in range(int(rng.integers(0, 3))):
        start = rng.uniform((60, 80), (SHAPE[1] - 60, SHAPE[0] - 80))
        end = start + rng.uniform(-90, 90, 2)
        cv2.line(skin, tuple(map(int, start)), tuple(map(int, end)), 0.8, 1, cv2.LINE_AA)
    return np.asarray(np.clip(skin, 0.0, 1.0), np.float32)
