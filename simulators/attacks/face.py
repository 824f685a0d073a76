"""Camera frames that were captured once and are injected again, disguised or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Disguise = Callable[[Image, np.random.Generator], Image]


def _untouched(frame: Image, _: np.random.Generator) -> Image:
    return frame.copy()


def _noisy(frame: Image, rng: np.random.Generator) -> Image:
    return _byte(frame + rng.uniform(2.0, 8.0) * rng.standard_normal(frame.shape))


def _recoded(frame: Image, rng: np.random.Generator) -> Image:
    """JPEG of quality 40 to 90."""
    done, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 91))])
    if not done:
        raise ValueError("the picture cannot be written as JPEG")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _relit(frame: Image, rng: np.random.Generator) -> Image:
    tone = (frame / 255.0) ** rng.uniform(0.8, 1.25) * 255.0
    return _byte(tone * rng.uniform(0.85, 1.1) + rng.uniform(-10, 10))


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
    "untouched": _untouched,
    "noisy": _noisy,
    "recoded": _recoded,
    "relit": _relit,
    "moved": _moved,
    "everything": _everything,
}
"""What an attacker may do to a frame so that it is not the same bytes: uint8 `[h, w, 3]` in and out, the size kept."""


def _byte(values: NDArray[np.float64]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
