"""Camera frames that were captured once and are injected again, disguised or not."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from simulators.attacks._copies import Disguise, Image, noisy, recoded, rounded, untouched


def _noisy(frame: Image, rng: np.random.Generator) -> Image:
    return noisy(frame, rng, (2.0, 8.0))


def _recoded(frame: Image, rng: np.random.Generator) -> Image:
    return recoded(frame, rng, 40)


def _relit(frame: Image, rng: np.random.Generator) -> Image:
    tone = (frame / 255.0) ** rng.uniform(0.8, 1.25) * 255.0
    return rounded(tone * rng.uniform(0.85, 1.1) + rng.uniform(-10, 10))


def _moved(frame: Image, rng: np.random.Generator) -> Image:
    """Shifted by up to 3 % of the height, turned by up to two degrees, 2 % larger or smaller."""
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-2, 2), rng.uniform(0.98, 1.02))
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * height
    moved = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _everything(frame: Image, rng: np.random.Generator) -> Image:
    """Moved, relit, noisy and encoded anew."""
    return _recoded(_noisy(_relit(_moved(frame, rng), rng), rng), rng)


DISGUISES: Mapping[str, Disguise] = {
    "untouched": untouched,
    "noisy": _noisy,
    "recoded": _recoded,
    "relit": _relit,
    "moved": _moved,
    "everything": _everything,
}
"""What an attacker may do to a frame so that it is not the same bytes: uint8 `[h, w, 3]` in and out, the size kept."""
