"""A synthetic finger: one master print, any number of impressions of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulators.personas._fields import rng_of
from simulators.personas._impression import impress
from simulators.personas._pattern import DPI, PatternClass, draw_pattern
from simulators.personas._ridges import MasterPrint, grow_master


@dataclass(frozen=True)
class SyntheticFinger:
    """A finger that `seed` (a non-negative integer) and its Henry class determine."""

    seed: int
    kind: PatternClass

    @cached_property
    def master(self) -> MasterPrint:
        """The whole print, grown on first use and kept in memory."""
        return grow_master(draw_pattern(self.kind, rng_of(self.seed, 0)), rng_of(self.seed, 1))

    @cached_property
    def neighbour(self) -> SyntheticFinger:
        """Another finger of the same hand."""
        return SyntheticFinger(self.seed + 1000, self.kind)

    def impression(self, number: int, care: float = 1.0) -> tuple[NDArray[np.uint8], int]:
        """Impression `number` (0 or more): uint8 `[560, 416]`, ridges dark on light, and its dpi, 500.

        The same number and care give the same pixels; `care` runs from 1.0 (clean) to 0.0 (dry, partial, smudged).
        """
        return impress(self.master, self.seed, number, care), DPI
