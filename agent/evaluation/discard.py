"""Error-versus-discard curves: how far refusing the worst captures lowers the FNMR.

Grother and Tabassi, "Performance of biometric quality measures", PAMI 2007; ISO/IEC 29794-1:2024. The threshold stays
where it is while the samples of lowest quality are discarded, and with each all attempts that it takes part in. A
measure that says nothing about errors leaves the curve flat; one that knew them all would lower it to zero by the time
the share discarded reaches the first FNMR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import Quality
from agent.evaluation.attempts import NOBODY, Attempts

Array = NDArray[np.float64]
SHARES = tuple(round(0.025 * step, 3) for step in range(13))
"""Discarded shares of the samples, 0 to 30 %."""
TOTAL = "score"
_LEAST_VALUES = 4


@dataclass(frozen=True)
class Curve:
    """FNMR at each of `SHARES` when the worst samples by `measure` are gone; None where no attempt is left.

    `keep` tells which values are good ones: "high" or "low". For the total score that is "high"; for a measure it is
    what the correlation says. `correlation` is Spearman's, between a sample's measure and its mean genuine score.
    `partial_area` is the mean FNMR over 0 to 30 % discarded; `gain` the share by which that is below the first FNMR.
    """

    measure: str
    keep: str
    correlation: float | None
    fnmr: tuple[float | None, ...]
    partial_area: float | None
    gain: float | None


def curves(genuine: Attempts, threshold: float, qualities: Mapping[int, Quality], seed: int = 0) -> list[Curve]:
    """The curve of the total score and of each measure that differs between samples, best gain first after the total.

    `qualities` are those of the numbered samples that genuine attempts name.
    """
    numbers = sorted(qualities)
    alike = _mean_scores(genuine, numbers)
    named: dict[str, Array] = {TOTAL: np.array([qualities[number].score for number in numbers], np.float64)}
    for name in sorted({name for quality in qualities.values() for name in quality.measures}):
        named[name] = np.array([qualities[number].measures.get(name, np.nan) for number in numbers])
    made = [
        _curve(name, values, alike, _Discarding(genuine, threshold, numbers, seed))
        for name, values in named.items()
        if name == TOTAL or len(np.unique(values[np.isfinite(values)])) >= _LEAST_VALUES
    ]
    return made[:1] + sorted(made[1:], key=lambda curve: -(curve.gain or 0.0))


def _curve(name: str, values: Array, alike: Array, discarding: _Discarding) -> Curve:
    correlation = spearman(values, alike)
    low = name != TOTAL and correlation is not None and correlation < 0.0
    fnmr = discarding.fnmr(-values if low else values)
    area = _mean_of(fnmr)
    gain = None if not fnmr[0] or area is None else round(1.0 - area / fnmr[0], 4)
    return Curve(name, "low" if low else "high", correlation, fnmr, area, gain)


@dataclass(frozen=True, eq=False)
class _Discarding:
    """Genuine attempts at one threshold, from which samples are taken away."""

    genuine: Attempts
    threshold: float
    numbers: Sequence[int]
    seed: int

    def fnmr(self, values: Array) -> tuple[float | None, ...]:
        """FNMR at each of `SHARES`; unknown values count as the worst, equal ones go in a random order."""
        shuffled = np.random.default_rng(self.seed).permutation(len(values))
        order = shuffled[np.argsort(np.nan_to_num(values, nan=-np.inf)[shuffled], kind="stable")]
        position = np.empty(max(self.numbers, default=0) + 2, np.int64)
        position[NOBODY] = len(values)
        position[np.array(self.numbers)[order]] = np.arange(len(values))
        worst = position[self.genuine.samples].min(axis=1)
        missed = self.genuine.scores < self.threshold
        return tuple(_share(missed[worst >= round(share * len(values))]) for share in SHARES)


def _mean_scores(genuine: Attempts, numbers: Sequence[int]) -> Array:
    """Each sample's mean genuine score; not a number for a sample without attempts."""
    size = max(numbers, default=0) + 2
    total, count = np.zeros(size), np.zeros(size)
    for column in genuine.samples.T:
        np.add.at(total, column, genuine.scores)
        np.add.at(count, column, 1.0)
    chosen = np.array(numbers, np.int64)
    return np.where(count[chosen] > 0, total[chosen] / np.maximum(count[chosen], 1.0), np.nan)


def spearman(one: Array, other: Array) -> float | None:
    """Spearman's rank correlation of the finite pairs; None when fewer than four, or when one side is constant."""
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < _LEAST_VALUES:
        return None
    first, second = _ranks(one[both]), _ranks(other[both])
    if not (first.std() and second.std()):
        return None
    return round(float(np.corrcoef(first, second)[0, 1]), 4)


def _ranks(values: Array) -> Array:
    """Ranks from 0, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: Array = (ends - counts + ends - 1)[inverse] / 2.0
    return mean


def _share(missed: NDArray[np.bool_]) -> float | None:
    return float(missed.mean()) if missed.size else None


def _mean_of(fnmr: Sequence[float | None]) -> float | None:
    """The area under the curve over its width, by trapezoids; None where it has a hole."""
    known = [value for value in fnmr if value is not None]
    if len(known) < len(fnmr):
        return None
    return float(np.mean([(left + right) / 2.0 for left, right in pairwise(known)]))
