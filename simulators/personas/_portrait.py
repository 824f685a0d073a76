"""Still portraits that the camera persona animates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Point = tuple[float, float]


@dataclass(frozen=True)
class Landmarks:
    """Where the parts of a face lie, in pixels of its picture; left and right are the viewer's."""

    eyes: tuple[Point, Point]
    brows: tuple[tuple[Point, ...], tuple[Point, ...]]
    nose: Point
    mouth: Point
    chin: Point
    jaw: tuple[Point, Point]

    @property
    def eye_distance(self) -> float:
        """Distance between the eye centres in pixels: the unit of everything about a face."""
        (left_x, left_y), (right_x, right_y) = self.eyes
        return float(np.hypot(right_x - left_x, right_y - left_y))


@dataclass(frozen=True)
class Portrait:
    """`bgr` is uint8 `[h, w, 3]`; `centre` and `radii` (pixels) give the head; without `eyes` it cannot blink."""

    bgr: Image = field(repr=False)
    centre: Point
    radii: Point
    eyes: tuple[Point, ...] = ()


ENLARGEMENT = 2.0
"""The astronaut's face is 90 pixels wide as shipped; at a desk camera a face takes about twice that."""


def _at(x: float, y: float) -> Point:
    """A point of the picture as shipped, in pixels of the enlarged one."""
    return ENLARGEMENT * x, ENLARGEMENT * y


ASTRONAUT = Landmarks(
    eyes=(_at(203.5, 102.0), _at(247.0, 103.5)),
    brows=(
        (_at(186.5, 94.5), _at(192.0, 88.5), _at(200.5, 87.5), _at(209.0, 89.0), _at(216.5, 92.5)),
        (_at(236.5, 94.0), _at(244.5, 91.0), _at(252.5, 91.0), _at(260.5, 93.0), _at(265.5, 99.5)),
    ),
    nose=_at(225.0, 121.0),
    mouth=_at(223.0, 144.0),
    chin=_at(220.5, 178.0),
    jaw=(_at(188.0, 152.0), _at(263.0, 150.0)),
)

ASTRONAUT_CENTRE: Point = (448.0, 240.0)
ASTRONAUT_RADII: Point = (120.0, 165.0)


@cache
def astronaut() -> Portrait:
    """NASA's portrait of Eileen Collins (public domain, shipped inside scikit-image), enlarged to 1024 by 1024."""
    from skimage import data

    rgb = np.asarray(data.astronaut(), np.uint8)
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    size = (int(rgb.shape[1] * ENLARGEMENT), int(rgb.shape[0] * ENLARGEMENT))
    large = cv2.resize(bgr, size, interpolation=cv2.INTER_CUBIC)
    return Portrait(large, ASTRONAUT_CENTRE, ASTRONAUT_RADII, ASTRONAUT.eyes)
