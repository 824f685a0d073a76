"""What two registered ridge maps say: how well the ridges run into each other, and over how much skin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from agent.biometrics.ridges.block import RidgeMap
from agent.biometrics.ridges.registration import STEP, Floats, Overlay, Place, overlay, window_mean

_PATCH_MM2 = (2 * STEP * 25.4 / 500) ** 2
_REACH = 4.0
"""Reach in patches of the window in which ridges are correlated: 1.6 mm."""
_BEST_MM2 = 25.0
"""The area whose correlation is looked at: partial impressions overlap in little more."""
_RISE = (0.5, 0.7)
"""Correlations between which a patch begins to count as the same skin."""


@dataclass(frozen=True)
class Agreement:
    """`correlation`: mean over the best 25 mm2, -1 to 1; what is missing counts 0. `same_mm2`: skin that agrees."""

    correlation: float
    same_mm2: float


_NOTHING = Agreement(0.0, 0.0)


def compare(one: RidgeMap, other: RidgeMap, placings: Iterable[Place]) -> Agreement:
    """How the ridges of two impressions agree, at best, when the second one's places are laid onto the first's so."""
    found = (_agreement(overlay(one, other, place)) for place in placings)
    return max(found, key=lambda agreement: (agreement.same_mm2, agreement.correlation), default=_NOTHING)


def _agreement(laid: Overlay | None) -> Agreement:
    if laid is None:
        return _NOTHING
    correlation, area = _correlation(laid)
    rise = np.clip((correlation - _RISE[0]) / (_RISE[1] - _RISE[0]), 0.0, 1.0)
    return Agreement(_best(correlation.reshape(-1), area.reshape(-1)), float((area * rise).sum()))


def _correlation(laid: Overlay) -> tuple[Floats, Floats]:
    """Per patch the normalised correlation around it and its area in mm2, less where the ridges are seen less well."""
    common = (laid.first_weight > 0.05) & (laid.second_weight > 0.05)
    product = window_mean(laid.first * laid.second, _REACH)
    first, second = (window_mean(ridges * ridges * common, _REACH) for ridges in (laid.first, laid.second))
    area = window_mean(laid.first_weight * laid.second_weight, 0.3) * _PATCH_MM2
    return np.asarray(product / (np.sqrt(first * second) + 0.002), np.float32), np.asarray(area, np.float32)


def _best(correlation: Floats, area: Floats) -> float:
    order = np.argsort(-correlation, kind="stable")
    taken = np.minimum(np.cumsum(area[order]), _BEST_MM2)
    return float((correlation[order] * np.diff(taken, prepend=0.0)).sum()) / _BEST_MM2
