"""Fingerprints: an impression that lies on an earlier one line by line.

Skin stretches anew with each press: of two presses of one finger some part always lies a good fraction of a ridge apart
after the best rigid alignment. The same image does not, whatever was done to it besides (docs/biometrics/replay.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.biometrics.fingerprint import normalise
from agent.biometrics.replay._sheet import Geometry, Sheet, Signs
from hal import FingerprintImage

OVERALL: Final = 0.90
LOCAL: Final = 0.65
"""Least likeness of a repeated image, and of nine tenths of its tiles."""

GEOMETRY: Final = Geometry(
    side=120,
    wide=168,
    overlap=0.45,
    angles=tuple(float(angle) for angle in range(-12, 13, 2)),
    promising=0.25,
    sizes=(1.0, 0.986, 1.014),
)
_PITCH = 3.0
"""Pixels at 500 dpi from point to point: ridges are 7 to 11 pixels apart."""

_BAND = (1.4, 5.0)
"""Deviations of two Gaussians, pixels: ridges are what lies between them."""

_AREA = 8.0
"""Deviation of the Gaussian within which contrast is evened out, pixels."""

_CONTRAST = 0.35
"""Share of the print's strong contrast that is ridges still."""

_EDGE = 13
"""Side of what is taken off around the ridges, pixels."""


def trace(image: FingerprintImage) -> bytes:
    """What a comparison with earlier impressions needs of this one; raises `BiometricError` for none."""
    return Sheet(GEOMETRY, _ridges(normalise(image))).to_bytes()


def digest(trace: bytes) -> bytes:
    """What is kept of it: 1829 bytes."""
    return Sheet.from_bytes(GEOMETRY, trace).signs().to_bytes()


def replayed(past: Sequence[bytes], trace: bytes) -> bool:
    """Whether the impression is one of the past; raises `ValueError` for what `digest` does not write."""
    sheet = Sheet.from_bytes(GEOMETRY, trace)
    return any(same(sheet, Signs.from_bytes(GEOMETRY, one)) for one in past)


def same(sheet: Sheet, past: Signs) -> bool:
    """Whether the two are one image."""
    found = sheet.likeness(past)
    return found.overall >= OVERALL and found.local >= LOCAL


def _ridges(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Ridges and valleys about the middle of the print, of equal contrast everywhere, `[wide, wide]`."""
    grey = pixels.astype(np.float32)
    lines = cv2.GaussianBlur(grey, (0, 0), _BAND[0]) - cv2.GaussianBlur(grey, (0, 0), _BAND[1])
    contrast = np.sqrt(cv2.GaussianBlur(lines * lines, (0, 0), _AREA))
    ridged = (contrast > _CONTRAST * np.percentile(contrast, 90)).astype(np.uint8)
    inside = cv2.erode(ridged, np.ones((_EDGE, _EDGE), np.uint8)) > 0
    if not inside.any():
        return np.zeros((GEOMETRY.wide, GEOMETRY.wide), np.float32)
    down, across = (float(np.median(where)) for where in np.nonzero(inside))
    even = np.where(inside, lines / (contrast + 1e-3), 0.0).astype(np.float32)
    middle = GEOMETRY.wide / 2
    matrix = np.array([[1 / _PITCH, 0, middle - across / _PITCH], [0, 1 / _PITCH, middle - down / _PITCH]])
    return np.asarray(cv2.warpAffine(even, matrix, (GEOMETRY.wide, GEOMETRY.wide)), np.float32)
