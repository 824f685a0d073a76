"""What an infrared camera beside a colour camera sees: by the room's near infrared, and by that of its own emitter.

Skin, hair and cloth throw back more of it than of blue and green light, and alike for everybody: the picture follows
the red of the portrait, paler. The emitter is a point at the camera, whose light falls off with the distance squared.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.personas._fields import Field
from simulators.personas._light import decoding, encoded

Grey = NDArray[np.uint8]

ROOM = 0.1
"""Near infrared of the room, where a face half a metre from the emitter gets 1 at most."""

EMITTER = 0.7
_PALE, _RED = 0.25, 0.6
_NOISE = 3.0
_BESIDE = np.array([[0.94, 0.0, 32.0], [0.0, 0.94, 10.0]])
"""The second camera sees a little more, from a little aside."""


def albedo(bgr: NDArray[np.uint8]) -> Field:
    """Share of near infrared that is thrown back, `[480, 640]`, of what looks so to a colour camera."""
    return np.asarray(_PALE + _RED * decoding()[bgr[:, :, 2]], np.float32)


def infrared_picture(bgr: NDArray[np.uint8], reach: Field | float, rng: np.random.Generator, *, lit: bool) -> Grey:
    """The second camera's picture of what the first sees as `bgr`; `reach` is how near and squarely it faces them."""
    return sensed(albedo(bgr), reach, rng, lit=lit)


def sensed(throws_back: Field, reach: Field | float, rng: np.random.Generator, *, lit: bool) -> Grey:
    """The picture of a scene of this albedo `[480, 640]`."""
    bright = throws_back * (ROOM + (EMITTER * np.asarray(reach, np.float32) if lit else 0.0))
    grey = encoded(np.asarray(bright, np.float32))
    beside = cv2.warpAffine(grey, _BESIDE, (640, 480), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    noise = _NOISE * rng.standard_normal(beside.shape, np.float32)
    return np.asarray(np.clip(beside + noise, 0, 255), np.uint8)
