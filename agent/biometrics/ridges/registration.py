"""One ridge map drawn into the frame of another, then moved from place to place until the ridges run into each other.

Minutiae give the first placing. From there each patch looks for the small shift at which the two maps correlate best;
shifts of neighbours are averaged by how sure they are, so that a sure patch carries its neighbours along. After the
idea of Si, Feng, Yuan and Zhou, "Dense registration of fingerprints", Pattern Recognition 63, 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.ridges.block import CELL, SIDE, RidgeMap

Floats = NDArray[np.float32]
Place = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""From places x and y of the second impression (pixels at 500 dpi, y down) to the same skin in the first."""

STEP = 4
"""Side in pixels at 250 dpi of the patches that move."""
_PER_CELL = SIDE // STEP
_ROUNDS = ((3, 4.0), (3, 4.0), (3, 4.0), (2, 3.0))
"""Per round: the farthest shift in pixels at 250 dpi, and the reach of a patch's window in patches."""
_SHARPNESS = 60.0
"""How strictly the best correlated shift is preferred to its neighbours."""
_EMPTY = 0.01


@dataclass(frozen=True, eq=False)
class Overlay:
    """Two maps where they overlap, `[4 rows, 4 columns]` each, the first as moved; ridges are times their weight."""

    first: Floats
    first_weight: Floats
    second: Floats
    second_weight: Floats


@dataclass(frozen=True, eq=False)
class _Sheet:
    """A map at 250 dpi: `ridges` times `weight`, and where its corner lies in the impression in those pixels."""

    top: int
    left: int
    ridges: Floats
    weight: Floats


def overlay(one: RidgeMap, other: RidgeMap, place: Place) -> Overlay | None:
    """The first map registered with the second one, or nothing where the placing leaves them no overlap."""
    first, second = _sheet(one), _sheet(other)
    x, y = _placed(first, other, place)
    window = _window(first, second, x, y)
    if window is None:
        return None
    rows, columns = window
    inner = tuple(slice(part.start * STEP, part.stop * STEP) for part in window)
    ridges, weight = (np.ascontiguousarray(plane[inner]) for plane in (second.ridges, second.weight))
    return _registered(first, x[rows, columns], y[rows, columns], ridges, weight)


def _registered(first: _Sheet, x: Floats, y: Floats, ridges: Floats, weight: Floats) -> Overlay:
    right, down = np.zeros_like(x), np.zeros_like(y)
    for farthest, reach in _ROUNDS:
        drawn, drawn_weight = _drawn(first, *_shifted(x, y, right, down))
        more_right, more_down = _shifts(drawn, drawn_weight, ridges, weight, farthest, reach)
        right, down = right + more_right, down + more_down
    drawn, drawn_weight = _drawn(first, *_shifted(x, y, right, down))
    return Overlay(drawn, drawn_weight, ridges, weight)


def _sheet(ridge_map: RidgeMap) -> _Sheet:
    import cv2

    rows, columns = ridge_map.weight.shape
    weight = cv2.resize(ridge_map.weight, (columns * SIDE, rows * SIDE), interpolation=cv2.INTER_LINEAR)
    return _Sheet(
        ridge_map.top * SIDE, ridge_map.left * SIDE, ridge_map.ridges * weight, np.asarray(weight, np.float32)
    )


def _placed(first: _Sheet, other: RidgeMap, place: Place) -> tuple[Floats, Floats]:
    """Where the patches of the second map lie in the first one's sheet, asked for once a cell."""
    import cv2

    rows, columns = other.weight.shape
    x, y = np.meshgrid(np.arange(-1, columns + 1, dtype=np.float32), np.arange(-1, rows + 1, dtype=np.float32))
    middles = place(_middles(x, other.left), _middles(y, other.top))
    size = ((columns + 2) * _PER_CELL, (rows + 2) * _PER_CELL)
    placed = []
    for values, corner in zip(middles, (first.left, first.top), strict=True):
        sheet = np.asarray(values, np.float32).reshape(x.shape) * np.float32(0.5) - np.float32(corner + 0.5)
        finer = cv2.resize(sheet, size, interpolation=cv2.INTER_LINEAR)
        placed.append(np.asarray(finer[_PER_CELL:-_PER_CELL, _PER_CELL:-_PER_CELL], np.float32))
    return placed[0], placed[1]


def _middles(cells: Floats, first: int) -> Floats:
    return np.asarray((cells + np.float32(first + 0.5)) * CELL, np.float32).reshape(-1)


