"""Gestures in cues: how far the head and the lids are from how the person held them at the beginning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.biometrics import parameters
from agent.biometrics.liveness.cues import Head
from protocol.gestures import Gesture

_STRAIGHT_YAW = 0.22
_STRAIGHT_ROLL = 22.0
"""A beginning further off than this is no face that looks into the camera."""


@dataclass(frozen=True)
class Movement:
    """The turn or tilt that is furthest on its way: `share` is 1 where it counts as a gesture."""

    gesture: Gesture
    share: float

    @property
    def strong(self) -> bool:
        """Whether it is a gesture."""
        return self.share >= 1.0


@dataclass(frozen=True)
class Posture:
    """How the head is held when it is straight: the values of `Head`, of this person, here and now."""

    yaw: float
    height: float
    roll: float

    @classmethod
    def of(cls, heads: list[Head]) -> Posture | None:
        """The median of the beginning; none when the head moved then or did not look into the camera."""
        yaw, height, roll = (np.array([getattr(head, name) for head in heads]) for name in ("yaw", "height", "roll"))
        still = float(np.ptp(yaw)) < parameters.LIVENESS_TURN and float(np.ptp(roll)) < parameters.LIVENESS_TILT
        posture = cls(float(np.median(yaw)), float(np.median(height)), float(np.median(roll)))
        straight = abs(posture.yaw) < _STRAIGHT_YAW and abs(posture.roll) < _STRAIGHT_ROLL
        return posture if still and straight else None

    def movement(self, head: Head) -> Movement:
        """What the head does. Its left is the picture's right."""
        turn = (head.yaw - self.yaw) / self._turn_needed(head)
        tilt = (head.roll - self.roll) / parameters.LIVENESS_TILT
        if abs(turn) >= abs(tilt):
            return Movement(Gesture.TURN_LEFT if turn > 0 else Gesture.TURN_RIGHT, abs(turn))
        return Movement(Gesture.TILT_LEFT if tilt > 0 else Gesture.TILT_RIGHT, abs(tilt))

    def is_quiet(self, head: Head) -> bool:
        """Whether the head is straight and the eyes are not closed."""
        return self.movement(head).share < parameters.LIVENESS_NEUTRAL and not self.is_closed(head)

    def is_closed(self, head: Head) -> bool:
        """Whether the eyes are closed; not told of a head that is turned, whose eyes look different anyway."""
        if head.openness is None or self.movement(head).strong:
            return False
        return head.openness < parameters.LIVENESS_CLOSED

    def _turn_needed(self, head: Head) -> float:
        """How far the nose must move. A head that is turned by an angle has its eyes nearer to one another by the
        cosine; the more they are, the further a nose that stands out has moved. That of a flat picture has not.
        """
        cosine = min(1.0, self.height / max(head.height, 1e-3))
        return max(parameters.LIVENESS_TURN, parameters.LIVENESS_DEPTH * float(np.sqrt(1.0 - cosine**2)))
