"""A finger coming to rest on glass: light and moving at first, then still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.devices.press_sensor import GROUND

Pixels = NDArray[np.uint8]

CONTACT_SECONDS = 0.03
"""Until the glass feels a finger at all."""

SETTLING_SECONDS = 0.12
"""Until it lies still with its full pressure."""

_DRIFT_PIXELS = 12


@dataclass(frozen=True)
class Touch:
    """What a sensor sees of `picture` (uint8 `[h, w]`), laid on at `placed_ns`; it slides in by `drift` (dy, dx)."""

    picture: Pixels
    placed_ns: int
    drift: tuple[int, int]

    @classmethod
    def begin(cls, picture: Pixels, placed_ns: int, random: np.random.Generator) -> Touch:
        """A finger that comes from somewhere near."""
        dy, dx = (int(way) for way in random.integers(-_DRIFT_PIXELS, _DRIFT_PIXELS + 1, 2))
        return cls(picture, placed_ns, (dy, dx))

    def seen_at(self, now_ns: int) -> Pixels | None:
        """The field at this moment; `None` before there is contact."""
        since = (now_ns - self.placed_ns) / 1e9
        if since < CONTACT_SECONDS:
            return None
        if since >= SETTLING_SECONDS:
            return self.picture
        rest = since / SETTLING_SECONDS
        moved = np.roll(self.picture, [round(way * (1 - rest)) for way in self.drift], axis=(0, 1))
        return (GROUND - (GROUND - moved) * rest).astype(np.uint8)


def with_noise(picture: Pixels, sigma: float, random: np.random.Generator) -> Pixels:
    """`picture` with Gaussian noise of `sigma` grey levels; itself at 0."""
    if sigma == 0:
        return picture
    return (picture + random.normal(0.0, sigma, picture.shape)).clip(0, 255).astype(np.uint8)
