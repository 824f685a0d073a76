"""A face made of numbers in the light of a screen: what the judge of reflections gets of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.liveness.light import COLOURS, NEUTRAL, SIDE, Lit, decode
from agent.biometrics.liveness.reflection import Reflection, reflected
from protocol.flashes import Hue, flash_row

SKIN = np.array([0.42, 0.26, 0.18])
WALL = np.array([0.5, 0.5, 0.45])
ROW = flash_row(133, 4)


@dataclass
class Studio:
    """`screen` is the light of white on the face, `veil` what lies over it instead, both where the room gives 1.

    `tint` is the room's light before white balance, `drift` a change of colour from one window to the next, `balance`
    by what the camera multiplies each window, `noise` that of every frame's mean, `burnt` the share of the face that is
    white whatever the light.
    """

    screen: float = 0.35
    veil: float = 0.0
    tint: NDArray[np.float64] = field(default_factory=lambda: np.ones(3))
    drift: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    balance: float = 0.0
    noise: float = 0.001
    seed: int = 5
    walled: bool = True
    burnt: float = 0.0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._parts = 1.0 + 0.5 * np.clip(self._rng.standard_normal((SIDE, SIDE, 1)), -1.5, 1.5)

    def window(self, hue: Hue | None, place: int, frames: int = 4) -> list[Lit]:
        """Frames under one colour, the one at `place` of the row."""
        light = decode(NEUTRAL if hue is None else COLOURS[hue]) / self.tint
        face = SKIN * self._parts * (1.0 + self.screen * light) + self.veil * light
        gains = np.exp(self.balance * self._rng.standard_normal(3))
        made = []
        for _ in range(frames):
            seen = face * gains * np.exp(place * self.drift + self.noise * self._rng.standard_normal(3))
            wall = WALL * gains * (1.0 + 0.05 * self.screen * light)
            usable = np.broadcast_to(np.arange(SIDE) >= self.burnt * SIDE, (SIDE, SIDE))
            seen[~usable] = 1.0
            made.append(Lit(seen.astype(np.float32), wall if self.walled else None, usable))
        return made

    def look(self, shown: Sequence[Hue], drawn: Sequence[Hue] | None = None) -> Reflection:
        """What is made of `shown` where `drawn` should have been."""
        return judged(drawn or shown, self.windows(shown))

    def windows(self, shown: Sequence[Hue]) -> list[list[Lit]]:
        """The frames of a presentation, under the neutral colour first and last."""
        return [self.window(hue, place) for place, hue in enumerate((None, *shown, None))]

    def refusal(self, shown: Sequence[Hue], drawn: Sequence[Hue] | None = None) -> str:
        """The sentence that follows."""
        return self.look(shown, drawn).refusal(drawn or shown)


def judged(drawn: Sequence[Hue], windows: Sequence[Sequence[Lit]]) -> Reflection:
    """What is made of frames that somebody sent where `drawn` was to be sent back."""
    return reflected(drawn, windows[0], windows[1:-1], windows[-1])
