"""Power of a recording in frequency bands, and each band's noise floor."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters

FRAME = parameters.VOICE_RATE // 50
"""Samples between two frames: 20 ms."""
BANDS = 20
EDGES_HZ = (100.0, 7600.0)
_WINDOW = 512
_SMOOTHED = 3
_PERCENTILE = 15
_BIAS = 1.25
"""Mean of stationary noise over the 15th percentile of its power, smoothed over three frames and a band."""
_LEAST = 1e-10
_TELEPHONE_HZ = 4200.0
_EMPTY = 10**-5.0
"""Share of a voice's power above 4.2 kHz below which a channel let nothing through; a voice has a thousandth there."""

Bands = NDArray[np.float32]


def band_power(samples: NDArray[np.float32]) -> Bands:
    """Power per 20 ms in 20 bands, equally wide in mel from 100 Hz to 7.6 kHz, as `[frames, 20]`; full scale is 1."""
    count = len(samples) // FRAME
    window, bands = _window(), _bands()
    before = (_WINDOW - FRAME) // 2
    padded = np.pad(samples[: count * FRAME], (before, _WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::FRAME][:count]
    spectrum = np.fft.rfft(frames * window, axis=1)
    scale = 2.0 / (_WINDOW * float(window @ window))
    power: Bands = ((spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ bands) * np.float32(scale)
    return np.maximum(power, _LEAST)


def noise_floor(power: Bands) -> NDArray[np.float32]:
    """Power of the stationary noise in each band `[20]`, over the frames that carry any sound at all."""
    smooth = smoothed(power)
    sounding = smooth[is_sounding(smooth)]
    if not len(sounding):
        return np.full(BANDS, _LEAST, np.float32)
    floor: NDArray[np.float32] = (_BIAS * np.percentile(sounding, _PERCENTILE, axis=0)).astype(np.float32)
    return floor


def is_sounding(power: Bands) -> NDArray[np.bool_]:
    """Which frames `[frames]` hold anything: a muted microphone sends zeros, which are not the noise of the place."""
    sounding: NDArray[np.bool_] = power.sum(axis=1) > 2 * BANDS * _LEAST
    return sounding


def smoothed(power: Bands) -> Bands:
    """Each band averaged over three neighbouring frames."""
    padded = np.pad(power, ((1, 1), (0, 0)), mode="edge")
    average: Bands = (padded[:-2] + padded[1:-1] + padded[2:]) / np.float32(_SMOOTHED)
    return average


@lru_cache(maxsize=1)
def _window() -> NDArray[np.float32]:
    return np.hanning(_WINDOW).astype(np.float32)


@lru_cache(maxsize=1)
def _edges() -> NDArray[np.float64]:
    """Limits of the bands in Hz, `[21]`."""
    low, high = (1127.0 * np.log1p(edge / 700.0) for edge in EDGES_HZ)
    edges: NDArray[np.float64] = 700.0 * np.expm1(np.linspace(low, high, BANDS + 1) / 1127.0)
    return edges


@lru_cache(maxsize=1)
def _bands() -> NDArray[np.float32]:
    """Which of the 257 lines of the spectrum belong to which band."""
    edges = _edges()
    lines = np.fft.rfftfreq(_WINDOW, 1 / parameters.VOICE_RATE)[:, np.newaxis]
    return ((lines >= edges[:-1]) & (lines < edges[1:])).astype(np.float32)


def telephone_band(spoken: NDArray[np.float32]) -> bool:
    """Whether speech of this power in each band `[20]` was cut off at 4 kHz or below."""
    above = _edges()[:-1] > _TELEPHONE_HZ
    return float(spoken[above].sum()) < _EMPTY * float(spoken.sum())
