"""Error rates of scores, in the terms of ISO/IEC 19795-1: FMR, FNMR, DET and EER; every rate is a fraction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Det:
    """The error trade-off: at `thresholds` (ascending, the last is beyond every score), `fmr` and `fnmr`, each `[n]`.

    FMR is the share of impostor scores at or above a threshold, FNMR that of genuine scores below it.
    """

    thresholds: Scores
    fmr: Scores
    fnmr: Scores


def fmr(impostor: Scores, threshold: float) -> float:
    """False match rate: impostor attempts that reach the threshold; not a number without attempts."""
    return float((impostor >= threshold).mean()) if impostor.size else math.nan


def fnmr(genuine: Scores, threshold: float) -> float:
    """False non-match rate: genuine attempts that do not reach the threshold; not a number without attempts."""
    return float((genuine < threshold).mean()) if genuine.size else math.nan


def det(genuine: Scores, impostor: Scores) -> Det:
    """Every operating point that the scores can tell apart; both must be non-empty."""
    levels = np.unique(np.concatenate([genuine, impostor]))
    thresholds = np.append(levels, np.nextafter(levels[-1], np.inf))
    below = np.searchsorted(np.sort(impostor), thresholds, side="left")
    missed = np.searchsorted(np.sort(genuine), thresholds, side="left")
    return Det(thresholds, 1.0 - below / impostor.size, missed / genuine.size)


def eer(genuine: Scores, impostor: Scores) -> float:
    """Equal error rate: where the DET, its points joined by straight lines, has FMR = FNMR."""
    if not (genuine.size and impostor.size):
        return math.nan
    curve = det(genuine, impostor)
    return crossing(curve.fmr, curve.fnmr)


def crossing(false_match: Scores, false_non_match: Scores) -> float:
    """The rate at which two rates `[n]`, the first falling and the second rising, are equal."""
    gap = false_non_match - false_match
    after = int(np.argmax(gap >= 0.0))
    if after == 0 or gap[after] == 0.0:
        return float(false_non_match[after])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(false_non_match[after - 1] + share * (false_non_match[after] - false_non_match[after - 1]))


def resolves(attempts: int, target: float) -> bool:
    """Whether so many impostor attempts can show an FMR of `target`: one false match is at most that share."""
    return attempts * target >= 1.0 - 1e-9


def threshold_at(impostor: Scores, target: float) -> float:
    """The lowest threshold whose FMR is at most `target`; with too few attempts, one just above all of them."""
    ordered = np.sort(impostor)[::-1]
    allowed = min(int(target * ordered.size + 1e-9), ordered.size - 1)
    return float(np.nextafter(ordered[allowed], np.inf))


def fnmr_at_fmr(genuine: Scores, impostor: Scores, target: float) -> float | None:
    """FNMR at the lowest threshold whose FMR is at most `target`; None where the attempts cannot resolve that FMR."""
    if not genuine.size or not resolves(impostor.size, target):
        return None
    return fnmr(genuine, threshold_at(impostor, target))


def with_failures(rate: float, acquisition_failures: float) -> float:
    """False reject rate of an FNMR: FTA + FNMR (1 - FTA), ISO/IEC 19795-1."""
    return acquisition_failures + rate * (1.0 - acquisition_failures)
