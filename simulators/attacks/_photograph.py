"""A printed photograph held before the camera: in the plane it moves as the hand does, and paper bends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.personas import Asked
from simulators.personas._face import FRAME_SIZE, AnimatedFace
from simulators.personas._fields import pixel_grid, rng_of
from simulators.personas._pose import Pose

_DISTANCE = 900.0
"""Of the photograph from the camera, in pixels of the picture: about 45 cm for a face in its natural size."""

_SLANT_DEGREES = (15.0, 50.0)
_BEND_RADIUS = (220.0, 600.0)
"""Of the cylinder into which the paper is bent, pixels: 11 to 30 cm."""

_ROLL_DEGREES = (12.0, 25.0)
_REACTION_S = (0.3, 0.8)
_SWING_S = (0.8, 1.4)


@dataclass(frozen=True)
class HeldPhotograph:
    """A print of `face`; on a stand when `still`, else in a hand that moves it towards what was asked last."""

    face: AnimatedFace
    seed: int
    still: bool = False

    def at(self, seconds: float, asked: Sequence[Asked] = ()) -> NDArray[np.uint8]:
        """What a camera sees of it at `seconds`."""
        moved = self._printed if self.still else _moved(self._printed, self.seed, seconds, asked)
        return _noisy(moved, self.seed, seconds)

    @cached_property
    def _printed(self) -> NDArray[np.uint8]:
        rng = rng_of(self.seed, 31)
        pose = Pose(yaw=float(rng.uniform(-4, 4)), pitch=float(rng.uniform(-3, 3)))
        return self.face.render(pose, 1.0, self.seed)


def _moved(printed: NDArray[np.uint8], seed: int, seconds: float, asked: Sequence[Asked]) -> NDArray[np.uint8]:
    sway = np.sin(2 * np.pi * (np.array([0.31, 0.43, 0.37, 0.53]) * seconds + rng_of(seed, 32).uniform(0, 1, 4)))
    slant, roll, bend = 3.0 * sway[0], 2.0 * sway[1], 0.0
    if asked:
        slant, roll, bend = (a + b for a, b in zip((slant, roll, bend), _answer(asked, seed, seconds), strict=True))
    x, y = _looked_up(float(slant), float(roll), float(bend), (6.0 * float(sway[2]), 4.0 * float(sway[3])))
    return np.asarray(cv2.remap(printed, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _answer(asked: Sequence[Asked], seed: int, seconds: float) -> tuple[float, float, float]:
    """Slant and roll in degrees and curvature (1/pixel) that answer the newest prompt; a fold for a blink."""
    prompt, rng = asked[-1], rng_of(seed, len(asked), 33)
    reaction, swing = float(rng.uniform(*_REACTION_S)), float(rng.uniform(*_SWING_S))
    share = (seconds - prompt.at - reaction) / swing
    size = float(np.sin(np.pi * share) ** 2) if 0.0 < share < 1.0 else 0.0
    side = 1.0 if prompt.gesture.endswith("left") else -1.0
    slant, curve, roll = rng.uniform(*_SLANT_DEGREES), 1.0 / rng.uniform(*_BEND_RADIUS), rng.uniform(*_ROLL_DEGREES)
    if prompt.gesture.startswith("turn"):
        return side * size * slant, 0.0, side * size * curve
    if prompt.gesture.startswith("tilt"):
        return 0.0, side * size * roll, 0.0
    return 0.0, 0.0, size * curve


def _looked_up(slant: float, roll: float, bend: float, shift: tuple[float, float]) -> tuple[NDArray[np.float32], ...]:
    """Where on the paper each pixel of the picture looks."""
    x, y = pixel_grid((FRAME_SIZE[1], FRAME_SIZE[0]))
    x, y = x - np.float32(FRAME_SIZE[0] / 2 + shift[0]), y - np.float32(FRAME_SIZE[1] / 2 + shift[1])
    turn, angle = np.radians(roll), np.radians(slant)
    x, y = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    across = x * _DISTANCE / (_DISTANCE * np.cos(angle) - x * np.sin(angle))
    away = 1.0 + across * np.sin(angle) / _DISTANCE
    down = y * away
    if bend:
        across = np.arcsin(np.clip(across * bend, -0.99, 0.99)) / bend
    return (
        np.asarray(across + FRAME_SIZE[0] / 2, np.float32),
        np.asarray(down + FRAME_SIZE[1] / 2, np.float32),
    )


def _noisy(picture: NDArray[np.uint8], seed: int, seconds: float) -> NDArray[np.uint8]:
    noise = rng_of(seed, round(seconds * 1000), 34).integers(-4, 5, (FRAME_SIZE[1], FRAME_SIZE[0], 1), np.int16)
    return np.asarray(np.clip(picture + noise, 0, 255), np.uint8)
