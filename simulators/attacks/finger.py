"""A fingerprint image that was captured once and is injected again, disguised or not."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.attacks._copies import Disguise, Image, noisy, recoded, rounded, untouched


def _noisy(image: Image, rng: np.random.Generator) -> Image:
    return noisy(image, rng, (4.0, 14.0))


def _recoded(image: Image, rng: np.random.Generator) -> Image:
    return recoded(image, rng, 35)


def _relit(image: Image, rng: np.random.Generator) -> Image:
    """Other contrast, brightness and tone curve, in fewer steps of grey."""
    tone = (image / 255.0) ** rng.uniform(0.7, 1.4) * 255.0
    steps = float(rng.choice([1, 4, 16]))
    return rounded(np.round((tone * rng.uniform(0.75, 1.1) + rng.uniform(-15, 15)) / steps) * steps)


def _blurred(image: Image, rng: np.random.Generator) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 1.3)), np.uint8)


def _shifted(image: Image, rng: np.random.Generator) -> Image:
    """Up to 24 pixels each way, not whole ones."""
    return _moved(image, 0.0, 1.0, rng.uniform(-24, 24, 2))


def _cropped(image: Image, rng: np.random.Generator) -> Image:
    """A border of up to a tenth on each side painted over."""
    height, width = image.shape
    top, bottom, left, right = (rng.uniform(0, 0.1, 4) * (height, height, width, width)).astype(int)
    cut = np.full_like(image, int(np.percentile(image, 95)))
    cut[top : height - bottom, left : width - right] = image[top : height - bottom, left : width - right]
    return cut


def _turned(image: Image, rng: np.random.Generator) -> Image:
    """Up to ten degrees about a middle, and shifted."""
    return _moved(image, rng.uniform(-10, 10), 1.0, rng.uniform(-12, 12, 2))


def _rescaled(image: Image, rng: np.random.Generator) -> Image:
    """Two per cent larger or smaller at most."""
    return _moved(image, 0.0, rng.uniform(0.98, 1.02), rng.uniform(-4, 4, 2))


def _everything(image: Image, rng: np.random.Generator) -> Image:
    """Turned, shifted, relit, noisy and encoded anew."""
    return _recoded(_noisy(_relit(_turned(image, rng), rng), rng), rng)


DISGUISES: Mapping[str, Disguise] = {
    "untouched": untouched,
    "noisy": _noisy,
    "recoded": _recoded,
    "relit": _relit,
    "blurred": _blurred,
    "shifted": _shifted,
    "cropped": _cropped,
    "turned": _turned,
    "rescaled": _rescaled,
    "everything": _everything,
}
"""What an attacker may do to an image so that it is not the same bytes: uint8 `[h, w]` in and out, the size kept."""


def _moved(image: Image, degrees: float, scale: float, shift: NDArray[np.float64]) -> Image:
    height, width = image.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    matrix[:, 2] += shift
    paper = int(np.percentile(image, 95))
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=paper)
    return np.asarray(moved, np.uint8)
