"""Minutia cylinder codes: what surrounds each minutia, as bits that turn and shift with the finger.

Cappelli, Ferrara and Maltoni, "Minutia Cylinder-Code: A New Representation and Matching Technique for Fingerprint
Recognition", IEEE TPAMI 32(12), 2010; the bit form with 16 x 16 cells of 6 directions and the parameters given there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.finger.geometry import Floats, Points, between, wrap

RADIUS = 70.0
_CELLS, _LAYERS = 16, 6
_SPREAD, _TURN_SPREAD = 28.0 / 3.0, 2 * math.pi / 9
_LEAST = 0.005
_NEIGHBOURS = 2
_ROTATION = math.pi / 2
_STEP = (np.arange(_CELLS) - (_CELLS - 1) / 2) * (2 * RADIUS / _CELLS)
_GRID = np.stack(np.meshgrid(_STEP, _STEP, indexing="ij")).reshape(2, -1).astype(np.float32)
_ALONG, _ACROSS = _GRID[:, np.hypot(*_GRID) <= RADIUS]
_DIRECTIONS = (-math.pi + (np.arange(_LAYERS) + 0.5) * 2 * math.pi / _LAYERS).astype(np.float32)
_TABLE = np.linspace(-2 * math.pi, 2 * math.pi, 1025)
_HALF, _WIDTH = math.pi / _LAYERS, _TURN_SPREAD * math.sqrt(2)
_SHARE = np.array([math.erf((angle + _HALF) / _WIDTH) - math.erf((angle - _HALF) / _WIDTH) for angle in _TABLE]) / 2


@dataclass(frozen=True, eq=False, repr=False)
class Cylinders:
    """`bits` 0 or 1 `[n, cells]`, `count` of ones `[n]`; not `described` are minutiae without enough neighbours."""

    angle: Floats
    bits: Floats
    count: Floats
    described: NDArray[np.bool_]


def describe(points: Points) -> Cylinders:
    """The cylinders of all minutiae."""
    near = np.hypot(between(points.x, points.x), between(points.y, points.y)) <= RADIUS + 3 * _SPREAD
    np.fill_diagonal(near, val=False)
    turn = wrap(between(points.angle, points.angle))
    share = np.interp(wrap(_DIRECTIONS - turn[:, :, np.newaxis]), _TABLE, _SHARE).astype(np.float32)
    density = _density(points) * near[:, np.newaxis, :]
    bits = (density @ share > _LEAST).reshape(len(points), -1).astype(np.float32)
    count = bits.sum(axis=1)
    return Cylinders(points.angle, bits, count, (near.sum(axis=1) >= _NEIGHBOURS) & (count > 0))


def similarity(one: Cylinders, other: Cylinders) -> Floats:
    """0..1 for every minutia of one with every minutia of the other; 0 where they are turned by a right angle."""
    common = one.bits @ other.bits.T
    ones, others = one.count[:, np.newaxis], other.count[np.newaxis, :]
    apart = np.sqrt(np.maximum(ones + others - 2 * common, 0.0))
    alike: Floats = 1.0 - apart / np.maximum(np.sqrt(ones) + np.sqrt(others), 1.0)
    possible = (np.abs(wrap(between(one.angle, other.angle))) <= _ROTATION) * np.outer(one.described, other.described)
    return np.asarray(alike * possible, np.float32)


def _density(points: Points) -> Floats:
    """How near each minutia is to each cell of each minutia's cylinder, `[n, cells, n]`."""
    cosine, sine = np.cos(points.angle)[:, np.newaxis], np.sin(points.angle)[:, np.newaxis]
    x = points.x[:, np.newaxis] + cosine * _ALONG - sine * _ACROSS
    y = points.y[:, np.newaxis] + sine * _ALONG + cosine * _ACROSS
    squared = (x[:, :, np.newaxis] - points.x) ** 2 + (y[:, :, np.newaxis] - points.y) ** 2
    return np.asarray(np.exp(squared / np.float32(-2 * _SPREAD**2)) / (_SPREAD * math.sqrt(2 * math.pi)), np.float32)
