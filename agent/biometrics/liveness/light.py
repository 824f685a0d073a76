"""What one frame tells of the light on a face: its colours in linear light, and those of what stands far behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.biometrics.liveness.cues import Head
from hal import Colour
from protocol.flashes import Hue

Vector = NDArray[np.float64]
Face = NDArray[np.float32]

_HIGH, _LOW = 231, 97
"""sRGB parts of 0.80 and 0.12 in linear light: red has 0.77 of all, and is no saturated one (WCAG 2.3.1: from 0.8)."""

COLOURS: Mapping[Hue, Colour] = {
    Hue.RED: Colour(_HIGH, _LOW, _LOW),
    Hue.YELLOW: Colour(_HIGH, _HIGH, _LOW),
    Hue.GREEN: Colour(_LOW, _HIGH, _LOW),
    Hue.CYAN: Colour(_LOW, _HIGH, _HIGH),
    Hue.BLUE: Colour(_LOW, _LOW, _HIGH),
    Hue.MAGENTA: Colour(_HIGH, _LOW, _HIGH),
}

NEUTRAL = Colour(160, 160, 160)
"""What is shown before and after, for comparison: 0.35 in linear light."""

SIDE = 32
"""Pixels of a face's side: 2.4 eye distances, from the forehead to the mouth."""

_BESIDE = 2.4
"""Eye distances from the middle of the eyes beyond which a head has ended."""

_BELOW = 1.0
"""Eye distances below the eyes from which shoulders may be seen."""

_USABLE = (12, 245)
"""Values of a part that are neither black nor burnt out."""

_WHOLE = 0.9
"""Share of what makes a pixel of the aligned face that must be usable."""

_LEAST_BACKGROUND = 0.02
"""Share of the frame that must be usable background; with less, the camera's white balance is not seen."""


@dataclass(frozen=True)
class Lit:
    """`face` is float32 `[32, 32, 3]`, red, green and blue in linear light, level and of one size.

    `background` is the mean `[3]` of what is beside the head, none where hardly any is to be seen. `usable` are the
    pixels of the face that are not burnt out, bool `[32, 32]`.
    """

    face: Face = field(repr=False)
    background: Vector | None = field(repr=False)
    usable: NDArray[np.bool_] = field(repr=False, default_factory=lambda: np.ones((SIDE, SIDE), bool))

    def level(self, usable: NDArray[np.bool_]) -> Vector:
        """Logarithms `[3]` of the light of the `usable` part of the face over that of the background.

        Exposure and white balance multiply both alike, and fall out.
        """
        colour, beside = self.face[usable].mean(axis=0), np.ones(3) if self.background is None else self.background
        return np.asarray(np.log(np.maximum(colour, 1e-4)) - np.log(np.maximum(beside, 1e-4)), np.float64)


def lit(rgb: NDArray[np.uint8], head: Head) -> Lit:
    """The light on the `head` that was found in a frame `[height, width, 3]`."""
    scale = SIDE / (2.4 * head.size)
    matrix = cv2.getRotationMatrix2D((head.x, head.y), head.roll, scale)
    matrix[:, 2] += np.array([SIDE / 2 - head.x, SIDE / 3 - head.y])
    around = cv2.warpAffine(rgb, _finer(matrix), (4 * SIDE, 4 * SIDE), flags=cv2.INTER_LINEAR)
    face = cv2.resize(cv2.LUT(around, decoding()), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    whole = (around.max(axis=2) < _USABLE[1]).astype(np.float32)
    usable = cv2.resize(whole, (SIDE, SIDE), interpolation=cv2.INTER_AREA) > _WHOLE
    return Lit(np.asarray(face, np.float32), _background(rgb, head), np.asarray(usable, bool))


def decode(colour: Colour) -> Vector:
    """Linear light `[3]` of an sRGB colour, each part 0 to 1."""
    return np.asarray(decoding()[[colour.red, colour.green, colour.blue]], np.float64)


@cache
def decoding() -> NDArray[np.float32]:
    """Linear light of the 256 values of an sRGB part (IEC 61966-2-1)."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _finer(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same view on four times as many pixels a side, so that none of the face is left out of the mean."""
    return np.asarray(4.0 * matrix, np.float64)


def _background(rgb: NDArray[np.uint8], head: Head) -> Vector | None:
    height, width = rgb.shape[:2]
    bottom = int(np.clip(head.y + _BELOW * head.size, 0, height))
    left = int(np.clip(head.x - _BESIDE * head.size, 0, width))
    right = int(np.clip(head.x + _BESIDE * head.size, 0, width))
    beside = np.concatenate([rgb[:bottom:2, :left:2].reshape(-1, 3), rgb[:bottom:2, right::2].reshape(-1, 3)])
    usable = beside[((beside > _USABLE[0]) & (beside < _USABLE[1])).all(axis=1)]
    if 4 * len(usable) < _LEAST_BACKGROUND * height * width:
        return None
    return np.asarray(decoding()[usable].mean(axis=0), np.float64)
