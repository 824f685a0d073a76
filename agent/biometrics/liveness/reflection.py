"""Whether a face sent back the colours that a screen showed, each in its turn.

A surface sends back its albedo times all the light on it, so that a screen of linear light s, which adds the share k to
the room's, multiplies the face by 1 + k s whatever the skin is like. Compared are logarithms of face over background,
from which exposure and white balance fall out, less their mean over red, green and blue, from which brightness and
distance fall out. How much each part counts depends on the colour of the room's light, and is estimated along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics.liveness.light import COLOURS, NEUTRAL, SIDE, Lit, decode
from protocol.flashes import Hue

BURNT = "Too much of the face is burnt out. Turn away from bright light, or make the screen less bright."
DIM = "The face hardly took the colours of the screen. Make it brighter or the room darker, or come nearer."
OTHER = "The face did not take the colours of the screen as they came. Let nothing of other colours light it."
FLAT = "The colours lay over the face instead of on it. Let nothing be between the face and the camera."

_CENTRE = np.eye(3) - 1.0 / 3.0
_STEPS: dict[Hue, NDArray[np.float64]] = {hue: decode(colour) - decode(NEUTRAL) for hue, colour in COLOURS.items()}
_GAIN_RANGE = 4.0
"""The most by which red, green and blue may count differently: candle light has less."""

_BLUR = 4.0
"""Of the aligned face, pixels: what is finer are its parts, what is coarser is how the light falls."""

_MOSTLY = 0.9
_LEAST_PARTS = 0.01
"""Deviation of a face's parts from what is around them, of its brightness: 0.1 and more."""

Window = Sequence[Lit]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Reflection:
    """`strength` is the mean change of colour, in nepers. `agreement` (to 1) is how well all of it is explained by the
    colours shown, `named` the hue that each change is nearest to, `relief` is 1 where dark parts of the face
    took as much of the light for their brightness as bright ones, 0 where they took as much as those. `burnt` tells
    that so much was burnt out that it is in the measures, and spoils them.
    """

    strength: float
    agreement: float
    named: tuple[Hue, ...]
    relief: float
    burnt: bool = False

    def refusal(self, shown: Sequence[Hue]) -> str:
        """The sentence against it, empty if there is none."""
        refusal = self._refusal(tuple(shown))
        return BURNT if refusal and self.burnt else refusal

    def _refusal(self, shown: tuple[Hue, ...]) -> str:
        if self.strength < parameters.FLASH_STRENGTH:
            return DIM
        if self.named != shown or self.agreement < parameters.FLASH_AGREEMENT:
            return OTHER
        return FLAT if self.relief < parameters.FLASH_RELIEF else ""


def reflected(shown: Sequence[Hue], before: Window, windows: Sequence[Window], after: Window) -> Reflection:
    """What the frames under each hue of `shown` tell, against those under the neutral colour before and after."""
    usable = _usable([*before, *(one for window in windows for one in window), *after])
    burnt = float(usable.mean()) < parameters.FLASH_USABLE
    usable = np.ones_like(usable) if burnt else usable
    changes = _changes(usable, before, windows, after)
    gains = _gains(shown, changes)
    expected = np.array([_CENTRE @ (gains * _STEPS[hue]) for hue in shown])
    norm = float(np.linalg.norm(changes) * np.linalg.norm(expected))
    return Reflection(
        strength=float(np.linalg.norm(changes, axis=1).mean()),
        agreement=float(np.sum(changes * expected)) / norm if norm > 0.0 else 0.0,
        named=tuple(_nearest(change, gains) for change in changes),
        burnt=burnt,
        relief=_relief(usable, _Added.of(shown, gains, [*before, *after], windows)),
    )


def _usable(frames: Window) -> Mask:
    """What of the face is burnt out in hardly any frame."""
    return np.asarray(np.mean([one.usable for one in frames], axis=0) > _MOSTLY)


def _changes(usable: Mask, before: Window, windows: Sequence[Window], after: Window) -> NDArray[np.float64]:
    """Change of colour under each hue `[n, 3]`; what drifts evenly from `before` to `after` is none."""
    levels = [np.median([one.level(usable) for one in window], axis=0) for window in (before, *windows, after)]
    share = np.linspace(0.0, 1.0, len(levels))[1:-1, np.newaxis]
    neutral = (1.0 - share) * levels[0] + share * levels[-1]
    return np.asarray((np.array(levels[1:-1]) - neutral) @ _CENTRE, np.float64)


def _gains(shown: Sequence[Hue], changes: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much each part of the screen's light counts `[3]`, as the changes say if the hues were those shown."""
    design = np.vstack([_CENTRE * _STEPS[hue] for hue in shown])
    gains = np.linalg.lstsq(design, changes.reshape(-1), rcond=None)[0]
    largest = max(float(gains.max()), 1e-9)
    return np.asarray(np.clip(gains, largest / _GAIN_RANGE, largest), np.float64)


def _nearest(change: NDArray[np.float64], gains: NDArray[np.float64]) -> Hue:
    def alike(hue: Hue) -> float:
        expected = _CENTRE @ (gains * _STEPS[hue])
        return float(change @ expected / np.linalg.norm(expected))

    return max(Hue, key=alike)


@dataclass(frozen=True)
class _Added:
    """The light that was added to each pixel of the face, and what was to be expected of its albedo `[32, 32]`."""

    seen: NDArray[np.float64]
    expected: NDArray[np.float64]

    @classmethod
    def of(cls, shown: Sequence[Hue], gains: NDArray[np.float64], neutral: Window, windows: Sequence[Window]) -> _Added:
        base, room = _mean(neutral), _beside(neutral)
        added, expected = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
        for hue, window in zip(shown, windows, strict=True):
            weights = _CENTRE @ _STEPS[hue]
            added += (_mean(window) * (room / _beside(window)) - base) @ weights
            expected += base @ (weights * gains * _STEPS[hue])
        return cls(added, expected)


def _relief(usable: Mask, added: _Added) -> float:
    """How far the light that was added follows the fine structure of the face, against how much there is of it."""
    expected = float(added.expected[usable].mean())
    share = float(added.seen[usable].mean()) / expected
    fine, wanted = (_fine(one, usable) for one in (added.seen, added.expected))
    if share <= 0.0 or float(wanted.std()) < _LEAST_PARTS * abs(expected):
        return 0.0
    return float(np.sum(fine * wanted) / np.sum(wanted**2)) / share


def _fine(picture: NDArray[np.float64], usable: Mask) -> NDArray[np.float64]:
    """What is finer than the blur, of the usable pixels `[n]`; the others have no part in it."""
    weight = usable.astype(np.float64)
    around = cv2.GaussianBlur(picture * weight, (0, 0), _BLUR) / (cv2.GaussianBlur(weight, (0, 0), _BLUR) + 1e-9)
    return np.asarray((picture - around)[usable], np.float64)


def _mean(window: Window) -> NDArray[np.float64]:
    return np.asarray(np.mean([one.face for one in window], axis=0), np.float64)


def _beside(window: Window) -> NDArray[np.float64]:
    """What exposure and white balance made of the background `[3]`; ones where none was seen."""
    seen = [one.background for one in window if one.background is not None]
    return np.mean(seen, axis=0) if seen else np.ones(3)
