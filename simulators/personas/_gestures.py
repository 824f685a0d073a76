"""How a simulated person answers prompts: with a delay, more or less far, and in their own time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulators.personas._fields import rng_of
from simulators.personas._pose import Pose

GESTURES = ("blink", "turn-left", "turn-right", "tilt-left", "tilt-right")
"""What a person can be asked for; left and right are the person's own."""

DELAY_S = (0.35, 0.95)
"""From the prompt to the first movement: choice reaction to a written or spoken word."""

_TURN_DEGREES = (24.0, 32.0)
_TILT_DEGREES = (15.0, 24.0)
_MOVE_S = (0.3, 0.55)
_HOLD_S = (0.25, 0.6)
_CLOSE_S = (0.1, 0.16)
_CLOSED_S = (0.4, 0.9)
_CARELESS_DELAY_S = 0.6
_SALT = 11


@dataclass(frozen=True)
class Asked:
    """A prompt: the word, and when it was given on the clock of the scene (seconds)."""

    gesture: str
    at: float


@dataclass(frozen=True)
class _Motion:
    """Times in seconds: `begin`, then `move` there, `hold`, and `move` back; `size` in degrees or lid closure."""

    begin: float
    move: float
    hold: float
    size: float

    def extent(self, seconds: float) -> float:
        """How far the gesture has gone at `seconds`, 0 to `size`."""
        since = seconds - self.begin
        there = _smooth(since / self.move)
        back = _smooth((since - self.move - self.hold) / self.move)
        return self.size * (there - back)


def acted(natural: Pose, asked: Sequence[Asked], seconds: float, seed: int, care: float = 1.0) -> Pose:
    """`natural` with every gesture asked for up to `seconds` added; an unknown word is not understood."""
    pose = natural
    for number, prompt in enumerate(asked):
        if prompt.at <= seconds and prompt.gesture in GESTURES:
            pose = _with(pose, prompt.gesture, _motion(prompt, number, seed, care).extent(seconds))
    return pose


def _motion(prompt: Asked, number: int, seed: int, care: float) -> _Motion:
    """The person's own way of this gesture; the arguments alone determine it."""
    rng = rng_of(seed, number, round(prompt.at * 1000), _SALT)
    sloppy = 1.0 - min(max(care, 0.0), 1.0)
    begin = prompt.at + rng.uniform(*DELAY_S) + sloppy * rng.uniform(0.0, _CARELESS_DELAY_S)
    if prompt.gesture == "blink":
        return _Motion(begin, rng.uniform(*_CLOSE_S), rng.uniform(*_CLOSED_S), 1.0)
    reach = _TURN_DEGREES if prompt.gesture.startswith("turn") else _TILT_DEGREES
    size = rng.uniform(*reach) * (1.0 - 0.25 * sloppy)
    return _Motion(begin, rng.uniform(*_MOVE_S), rng.uniform(*_HOLD_S), size)


def _with(pose: Pose, gesture: str, extent: float) -> Pose:
    """The person's left is the viewer's right."""
    match gesture:
        case "turn-left":
            return replace(pose, yaw=pose.yaw + extent)
        case "turn-right":
            return replace(pose, yaw=pose.yaw - extent)
        case "tilt-left":
            return replace(pose, roll=pose.roll - extent)
        case "tilt-right":
            return replace(pose, roll=pose.roll + extent)
        case _:
            return replace(pose, closed=max(pose.closed, extent))


def _smooth(share: float) -> float:
    """0 to 1 with no jerk at either end."""
    bounded = float(np.clip(share, 0.0, 1.0))
    return bounded * bounded * (3.0 - 2.0 * bounded)
