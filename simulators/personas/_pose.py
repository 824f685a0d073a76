"""How a head is held."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.personas._portrait import Point


@dataclass(frozen=True)
class Pose:
    """How the person holds still at one instant.

    Angles in degrees (yaw positive to the viewer's right, pitch positive downward, roll positive counter-clockwise in
    the picture), `shift` in frame pixels, `closed` 0 (eyes open) to 1.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift: Point = (0.0, 0.0)
    closed: float = 0.0
