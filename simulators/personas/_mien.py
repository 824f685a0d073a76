"""What a face does while it holds still: no two looks into a camera give the same lines.

Brows, lids, cheeks and mouth are never twice exactly where they were, and light falls on skin from another side, so
that the lines of cheek and forehead are other ones. The second is what tells real pictures of one person apart
(docs/biometrics/replay.md); it moves no landmark.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.personas._fields import Field, rng_of

_GRID = (6, 5)
_PIXELS = 1.0
"""Deviation of each knot, in pixels of the portrait."""

_RELIEFS = 12
_RELIEF_GRID = (42, 30)
"""A knot every ten pixels or so: as fine as the lines of skin."""

_SHADE = 0.025
"""Deviation of the shading: with it two looks still are more alike than two real pictures of one person."""

SPELL_SECONDS = 15.25
"""How long a mien stays, so that an answer to a challenge has one of its own."""

_CHANGE_SECONDS = 1.5
"""At the end of it, on the way to the next one."""


@dataclass(frozen=True, eq=False)
class Mien:
    """The mien of one person, whose head fills a window of `shape` (rows, columns)."""

    seed: int
    shape: tuple[int, int]
    reliefs: NDArray[np.float32] = field(repr=False)

    @classmethod
    def of(cls, seed: int, shape: tuple[int, int]) -> Mien:
        """The arguments alone determine it."""
        rng = rng_of(seed, 10)
        reliefs = [_large(rng.standard_normal(_RELIEF_GRID, np.float32), shape) for _ in range(_RELIEFS)]
        return cls(seed, shape, np.stack(reliefs))

    def moved(self, seconds: float) -> tuple[Field, Field]:
        """How far each point of the window is off at `seconds`: across and down, in pixels."""
        knots = _PIXELS * self._drawn(seconds)[_RELIEFS:].reshape(2, *_GRID)
        return _large(knots[0], self.shape), _large(knots[1], self.shape)

    def shade(self, seconds: float) -> Field:
        """By what the light on each point of the window is multiplied."""
        weights = self._drawn(seconds)[:_RELIEFS]
        weights *= _SHADE / np.linalg.norm(weights)
        return np.asarray(1.0 + np.tensordot(weights.astype(np.float32), self.reliefs, 1), np.float32)

    def _drawn(self, seconds: float) -> NDArray[np.float64]:
        """What is drawn anew for each spell, of unit deviation."""
        spell, since = divmod(seconds, SPELL_SECONDS)
        share = float(np.clip((since - SPELL_SECONDS) / _CHANGE_SECONDS + 1.0, 0.0, 1.0))
        return (1.0 - share) * self._of_spell(int(spell)) + share * self._of_spell(int(spell) + 1)

    def _of_spell(self, number: int) -> NDArray[np.float64]:
        return rng_of(self.seed, number, 9).standard_normal(_RELIEFS + 2 * _GRID[0] * _GRID[1])


def _large(knots: NDArray[np.floating], shape: tuple[int, int]) -> Field:
    """Knots brought to the size of the window."""
    return np.asarray(cv2.resize(knots.astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
