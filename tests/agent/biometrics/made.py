"""Impressions made of minutiae alone: a finger's, and what a press of it leaves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.minutiae import CELL, Impression, Minutia, most_reliable, to_vector

SIDE = 400


def finger(seed: int, count: int = 45) -> NDArray[np.float64]:
    """Places x, y (image coordinates) and directions in radians anticlockwise of a finger's minutiae, `[n, 3]`."""
    random = np.random.default_rng(seed)
    places: list[NDArray[np.float64]] = []
    while len(places) < count:
        place = random.uniform(60, SIDE - 60, 2)
        if all(np.hypot(*(place - other)) > 14 for other in places):
            places.append(place)
    return np.column_stack([places, random.uniform(-np.pi, np.pi, count)])


def press(
    skin: NDArray[np.float64], seed: int, turn: float = 0.0, shift: tuple[float, float] = (0.0, 0.0), bend: float = 0.0
) -> NDArray[np.int16]:
    """The vector of a press: turned (radians anticlockwise), shifted, bent by up to `bend` pixels, with some noise."""
    random = np.random.default_rng(seed)
    middle = SIDE / 2
    x, y = skin[:, 0] - middle, skin[:, 1] - middle
    x, y = x + bend * np.sin(y / 90), y + bend * np.sin(x / 90)
    placed_x = middle + np.cos(turn) * x + np.sin(turn) * y + shift[0]
    placed_y = middle - np.sin(turn) * x + np.cos(turn) * y + shift[1]
    return vector(placed_x, placed_y, skin[:, 2] + turn, random)


def vector(
    x: NDArray[np.float64], y: NDArray[np.float64], angle: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.int16]:
    """The vector of minutiae; those outside the picture are lost, the rest a little out of place."""
    x, y = x + random.normal(0, 1, len(x)), y + random.normal(0, 1, len(y))
    angle = angle + random.normal(0, 0.06, len(angle))
    minutiae = [
        Minutia(int(px), int(py), round(a * 128 / np.pi) % 256, 1 + index % 2, 40)
        for index, (px, py, a) in enumerate(zip(x, y, angle, strict=True))
        if 0 <= px < SIDE and 0 <= py < SIDE
    ]
    cells = np.ones((SIDE // CELL, SIDE // CELL), np.bool_)
    return to_vector(Impression(most_reliable(minutiae), cells))


IMPRESSION = press(finger(1), 1)
