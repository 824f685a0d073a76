"""A portrait brought to life before a camera: sway, turns, blinks, light and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.personas._fields import Field, rng_of
from simulators.personas._gestures import Asked, acted
from simulators.personas._infrared import infrared_picture
from simulators.personas._light import Light, reach_of
from simulators.personas._mien import Mien
from simulators.personas._portrait import Image, Point, Portrait
from simulators.personas._pose import Pose

FRAME_SIZE = (640, 480)
BLINK_SECONDS = 0.32
BLINK_INTERVAL = 3.7
NOISE_MARGIN = 96
TAKE_SECONDS = 61.0
"""Between two takes of one person: another phase of sway, other blinks, other noise."""

TAKES = 100_000
_TURN_STEPS = 3
"""Where a pixel looks depends on the depth there: solved by this many steps of a fixed-point iteration."""

NOSE_HEIGHT = 0.22
"""How far the nose stands out beyond the curve of the face, in eye distances; with it, the base of the nose lies about
0.37 before the corners of the eyes (anthropometry has 0.35 to 0.45 for grown-ups)."""


@dataclass(frozen=True)
class AnimatedFace:
    """`portrait` before a 640 by 480 camera; `seed` (non-negative) gives the person's own rhythm of movement."""

    portrait: Portrait
    seed: int

    def frame(self, seconds: float, care: float = 1.0) -> NDArray[np.uint8]:
        """The picture at `seconds` (0 or more), uint8 `[480, 640, 3]` BGR; the arguments alone determine it."""
        return self.render(self.pose(seconds), care, round(seconds * 1000))

    def perform(
        self, seconds: float, asked: Sequence[Asked], take: int, care: float = 1.0, light: Light | None = None
    ) -> NDArray[np.uint8]:
        """The picture at `seconds` of somebody who answers what was `asked`, in the manner of take number `take`.

        With `light`, a screen adds to that of the room.
        """
        moving = self.pose(seconds + take * TAKE_SECONDS)
        pose = acted(moving, asked, seconds, self.seed * TAKES + take % TAKES, care)
        lamp = None if light is None else (light, seconds)
        return self.render(pose, care, round(seconds * 1000) + take * 1000 * int(TAKE_SECONDS), lamp)

    def infrared(self, seconds: float, asked: Sequence[Asked], take: int, *, lit: bool) -> NDArray[np.uint8]:
        """The same moment for an infrared camera beside: uint8 `[480, 640]`, by its emitter's light if `lit`."""
        pose = acted(self.pose(seconds + take * TAKE_SECONDS), asked, seconds, self.seed * TAKES + take % TAKES)
        view, instant = self._view(pose, 0.0), round(seconds * 1000) + take * 1000 * int(TAKE_SECONDS)
        seen = _viewed(self._posed(pose, instant / 1000), view)
        reach = _viewed(self._turned_reach(pose), view)
        return infrared_picture(seen, reach, rng_of(self.seed, instant, int(lit), 12), lit=lit)

    def pose(self, seconds: float) -> Pose:
        """Small natural motion: a few degrees, a few pixels, a blink every four seconds or so."""
        phase = self._phases
        wave = np.sin(2 * np.pi * (np.array([0.11, 0.17, 0.13, 0.09, 0.15]) * seconds + phase))
        slow = np.sin(2 * np.pi * (0.031 * seconds + phase[::-1]))
        yaw, pitch, roll, x, y = 0.6 * wave + 0.4 * slow
        closed = _blink(seconds + BLINK_INTERVAL * float(phase[0]))
        return Pose(4.0 * yaw, 3.0 * pitch, 1.5 * roll, (6.0 * x, 4.0 * y), closed)

    def render(
        self, pose: Pose, care: float = 1.0, instant: int = 0, lamp: tuple[Light, float] | None = None
    ) -> NDArray[np.uint8]:
        """The picture of `pose`; `instant` (ms, non-negative) selects mien and sensor noise, `lamp` light and time."""
        sloppy = 1.0 - min(max(care, 0.0), 1.0)
        rng = rng_of(self.seed, instant, 2)
        view = self._view(pose, sloppy)
        seen = _viewed(self._posed(pose, instant / 1000), view)
        if lamp is not None:
            light, seconds = lamp
            seen = light.on(seen, _viewed(self._turned_reach(pose), view), seconds)
        if sloppy > 0.0:
            seen = cv2.GaussianBlur(seen, (0, 0), 0.4 + 1.5 * sloppy)
        gain = (1.0 - 0.5 * sloppy) * float(rng.uniform(0.97, 1.03))
        return _sensed(seen, gain, 2.5 + 4.0 * sloppy, rng)

    @cached_property
    def _phases(self) -> NDArray[np.float64]:
        return rng_of(self.seed, 3).uniform(0.0, 1.0, 5)

    @cached_property
    def _head(self) -> _Head:
        return _Head.of(self.portrait)

    @cached_property
    def _mien(self) -> Mien:
        return Mien.of(self.seed, self._head.x.shape)

    @cached_property
    def _reach(self) -> Field:
        return reach_of(self.portrait, self._head.depth, self._head.rows, self._head.columns)

    def _turned_reach(self, pose: Pose) -> Field:
        """How much of a screen's light each pixel of the portrait gets once the head is turned."""
        head = self._head
        x, y = head.turned(pose)
        reach = self._reach.copy()
        reach[head.rows, head.columns] = cv2.remap(self._reach, x, y, cv2.INTER_LINEAR)
        return reach

    def _posed(self, pose: Pose, seconds: float) -> Image:
        """The portrait with its head turned, its lids lowered, and the mien of that second."""
        head, mien = self._head, self._mien
        x, y = (turned + off for turned, off in zip(head.turned(pose), mien.moved(seconds), strict=True))
        lit = self.portrait.bgr.copy()
        window = lit[head.rows, head.columns]
        cv2.multiply(window, cv2.merge([mien.shade(seconds)] * 3), window, dtype=cv2.CV_8U)
        picture = self.portrait.bgr.copy()
        picture[head.rows, head.columns] = cv2.remap(lit, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return picture

    def _view(self, pose: Pose, sloppy: float) -> NDArray[np.float64]:
        """Portrait to frame: upright and centred, but for roll, shift and distance."""
        scale = 1.0 - 0.3 * sloppy
        matrix = np.asarray(cv2.getRotationMatrix2D(self.portrait.centre, pose.roll, scale), np.float64)
        matrix[0, 2] += FRAME_SIZE[0] / 2 + pose.shift[0] - self.portrait.centre[0]
        matrix[1, 2] += FRAME_SIZE[1] / 2 + pose.shift[1] - self.portrait.centre[1]
        return matrix


def _viewed(picture: NDArray[Any], view: NDArray[np.float64]) -> NDArray[Any]:
    """Portrait to frame."""
    seen = cv2.warpAffine(picture, view, FRAME_SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen)


@dataclass(frozen=True)
class _Head:
    """What stays the same between frames: the head's window in the portrait, its depth, its eyes."""

    rows: slice
    columns: slice
    x: Field
    y: Field
    depth: Field
    centre: Point
    lids: tuple[tuple[Field, Field], ...]

    @staticmethod
    def of(portrait: Portrait) -> _Head:
        height, width = portrait.bgr.shape[:2]
        (cx, cy), (rx, ry) = portrait.centre, portrait.radii
        rows = slice(max(0, int(cy - 1.5 * ry)), min(height, int(cy + 1.5 * ry)))
        columns = slice(max(0, int(cx - 1.5 * rx)), min(width, int(cx + 1.5 * rx)))
        y, x = np.mgrid[rows, columns].astype(np.float32)
        radius = ((x - cx) / (1.5 * rx)) ** 2 + ((y - cy) / (1.5 * ry)) ** 2
        dome = np.clip(1.0 - radius, 0.0, 1.0) ** 1.5
        lids = tuple(_lid(eye, x, y, rx) for eye in portrait.eyes)
        depth = 1.1 * rx * dome + _nose(portrait, x, y)
        return _Head(rows, columns, x, y, depth.astype(np.float32), portrait.centre, lids)

    def turned(self, pose: Pose) -> tuple[Field, Field]:
        """Where in the portrait each pixel of the window looks: an ellipsoid with a nose, turned by yaw and pitch."""
        yaw, pitch = np.radians(pose.yaw), np.radians(pose.pitch)
        solid = self.depth / self.depth.max()
        dx, dy = self.x - np.float32(self.centre[0]), self.y - np.float32(self.centre[1])
        x0 = self.x + np.float32(1 / np.cos(yaw) - 1) * dx * solid
        y0 = self.y + np.float32(1 / np.cos(pitch) - 1) * dy * solid
        x, y = x0, y0
        for _ in range(_TURN_STEPS):
            depth = cv2.remap(self.depth, x - self.x[0, 0], y - self.y[0, 0], cv2.INTER_LINEAR)
            x, y = x0 - np.float32(np.sin(yaw)) * depth, y0 - np.float32(np.sin(pitch)) * depth
        return x.astype(np.float32), self._lidded(x, y, pose.closed)

    def _lidded(self, x: Field, y: Field, closed: float) -> Field:
        """`y` with the skin above each eye drawn over it."""
        if not closed:
            return y.astype(np.float32)
        for weight, below in self.lids:
            here = cv2.remap(weight, x - self.x[0, 0], y - self.y[0, 0], cv2.INTER_LINEAR)
            opening = (0.5 + 6.0 * closed) * cv2.remap(below, x - self.x[0, 0], y - self.y[0, 0], cv2.INTER_LINEAR)
            y = y + here * np.clip(opening, -9.0, 9.0) * np.float32(closed)
        return y.astype(np.float32)


def _lid(eye: Point, x: Field, y: Field, radius: float) -> tuple[Field, Field]:
    """How much of each pixel belongs to one eye (0..1), and how far it lies below the eye's middle."""
    across, below = x - np.float32(eye[0]), y - np.float32(eye[1])
    weight = np.exp(-((across / (0.2 * radius)) ** 4) - (below / (0.1 * radius)) ** 4)
    return weight.astype(np.float32), below


def _nose(portrait: Portrait, x: Field, y: Field) -> Field:
    """Height of the nose above the face in pixels; none where it is not known where the eyes are."""
    if len(portrait.eyes) < 2:
        return np.zeros_like(x)
    (left_x, left_y), (right_x, right_y) = portrait.eyes
    unit = float(np.hypot(right_x - left_x, right_y - left_y))
    middle = (left_x + right_x) / 2, (left_y + right_y) / 2 + 0.42 * unit
    across, along = (x - middle[0]) / (0.2 * unit), (y - middle[1]) / (0.34 * unit)
    return np.asarray(NOSE_HEIGHT * unit * np.exp(-0.5 * (across**2 + along**2)), np.float32)


def _blink(seconds: float) -> float:
    """How far the lids are closed, 0..1: down and up again once in `BLINK_INTERVAL`."""
    since = seconds % BLINK_INTERVAL
    return float(np.sin(np.pi * since / BLINK_SECONDS) ** 2) if since < BLINK_SECONDS else 0.0


@cache
def _noise_bank() -> NDArray[np.int8]:
    """Sensor noise of unit deviation times 16, larger than a frame so that every frame takes another cut of it."""
    shape = (FRAME_SIZE[1] + NOISE_MARGIN, FRAME_SIZE[0] + NOISE_MARGIN, 3)
    return np.asarray(np.clip(16.0 * rng_of(4).standard_normal(shape, np.float32), -127, 127), np.int8)


def _sensed(picture: Image, gain: float, noise: float, rng: np.random.Generator) -> Image:
    """Exposure and additive noise of deviation `noise` grey levels."""
    top, left = (int(v) for v in rng.integers(0, NOISE_MARGIN, 2))
    cut = _noise_bank()[top : top + FRAME_SIZE[1], left : left + FRAME_SIZE[0]]
    return np.asarray(cv2.addWeighted(picture, gain, cut, noise / 16.0, 0.0, dtype=cv2.CV_8U), np.uint8)
