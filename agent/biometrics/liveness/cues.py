"""What one frame tells about how the head is held."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Head:
    """A head in a frame.

    `yaw` is the offset of the nose's base from the middle of the eyes, along the line of the eyes, in eye distances,
    positive to the right of the picture; `height` is its distance from that line, in eye distances; `roll` is the
    slope of the line in degrees, positive clockwise in the picture. `x`, `y` (the middle of the eyes) and `size` (eye
    distance) are pixels. `openness` compares the eyes with the person's own open eyes: 1 alike, below 0.8 closed, None
    before those are known. `steady` compares the face with that of the frame before: 1 alike, None without one.
    """

    yaw: float
    height: float
    roll: float
    x: float
    y: float
    size: float
    openness: float | None = None
    steady: float | None = None


@dataclass(frozen=True)
class Cue:
    """One frame: when it was taken (monotonic nanoseconds), its number, pictures lost before it, the head if any.

    `repeated` tells that the same bytes were seen before in this presentation.
    """

    at_ns: int
    sequence: int
    lost: int = 0
    head: Head | None = None
    repeated: bool = False


@dataclass(frozen=True)
class Landmarks:
    """Five points `[5, 2]` in pixels as dlib gives them: both corners of each eye, then the base of the nose."""

    points: NDArray[np.float64] = field(repr=False)

    @property
    def eyes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The corners `[2, 2]` of each eye, each from left to right in the picture, the left eye of it first."""
        one, other = (pair[np.argsort(pair[:, 0])] for pair in (self.points[0:2], self.points[2:4]))
        return (one, other) if one[0, 0] < other[0, 0] else (other, one)

    def head(self) -> Head | None:
        """How the head is held; none where the points make no face."""
        left, right = (eye.mean(axis=0) for eye in self.eyes)
        axis = right - left
        size = float(np.linalg.norm(axis))
        if size < 1.0:
            return None
        middle = (left + right) / 2
        along = axis / size
        nose = (self.points[4] - middle) / size
        return Head(
            yaw=float(nose @ along),
            height=float(nose @ np.array([-along[1], along[0]])),
            roll=float(np.degrees(np.arctan2(axis[1], axis[0]))),
            x=float(middle[0]),
            y=float(middle[1]),
            size=size,
        )
