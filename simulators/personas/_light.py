"""The light of a screen on what stands before it, and a camera that follows it with exposure and white balance.

In linear light a surface sends back its albedo times the sum of all light on it. The portraits are what a balanced
camera sees by the light of the room; the screen adds to it a share that is the same for every albedo and grows with how
squarely the surface faces the screen and how near it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.personas._fields import Field
from simulators.personas._portrait import Image, Portrait

Vector = NDArray[np.float64]

_LAG_S = 0.05
"""From the filling of a screen to its light: the panel's refresh and response."""

_SEEN_REACH = 0.35
"""How squarely and near a frame is as a whole, which is what exposure and white balance follow."""

_LEVELS = 4096
BACKGROUND_REACH = 0.08
"""Of a wall about 1.5 m behind a face that is half a metre from the screen."""

_BODY_REACH = 0.55


@dataclass(frozen=True)
class Shown:
    """A colour (sRGB, 0 to 255) on the screen from `at` on, in seconds of the scene's clock."""

    colour: tuple[int, int, int]
    at: float


@dataclass(frozen=True)
class Room:
    """What else gives light. `screen` is the light of a white screen on a face, where the room gives 1.

    A screen of 24 inches and 250 cd/m2 gives about 110 lux at half a metre: 0.35 in a room of 300 lux, 0.1 in one of
    1,000. `tint` is the room's own light in red, green and blue, which the camera has made white. `follows` is the
    share of a change of light that the camera's exposure and white balance take away, within about `follows_s`.
    """

    screen: float = 0.35
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    follows: float = 0.6
    follows_s: float = 1.0


@dataclass(frozen=True)
class Light:
    """A room, and what its screen has shown by now, the oldest first."""

    room: Room
    shown: Sequence[Shown] = ()

    def added(self, seconds: float) -> Vector:
        """What the screen adds to blue, green and red of a surface that faces it, where the room gives 1."""
        now = [one for one in self.shown if one.at <= seconds - _LAG_S]
        return self._on_face(linear(now[-1].colour)) if now else np.zeros(3)

    def gains(self, seconds: float) -> Vector:
        """By what the camera multiplies blue, green and red."""
        return (1.0 + _SEEN_REACH * self._on_face(self._lately(seconds))) ** -self.room.follows

    def _on_face(self, colour: Vector) -> Vector:
        return np.asarray(self.room.screen * colour / np.array(self.room.tint), np.float64)[::-1]

    def _lately(self, seconds: float) -> Vector:
        """The mean of what was shown, fading into the past."""
        times = [min(one.at + _LAG_S, seconds) for one in self.shown] + [seconds]
        weights = np.diff(np.exp((np.array(times) - seconds) / self.room.follows_s))
        parts = [weight * linear(one.colour) for weight, one in zip(weights, self.shown, strict=True)]
        return np.asarray(sum(parts, np.zeros(3)), np.float64)

    def on(self, picture: Image, reach: Field | float, seconds: float, veil: Field | float = 0.0) -> Image:
        """`picture` with the screen's light on it; `reach` is how much of it each pixel gets, 1 facing it squarely.

        What gives its own light has none of that: `veil` of the screen's is added to it, whatever it shows.
        """
        added, gains = self.added(seconds), self.gains(seconds)
        if not added.any() and np.all(gains == 1.0):
            return picture
        by, over = (np.asarray(part, np.float32)[..., None] * added.astype(np.float32) for part in (reach, veil))
        bright = cv2.LUT(picture, decoding()) * (1.0 + by) + over
        return encoded(bright * gains.astype(np.float32))


def linear(colour: Sequence[int]) -> Vector:
    """Linear light of an sRGB colour, each part 0 to 1 (IEC 61966-2-1)."""
    return np.asarray(decoding()[np.asarray(colour, np.uint8)], np.float64)


def encoded(bright: NDArray[np.float32]) -> Image:
    """The 8-bit picture of linear light; what is brighter than white is white."""
    places = np.clip(bright * (_LEVELS - 1) + 0.5, 0, _LEVELS - 1).astype(np.uint16)
    return np.asarray(_encoding()[places], np.uint8)


def reach_of(portrait: Portrait, depth: Field, rows: slice, columns: slice) -> Field:
    """How much of a screen's light each pixel of `portrait` gets: the cosine on the head, less on body and wall."""
    height, width = portrait.bgr.shape[:2]
    (cx, cy), (rx, ry) = portrait.centre, portrait.radii
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    body = _soft((cy + 0.95 * ry - y) / (0.1 * ry)) * _soft((np.abs(x - cx) - 2.3 * rx) / (0.2 * rx))
    reach = BACKGROUND_REACH + (_BODY_REACH - BACKGROUND_REACH) * body
    slope_y, slope_x = np.gradient(depth)
    facing = 1.0 / np.sqrt(1.0 + slope_x**2 + slope_y**2)
    radius = np.hypot((x - cx) / rx, (y - cy) / ry)[rows, columns]
    head = _soft((radius - 1.0) / 0.08)
    reach[rows, columns] = head * facing + (1.0 - head) * reach[rows, columns]
    return np.asarray(reach, np.float32)


def _soft(distance: Field) -> Field:
    """1 well inside (negative), 0 well outside."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(4.0 * distance, -30, 30))), np.float32)


@cache
def decoding() -> NDArray[np.float32]:
    """Linear light of the 256 values of an sRGB part."""
    value = np.arange(256) / 255
    low, high = value / 12.92, ((value + 0.055) / 1.055) ** 2.4
    return np.asarray(np.where(value <= 0.04045, low, high), np.float32)


@cache
def _encoding() -> NDArray[np.uint8]:
    bright = np.arange(_LEVELS) / (_LEVELS - 1)
    low, high = 12.92 * bright, 1.055 * bright ** (1 / 2.4) - 0.055
    return np.asarray(np.round(255 * np.where(bright <= 0.0031308, low, high)), np.uint8)
