"""Laying one impression over another: a rigid motion first, then one that follows the skin from place to place.

Each place moves by the rigid motion that fits the pairs around it best (moving least squares; Schaefer, McPhail and
Warren, "Image Deformation Using Moving Least Squares", ACM TOG 25(3), 2006, with the weights of a Gaussian).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.biometrics.finger.geometry import Floats, Indices, Points, between, wrap
from agent.biometrics.finger.relaxation import Relaxed

_SEEDS = 3
_SUPPORT = 0.3
_STEPS = ((22.0, 0.60, 160.0), (16.0, 0.50, 80.0), (12.0, 0.45, 80.0))
"""Tolerances of place (pixels) and direction (radians) per round, and the reach of a pair's pull after it (pixels)."""
_FLOOR = 0.05
"""Weight of a pair however far away: it keeps places without pairs near them with the whole finger."""


@dataclass(frozen=True, eq=False, repr=False)
class Alignment:
    """Lays the first impression over the second.

    `one` and `other` are the minutiae that then coincide, `closeness` 0..1 how well each two do.
    """

    one: Indices
    other: Indices
    closeness: Floats
    source: Points
    target: Points
    reach: float

    @property
    def support(self) -> float:
        """The sum of how well minutiae coincide."""
        return float(self.closeness.sum())

    def move(self, places: Points) -> Points:
        """Where places of the first impression come to lie in the second."""
        return _move(places, self.source, self.target, np.ones(len(self.source), np.float32), self.reach)

    def inverse(self) -> Alignment:
        """The alignment of the second impression with the first."""
        return Alignment(self.other, self.one, self.closeness, self.target, self.source, self.reach)


def align(one: Points, other: Points, relaxed: Relaxed) -> Alignment:
    """The best supported of a few alignments, each grown from the relaxed pairs around another one."""
    tried = [_grow(one, other, relaxed, seed) for seed in _seeds(relaxed)]
    return max(tried, key=lambda alignment: alignment.support)


def _seeds(relaxed: Relaxed) -> list[Indices]:
    """Groups of pairs that agree with one pair, the strongest group first; no pair leads that was in another group."""
    backing = (relaxed.agree @ relaxed.strength) * relaxed.strength
    groups: list[Indices] = []
    for _ in range(_SEEDS):
        leader = int(np.argmax(backing))
        if groups and backing[leader] <= 0:
            break
        group = np.flatnonzero(relaxed.agree[leader] > _SUPPORT)
        groups.append(np.append(group, leader))
        backing[groups[-1]] = 0.0
    return groups


def _grow(one: Points, other: Points, relaxed: Relaxed, seed: Indices) -> Alignment:
    left, right = relaxed.one[seed], relaxed.other[seed]
    weight = relaxed.strength[seed] * relaxed.agree[seed[-1], seed]
    weight[-1] = relaxed.strength[seed[-1]]
    source, target = one[left], other[right]
    moved = _rigid(one, source, target, np.maximum(weight, 1e-6)) if len(seed) > 1 else _onto(one, source, target)
    for distance, angle, reach in _STEPS:
        left, right, closeness = _coincide(moved, other, distance, angle)
        if len(left) < 2:
            break
        source, target = one[left], other[right]
        found = Alignment(left, right, closeness, source, target, reach)
        moved = found.move(one)
    return found if len(left) >= 2 else Alignment(left, right, closeness, source, target, _STEPS[0][2])


def _coincide(one: Points, other: Points, distance: float, angle: float) -> tuple[Indices, Indices, Floats]:
    """Pairs of which each is the other's best, within the tolerances; and their closeness."""
    apart = np.hypot(between(one.x, other.x), between(one.y, other.y)) / distance
    turned = np.abs(wrap(between(one.angle, other.angle))) / angle
    cost = np.where((apart > 1) | (turned > 1), np.inf, apart + turned)
    best = cost.argmin(axis=1)
    every = np.arange(len(one))
    left = np.flatnonzero((cost.argmin(axis=0)[best] == every) & np.isfinite(cost[every, best]))
    return left, best[left], np.asarray(1.0 - cost[left, best[left]] / 2, np.float32)


def _onto(places: Points, source: Points, target: Points) -> Points:
    """The rigid motion that lays one minutia on another."""
    turn = wrap(target.angle - source.angle)
    return _turned(places, turn, source.x, source.y, target.x, target.y)


def _rigid(places: Points, source: Points, target: Points, weight: Floats) -> Points:
    """The rigid motion that fits all pairs, each with its weight."""
    return _fitted(places, source, target, weight[np.newaxis, :])


def _move(places: Points, source: Points, target: Points, weight: Floats, reach: float) -> Points:
    squared = between(places.x, source.x) ** 2 + between(places.y, source.y) ** 2
    return _fitted(places, source, target, weight * (np.exp(squared / (-2 * reach * reach)) + _FLOOR))


def _fitted(places: Points, source: Points, target: Points, weight: Floats) -> Points:
    """Each place by the rigid motion that its own row of weights `[places or 1, pairs]` asks for."""
    share = weight / weight.sum(axis=1, keepdims=True)
    from_x, from_y, to_x, to_y = (share @ values for values in (source.x, source.y, target.x, target.y))
    ax, ay = source.x - from_x[:, np.newaxis], source.y - from_y[:, np.newaxis]
    bx, by = target.x - to_x[:, np.newaxis], target.y - to_y[:, np.newaxis]
    turn = np.arctan2((share * (ax * by - ay * bx)).sum(axis=1), (share * (ax * bx + ay * by)).sum(axis=1))
    return _turned(places, turn, from_x, from_y, to_x, to_y)


def _turned(places: Points, turn: Floats, from_x: Floats, from_y: Floats, to_x: Floats, to_y: Floats) -> Points:
    cosine, sine = np.cos(turn), np.sin(turn)
    x, y = places.x - from_x, places.y - from_y
    return Points(to_x + cosine * x - sine * y, to_y + sine * x + cosine * y, wrap(places.angle + turn))
