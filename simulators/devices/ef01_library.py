"""The inside of an EF01 module that compares by itself: two character buffers and numbered templates.

What stands for minutiae is where ridges run, in cells of 4 x 4 pixels: enough to tell one finger from another on the
same spot, which is all that the commands need to answer as a module does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Characters = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_CELL, _AREA = 4, 16
_LEAST_CONTRAST = 5.0
_ALIKE = 0.8


def characters(image: Pixels) -> Characters | None:
    """Light and dark of an image (uint8 `[h, w]`) against its surroundings; `None` when there is too little of it."""
    if image.std() < _LEAST_CONTRAST:
        return None
    around = np.kron(_means(image, _AREA), np.ones((_AREA // _CELL, _AREA // _CELL)))
    ridges = _means(image, _CELL) - around
    return np.asarray((ridges / (ridges.std() or 1.0)).ravel())


def _means(image: Pixels, cell: int) -> Characters:
    height, width = image.shape
    return np.asarray(image.reshape(height // cell, cell, width // cell, cell).mean(axis=(1, 3)))


def score(one: Characters, other: Characters) -> int:
    """0 when two fingers differ, else up to 100."""
    likeness = float(np.mean(one * other))
    return round(100 * likeness) if likeness >= _ALIKE else 0


class Library:
    """Character buffers 1 and 2, and `capacity` places for templates."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.buffers: dict[int, Characters] = {}
        self.templates: dict[int, Characters] = {}

    def power_on(self) -> None:
        """Buffers forget, flash does not."""
        self.buffers.clear()

    def match(self) -> int:
        """Score of buffer 1 against buffer 2; 0 when one is empty."""
        return score(self.buffers[1], self.buffers[2]) if len(self.buffers) == 2 else 0

    def combine(self) -> bool:
        """Make a template of both buffers; false when they are not of one finger."""
        if self.match() == 0:
            return False
        both = (self.buffers[1] + self.buffers[2]) / 2
        self.buffers = {1: both, 2: both}
        return True

    def search(self, buffer: int, start: int, count: int) -> tuple[int, int] | None:
        """The first place from `start` on whose template is like the buffer, and the score."""
        wanted = self.buffers.get(buffer)
        for place in range(start, min(start + count, self.capacity)):
            if wanted is not None and place in self.templates and (alike := score(wanted, self.templates[place])):
                return place, alike
        return None
