"""Pairs of minutiae that look alike support or contradict each other: what remains after that is a common finger.

The relaxation of Cappelli, Ferrara and Maltoni, "Minutia Cylinder-Code", IEEE TPAMI 32(12), 2010, section 4.2 (LSS-R);
the tolerance of distances grows with the distance, because skin stretches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from agent.biometrics.finger.geometry import Floats, Indices, Points, between, sigmoid, wrap

_ROUNDS, _INERTIA = 5, 0.5
_PAIRS_LEAST = 12
_DISTANCE, _DISTANCE_SLOPE, _STRETCH = 5.0, -1.6, 0.05
_ANGLE, _ANGLE_SLOPE = math.pi / 12, -30.0
_SCORED = (4, 12)
_SCORED_MIDDLE, _SCORED_SLOPE = 20.0, 0.4


@dataclass(frozen=True, eq=False, repr=False)
class Relaxed:
    """Pairs `one[k]`, `other[k]` of minutiae with their `strength` `[k]`, and how far they `agree` 0..1 `[k, k]`.

    `score` is the mean strength of the pairs that kept most of theirs.
    """

    one: Indices
    other: Indices
    strength: Floats
    agree: Floats
    score: float


def relax(one: Points, other: Points, similarity: Floats) -> Relaxed:
    """The relaxed strengths of the pairs that are most similar."""
    least = min(len(one), len(other))
    order = np.argsort(-similarity, axis=None, kind="stable")[: max(_PAIRS_LEAST, least)]
    left, right = np.unravel_index(order, similarity.shape)
    agree = _agreement(one[left], other[right], left, right)
    first = strength = similarity[left, right]
    for _ in range(_ROUNDS):
        backing = (agree @ strength) / np.float32(max(1, len(left) - 1))
        strength = np.asarray(_INERTIA * strength + (1 - _INERTIA) * backing, np.float32)
    kept = np.argsort(-strength / np.maximum(first, 1e-6), kind="stable")[: _scored(least)]
    return Relaxed(left, right, strength, agree, float(strength[kept].mean()))


def _scored(least: int) -> int:
    low, high = _SCORED
    share = float(sigmoid(np.array(least, np.float32), _SCORED_MIDDLE, _SCORED_SLOPE))
    return low + round(share * (high - low))


def _agreement(one: Points, other: Points, left: Indices, right: Indices) -> Floats:
    """For every two pairs: do distance, relative direction and bearing agree, without sharing a minutia?"""
    (near, bearing), (far, other_bearing) = _polar(one), _polar(other)
    tolerance = _DISTANCE + _STRETCH * np.minimum(near, far)
    distance = np.abs(near - far) * (_DISTANCE / tolerance)
    turn = np.abs(wrap(between(one.angle, one.angle) - between(other.angle, other.angle)))
    sideways = np.abs(wrap(bearing - other_bearing))
    agree = sigmoid(distance, _DISTANCE, _DISTANCE_SLOPE)
    agree *= sigmoid(turn, _ANGLE, _ANGLE_SLOPE) * sigmoid(sideways, _ANGLE, _ANGLE_SLOPE)
    agree[(left[:, np.newaxis] == left) | (right[:, np.newaxis] == right)] = 0.0
    return agree


def _polar(points: Points) -> tuple[Floats, Floats]:
    """Distances between the points and the bearings of all as seen along the direction of each."""
    x, y = between(points.x, points.x), between(points.y, points.y)
    return np.hypot(x, y), wrap(points.angle[:, np.newaxis] - np.arctan2(y, x))
