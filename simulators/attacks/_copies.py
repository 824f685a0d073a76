"""What may be done to any image that was captured once before it is injected again."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Disguise = Callable[[Image, np.random.Generator], Image]


def untouched(image: Image, _: np.random.Generator) -> Image:
    """The same values."""
    return image.copy()


def noisy(image: Image, rng: np.random.Generator, sigmas: tuple[float, float]) -> Image:
    """With white noise of a standard deviation within `sigmas`, in grey values."""
    return rounded(image + rng.uniform(*sigmas) * rng.standard_normal(image.shape))


def recoded(image: Image, rng: np.random.Generator, least: int) -> Image:
    """As JPEG of a quality from `least` to 90 gives it back; raises `ValueError` for what is no picture."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(least, 91))])
    if not done:
        raise ValueError("the picture cannot be written as JPEG")
    form = cv2.IMREAD_GRAYSCALE if image.ndim == 2 else cv2.IMREAD_COLOR
    return np.asarray(cv2.imdecode(data, form), np.uint8)


def rounded(values: NDArray[np.float64]) -> Image:
    """As bytes, cut off at 0 and 255."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
