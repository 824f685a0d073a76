"""A second camera that sees near infrared by the light of its own emitter, and whether it sees the same living face.

A screen gives hardly any near infrared, and many inks take none up: neither shows a face there. What is in the frames
with the emitter's light and not in those without it is what stands near: a head before a room, and not a picture that
fills the frame. Emitters of the usual modules light every other frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics.liveness.continuity import FROZEN
from agent.biometrics.liveness.cues import Head
from agent.biometrics.liveness.tracker import FaceTracker, Finder
from hal import Frame

UNSEEN = "The infrared camera sees no face where the other one does. Let both see the whole face, and nothing else."
APART = "The two cameras do not see the same movement of one face. Stay alone before them, and cover neither."
UNLIT = "The infrared light does nothing to the face. Switch the emitter on, and come as near as half a metre."
BESIDE = "The infrared light falls on what is beside the face as on the face. Have more than a metre behind you."

Read = Callable[[], Frame]

MOST = 8
"""Frames that are read for one pair: an emitter lights one of two or three."""

ENOUGH = 3
"""Frames after which a difference is looked for."""

_STEP = 6.0
"""Grey levels of the whole frame's mean by which a lit frame differs."""

_NEAR, _FAR = 2.6, 4.0
"""Eye distances from the middle of the eyes between which is what stands beside a head."""


@dataclass(frozen=True)
class Pair:
    """Two frames of an infrared camera, shortly after one another; one without a strobe."""

    lit: Frame = field(repr=False)
    dark: Frame = field(repr=False)

    @property
    def light(self) -> NDArray[np.float32]:
        """What the emitter adds, in grey levels: float32 `[height, width]`."""
        return self.lit.bgr[:, :, 1].astype(np.float32) - self.dark.bgr[:, :, 1].astype(np.float32)


def read_pair(read: Read, *, strobe: bool = True, most: int = MOST) -> Pair:
    """The brightest and the darkest of as few frames as show both, of `most` at most; raises what `read` does."""
    frames = [read()]
    means = [float(frames[0].bgr.mean())]
    while strobe and len(frames) < most and (len(frames) < ENOUGH or max(means) - min(means) <= _STEP):
        frames.append(read())
        means.append(float(frames[-1].bgr.mean()))
    return Pair(frames[int(np.argmax(means))], frames[int(np.argmin(means))])


@dataclass(frozen=True)
class _Sight:
    """The same head, as the colour camera and the infrared one see it."""

    colour: Head
    infrared: Head


class Witness:
    """Compares what both cameras see in one presentation; with `strobe` the emitter must be seen to light the face."""

    def __init__(self, finder: Finder, *, strobe: bool = True) -> None:
        self._tracker = FaceTracker(finder)
        self._strobe = strobe
        self._first: _Sight | None = None
        self._last: Head | None = None

    def straight(self, colour: Head, pair: Pair) -> str:
        """The sentence against a straight face that both saw just now; empty if there is none."""
        return self._seen(colour, pair) or (self._lit(pair) if self._strobe else "")

    def moving(self, colour: Head, pair: Pair) -> str:
        """The sentence against a face that moves, whose light is not looked at; empty if there is none."""
        return self._seen(colour, pair)

    def _seen(self, colour: Head, pair: Pair) -> str:
        cue = self._tracker.see(pair.lit)
        if cue.repeated:
            return FROZEN
        if cue.head is None:
            return UNSEEN
        self._last = cue.head
        sight = _Sight(colour, cue.head)
        self._first = self._first or sight
        return "" if _agree(self._first, sight) else APART

    def _lit(self, pair: Pair) -> str:
        light, head = pair.light, self._last
        assert head is not None
        face = light[_rows(head, -0.5, 1.2), _columns(head, -0.8, 0.8)]
        if face.size == 0 or float(face.mean()) < parameters.INFRARED_LIGHT:
            return UNLIT
        rows = _rows(head, -0.8, 0.6)
        beside = np.concatenate(
            [light[rows, _columns(head, *edge)].reshape(-1) for edge in ((-_FAR, -_NEAR), (_NEAR, _FAR))]
        )
        share = float(beside.mean() / face.mean()) if beside.size else 1.0
        return BESIDE if share > parameters.INFRARED_BESIDE else ""


def _agree(first: _Sight, now: _Sight) -> bool:
    """Whether the head is held alike for both cameras, and moved alike since the first time."""
    roll = abs(now.colour.roll - now.infrared.roll) <= parameters.INFRARED_ROLL
    yaw = abs((now.colour.yaw - first.colour.yaw) - (now.infrared.yaw - first.infrared.yaw)) <= parameters.INFRARED_YAW
    moved = np.hypot(_moved(first, now, "x"), _moved(first, now, "y")) <= parameters.INFRARED_SHIFT
    ratio = (now.infrared.size / first.infrared.size) / (now.colour.size / first.colour.size)
    return bool(roll and yaw and moved and abs(np.log(ratio)) <= np.log(parameters.INFRARED_SIZE))


def _moved(first: _Sight, now: _Sight, axis: str) -> float:
    """By how many eye distances the two cameras differ on how far the head went."""
    colour = (getattr(now.colour, axis) - getattr(first.colour, axis)) / first.colour.size
    infrared = (getattr(now.infrared, axis) - getattr(first.infrared, axis)) / first.infrared.size
    return float(colour - infrared)


def _rows(head: Head, top: float, bottom: float) -> slice:
    return slice(max(0, int(head.y + top * head.size)), max(0, int(head.y + bottom * head.size)))


def _columns(head: Head, left: float, right: float) -> slice:
    return slice(max(0, int(head.x + left * head.size)), max(0, int(head.x + right * head.size)))
