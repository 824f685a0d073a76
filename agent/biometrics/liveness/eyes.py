"""Whether the eyes are open, from their corners alone: the eyes now against the person's own open eyes.

A closed eye shows a lid where iris and white were. The normalised correlation of the eye's picture with that of the
same person's open eyes a moment ago falls from above 0.9 to below 0.75, whatever the eyes, glasses and light are like;
a fixed measure of opening varies more between persons than between open and closed.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.biometrics.liveness.cues import Landmarks

Patch = NDArray[np.float32]

_WIDTH, _HEIGHT = 36, 24
_CORNERS = 24.0
"""Distance of the eye's corners in the patch."""

_SLACK = 4
"""Pixels of the patch by which the landmarks may be off."""


def eye_patches(grey: NDArray[np.uint8], landmarks: Landmarks) -> tuple[Patch, Patch]:
    """Both eyes, turned level and brought to one size, float32 `[24, 36]` each."""
    left, right = landmarks.eyes
    return _patch(grey, left), _patch(grey, right)


def openness(seen: tuple[Patch, Patch], opened: tuple[Patch, Patch]) -> float:
    """The mean correlation of two eyes with the same eyes open, at most 1."""
    inner = slice(_SLACK, -_SLACK)
    alike = [
        cv2.matchTemplate(patch, np.ascontiguousarray(own[inner, inner]), cv2.TM_CCOEFF_NORMED).max()
        for patch, own in zip(seen, opened, strict=True)
    ]
    return float(np.mean(alike))


def typical(patches: list[tuple[Patch, Patch]]) -> tuple[Patch, Patch]:
    """The median of several frames' eyes: a blink among them does not show."""
    left, right = (np.median(np.stack(side), axis=0) for side in zip(*patches, strict=True))
    return left.astype(np.float32), right.astype(np.float32)


def _patch(grey: NDArray[np.uint8], corners: NDArray[np.float64]) -> Patch:
    across = corners[1] - corners[0]
    scale = max(float(np.linalg.norm(across)), 1.0) / _CORNERS
    cosine, sine = across / (scale * _CORNERS)
    turn = scale * np.array([[cosine, -sine], [sine, cosine]])
    begin = corners.mean(axis=0) - turn @ np.array([_WIDTH / 2, _HEIGHT / 2])
    matrix = np.column_stack([turn, begin])
    cut = cv2.warpAffine(
        grey, matrix, (_WIDTH, _HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, np.float32)
