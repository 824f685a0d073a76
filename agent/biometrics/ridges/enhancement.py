"""Ridges made visible: a bank of log-Gabor filters, of which each place takes the one along its smoothed direction.

The filters and their use for fingerprints: Wang, Li, Huang and Feng, "Design and implementation of log-Gabor filter in
fingerprint image enhancement", Pattern Recognition Letters 29(3), 2008; the direction is that of the filters' energies
as a tensor, so that no gradient of the noisy picture is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.ridges.block import CELLS_MOST, SIDE, RidgeMap, write

Floats = NDArray[np.float32]

_DIRECTIONS = 12
_PERIOD = 4.5
"""Distance of ridges in pixels at 250 dpi: 0.46 mm."""
_PERIOD_SPREAD = 0.43
"""Standard deviation of the logarithm of the filters' frequencies: adults' periods lie within it."""
_DIRECTION_SPREAD = 0.9 * np.pi / _DIRECTIONS
_LEVEL, _CONTRAST = 5.0, 7.0
"""Reach in pixels of the local level and of the local contrast."""
_NOISE = 4.0
"""Grey levels of contrast that are taken for the sensor's noise."""
_SMOOTH = 6.0
"""Reach in pixels over which the direction is smoothed: 1.2 mm."""
_ENERGY = (0.05, 0.20)
_COHERENCE = (0.10, 0.50)
"""Between these values of the filters' energy and of the agreement of directions a place's weight rises from 0 to 1."""
_SPECK = 9
"""Side in pixels of the smallest patch that counts as ridges."""
_MARGIN = 16


@dataclass(frozen=True, eq=False)
class _Responses:
    """Answers of the bank complex64 `[directions, height, width]`, their `energy` and its double-angle `tensor`."""

    filtered: NDArray[np.complex64]
    energy: Floats
    tensor: NDArray[np.complex64]


