"""A face brought to one place and size by its five landmarks."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SIDE: Final = 112
TEMPLATE: Final = np.array([(80.6, 53.8), (66.9, 54.0), (31.4, 53.8), (45.1, 54.0), (55.9, 80.3)])
"""Where dlib's five points lie in a face that is aligned to ArcFace's template of 112 x 112.

ArcFace aligns by eyes, tip of the nose and corners of the mouth; dlib's points are corners of the eyes and the base of
the nose. These are the median places of dlib's points in 144 faces aligned by ArcFace's (docs/biometrics/face.md).
"""
FRONTAL_DEPTH: Final = 0.747
"""How far below the eyes the base of the nose lies, in distances of the eyes, seen from the front."""


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation, scale and shift `[2, 3]` that brings points `[n, 2]` closest to others in the mean square."""
    middle, onto = source.mean(axis=0), target.mean(axis=0)
    a, b = source - middle, target - onto
    size = max(float((a * a).sum()), 1e-9)
    cosine = float((a * b).sum()) / size
    sine = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / size
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([turn, onto - turn @ middle])


def aligned(rgb: NDArray[np.uint8], points: NDArray[np.float64], side: int, border: int) -> NDArray[np.uint8]:
    """The face with the landmarks `[5, 2]` as `[side, side, 3]`; `border` is OpenCV's way to go on beyond its edge."""
    import cv2

    onto = similarity(points, TEMPLATE * side / SIDE)
    face: NDArray[np.uint8] = cv2.warpAffine(rgb, onto, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
    return face