def _window(first: _Sheet, second: _Sheet, x: Floats, y: Floats) -> tuple[slice, slice] | None:
    """The patches' rectangle in which both maps have weight."""
    import cv2

    rows, columns = x.shape
    theirs = cv2.resize(second.weight, (columns, rows), interpolation=cv2.INTER_AREA)
    ours = cv2.remap(first.weight, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    common = ours * theirs > 0
    if common.sum() < 4:
        return None
    down, across = (np.flatnonzero(common.any(axis=axis)) for axis in (1, 0))
    return slice(int(down[0]), int(down[-1]) + 1), slice(int(across[0]), int(across[-1]) + 1)


def _shifted(x: Floats, y: Floats, right: Floats, down: Floats) -> tuple[Floats, Floats]:
    """The placing of the patches after they moved within the second map's frame."""
    import cv2

    column, row = np.meshgrid(np.arange(x.shape[1], dtype=np.float32), np.arange(x.shape[0], dtype=np.float32))
    at_x, at_y = column + right / STEP, row + down / STEP
    inner_x, inner_y = np.clip(at_x, 0, x.shape[1] - 1), np.clip(at_y, 0, x.shape[0] - 1)
    moved_x, moved_y = (cv2.remap(plane, inner_x, inner_y, cv2.INTER_LINEAR) for plane in (x, y))
    beyond_x, beyond_y = (at_x - inner_x) * STEP, (at_y - inner_y) * STEP
    return np.asarray(moved_x + beyond_x, np.float32), np.asarray(moved_y + beyond_y, np.float32)


def _drawn(first: _Sheet, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The first map's ridges and weight at the places of the patches' pixels."""
    import cv2

    size = (x.shape[1] * STEP, x.shape[0] * STEP)
    at_x, at_y = (cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in (x, y))
    ridges, weight = (
        cv2.remap(plane, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        for plane in (first.ridges, first.weight)
    )
    return np.asarray(ridges, np.float32), np.asarray(weight, np.float32)


def _shifts(
    drawn: Floats, drawn_weight: Floats, ridges: Floats, weight: Floats, farthest: int, reach: float
) -> tuple[Floats, Floats]:
    """How far each patch should move for the drawn ridges to meet the others: pixels to the right and down."""
    import cv2

    rows, columns = drawn.shape[0] // STEP, drawn.shape[1] // STEP
    steps = range(-farthest, farthest + 1)
    wide = cv2.copyMakeBorder(drawn, *(farthest,) * 4, cv2.BORDER_CONSTANT, value=0.0)
    match = np.empty((len(steps) ** 2, rows, columns), np.float32)
    product = np.empty_like(ridges)
    for index, (down, right) in enumerate((down, right) for down in steps for right in steps):
        top, left = farthest + down, farthest + right
        np.multiply(wide[top : top + ridges.shape[0], left : left + ridges.shape[1]], ridges, out=product)
        match[index] = window_mean(product, reach)
    possible = np.asarray(window_mean((drawn_weight * weight) ** 2, reach) / 2 + _EMPTY, np.float32)
    return _consensus(np.asarray(match / possible, np.float32), possible, farthest, reach)


def _consensus(correlation: Floats, possible: Floats, farthest: int, reach: float) -> tuple[Floats, Floats]:
    """Each patch's mean shift, sharpened to the best ones, then averaged with its neighbours'."""
    best = correlation.max(axis=0)
    share = np.exp(_SHARPNESS * (correlation - best))
    share /= share.sum(axis=0)
    side = 2 * farthest + 1
    steps = np.arange(-farthest, farthest + 1, dtype=np.float32)
    grid = share.reshape(side, side, *best.shape)
    right, down = np.einsum("yxrc,x->rc", grid, steps), np.einsum("yxrc,y->rc", grid, steps)
    sure = np.maximum(best, 0) ** 2 * possible
    total = _blurred(sure, reach) + np.float32(1e-4)
    return _blurred(right * sure, reach) / total, _blurred(down * sure, reach) / total


def window_mean(plane: Floats, reach: float) -> Floats:
    """The mean of `[4 rows, 4 columns]` over each patch and neighbours within `reach` patches; 0 beyond the edge."""
    import cv2

    size = (plane.shape[1] // STEP, plane.shape[0] // STEP)
    return _blurred(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), reach)


def _blurred(plane: NDArray[np.floating], reach: float) -> Floats:
    import cv2

    values = np.ascontiguousarray(plane, np.float32)
    return np.asarray(cv2.GaussianBlur(values, (0, 0), reach, borderType=cv2.BORDER_CONSTANT), np.float32)