def describe(pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The ridge block of uint8 `[height, width]` at 500 dpi with dark ridges; empty where no ridges are seen."""
    import cv2

    half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32)
    contrast = _flattened(half)
    height, width = half.shape
    responses = _respond(contrast)
    tensor, energy = _smoothed(responses)
    ridges = _along(responses.filtered, np.asarray(np.angle(tensor) / 2, np.float32))
    weight = _weight(np.abs(tensor), energy)
    rows, columns = -(-height // SIDE), -(-width // SIDE)
    padding = ((0, rows * SIDE - height), (0, columns * SIDE - width))
    cells = np.pad(weight, padding).reshape(rows, SIDE, columns, SIDE).mean(axis=(1, 3))
    return _cut(np.pad(ridges, padding), np.asarray(cells, np.float32))


def _flattened(half: Floats) -> Floats:
    """The picture with its local level and contrast made equal, ridges positive."""
    import cv2

    level = half - cv2.GaussianBlur(half, (0, 0), _LEVEL)
    contrast = np.sqrt(cv2.GaussianBlur(level * level, (0, 0), _CONTRAST))
    return np.asarray(-level / (contrast + _NOISE), np.float32)


def _respond(picture: Floats) -> _Responses:
    import cv2

    height, width = picture.shape
    size = tuple(cv2.getOptimalDFTSize(side + _MARGIN) for side in (height, width))
    below, beside = size[0] - height, size[1] - width
    padded = cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_REFLECT_101)
    spectrum = cv2.dft(padded, flags=cv2.DFT_COMPLEX_OUTPUT)
    filtered = np.empty((_DIRECTIONS, height, width), np.complex64)
    energy = np.zeros((height, width), np.float32)
    tensor = np.zeros((height, width), np.complex64)
    for index, kernel in enumerate(_bank(*size)):
        answer = cv2.dft(spectrum * kernel[:, :, np.newaxis], flags=cv2.DFT_INVERSE | cv2.DFT_SCALE)
        filtered[index] = np.ascontiguousarray(answer[:height, :width]).view(np.complex64)[:, :, 0]
        strength = filtered[index].real ** 2 + filtered[index].imag ** 2
        energy += strength
        tensor += strength * np.complex64(np.exp(2j * np.pi * index / _DIRECTIONS))
    return _Responses(filtered, energy, tensor)


@lru_cache(maxsize=4)
def _bank(height: int, width: int) -> tuple[Floats, ...]:
    """Half-plane filters for spectra of this size: their answers are complex, with the phase of the ridges."""
    down, right = np.fft.fftfreq(height)[:, np.newaxis], np.fft.fftfreq(width)[np.newaxis, :]
    frequency = np.maximum(np.hypot(down, right), 1e-6)
    radial = np.exp(-0.5 * (np.log(frequency * _PERIOD) / _PERIOD_SPREAD) ** 2)
    angle = np.arctan2(down, right)
    kernels = []
    for index in range(_DIRECTIONS):
        away = (angle - np.pi * index / _DIRECTIONS + np.pi) % (2 * np.pi) - np.pi
        kernels.append((radial * np.exp(-0.5 * (away / _DIRECTION_SPREAD) ** 2)).astype(np.float32))
    return tuple(kernels)


def _smoothed(responses: _Responses) -> tuple[NDArray[np.complex64], Floats]:
    import cv2

    real, imaginary, energy = (
        cv2.GaussianBlur(np.ascontiguousarray(plane), (0, 0), _SMOOTH)
        for plane in (responses.tensor.real, responses.tensor.imag, responses.energy)
    )
    return (real + 1j * imaginary).astype(np.complex64), np.asarray(energy, np.float32)


def _along(filtered: NDArray[np.complex64], across: Floats) -> Floats:
    """Cosine of the ridges' phase at each place, between the two filters nearest the direction `across` its ridges."""
    position = (across % np.pi) * (_DIRECTIONS / np.pi)
    lower = np.floor(position).astype(np.intp)
    share = (position - lower).astype(np.float32)
    lower %= _DIRECTIONS
    upper = (lower + 1) % _DIRECTIONS
    low = np.take_along_axis(filtered, lower[np.newaxis], axis=0)[0]
    high = np.take_along_axis(filtered, upper[np.newaxis], axis=0)[0]
    turned = np.where(upper == 0, np.conj(high), high)
    answer = (1 - share) * low + share * turned
    return np.asarray(answer.real / (np.abs(answer) + 1e-6), np.float32)


def _weight(aligned: Floats, energy: Floats) -> Floats:
    import cv2

    weight = _ramp(energy, *_ENERGY) * _ramp(aligned / (energy + 1e-6), *_COHERENCE)
    seen = cv2.morphologyEx((weight > 0.05).astype(np.uint8), cv2.MORPH_OPEN, np.ones((_SPECK, _SPECK), np.uint8))
    return np.asarray(weight * seen, np.float32)


def _ramp(values: Floats, low: float, high: float) -> Floats:
    return np.asarray(np.clip((values - low) / (high - low), 0.0, 1.0), np.float32)


def _cut(ridges: Floats, weight: Floats) -> NDArray[np.int16]:
    """The block of the rectangle that holds all cells with weight, or of as much of its middle as a block may hold."""
    seen = weight >= 0.5 / 15
    if not seen.any():
        return np.zeros(0, np.int16)
    (top, bottom), (left, right) = (
        (int(np.flatnonzero(seen.any(axis=axis))[edge]) for edge in (0, -1)) for axis in (1, 0)
    )
    rows, columns = bottom - top + 1, right - left + 1
    while rows * columns > CELLS_MOST:
        if rows >= columns:
            top, rows = top + rows % 2, rows - 1
        else:
            left, columns = left + columns % 2, columns - 1
    cells = weight[top : top + rows, left : left + columns]
    inner = ridges[top * SIDE : (top + rows) * SIDE, left * SIDE : (left + columns) * SIDE]
    return write(RidgeMap(top, left, inner, cells)) if (cells >= 0.5 / 15).any() else np.zeros(0, np.int16)
