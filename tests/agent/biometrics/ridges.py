"""A small ridge generator for tests: oriented filtering of noise, then presses with their own pose and noise."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from hal import FingerprintImage

_SIDE = 400
_DIRECTIONS = 24
_PERIOD = 9.0


@cache
def _ridges(finger: int) -> NDArray[np.float32]:
    """The finger's skin at 500 dpi: ridges as -1..1, grown from noise along a loop's orientation field."""
    random = np.random.default_rng(finger)
    y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32)
    core, delta = random.uniform(170, 230, 2), (random.uniform(60, 110), random.uniform(330, 380))
    angle = 0.5 * (np.arctan2(y - core[1], x - core[0]) - np.arctan2(y - delta[1], x - delta[0])) + random.uniform(0, 3)
    index = np.round(np.mod(angle, np.pi) / np.pi * _DIRECTIONS).astype(int) % _DIRECTIONS
    skin = random.normal(0, 1, (_SIDE, _SIDE)).astype(np.float32)
    kernels = [
        cv2.getGaborKernel((25, 25), 4.5, np.pi * k / _DIRECTIONS + np.pi / 2, _PERIOD, 1.0, 0.0)
        for k in range(_DIRECTIONS)
    ]
    for _ in range(6):
        layers = np.stack(
            [cv2.filter2D(skin, cv2.CV_32F, (kernel - kernel.mean()).astype(np.float32)) for kernel in kernels]
        )
        skin = np.tanh(2.0 * np.take_along_axis(layers, index[np.newaxis], axis=0)[0] / layers.std())
    return skin.astype(np.float32)


def impression(finger: int, press: int, height: int = 374, width: int = 388, dpi: int = 500) -> FingerprintImage:
    """One press of a finger: turned, shifted, with noise, on a white ground; dark ridges."""
    random = np.random.default_rng(1000 * finger + press)
    scale = dpi / 500
    turn = cv2.getRotationMatrix2D((_SIDE / 2, _SIDE / 2), random.uniform(-8, 8), scale)
    turn[:, 2] += np.array([width, height]) / 2 - _SIDE / 2 + random.uniform(-8, 8, 2)
    skin = cv2.warpAffine(_ridges(finger), turn, (width, height), flags=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:height, 0:width]
    radius = np.hypot((x - width / 2) / (0.38 * scale * _SIDE), (y - height / 2) / (0.45 * scale * _SIDE))
    touch = np.clip((1.0 - radius) * 8, 0, 1)
    grey = 240 - touch * (120 - 100 * skin) + random.normal(0, 6, skin.shape)
    return FingerprintImage(np.clip(grey, 0, 255).astype(np.uint8), dpi, press, 0)
