"""Log mel energies of the telephone band: what the digit network hears, alike for 8 kHz and 16 kHz microphones."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

RATE: Final = 8_000
BINS: Final = 40
HOP: Final = 80
"""Samples between two frames: 10 ms."""

_WINDOW: Final = 200
_FFT: Final = 256
_BAND_HZ: Final = (100.0, 3_800.0)
_FLOOR: Final = 1e-7
_SPEECH_NEPERS: Final = 6.9
"""A frame within 30 dB of the loudest counts as speech when the channel is taken out."""

_SCALE: Final = 2.5
_CLIP: Final = 3.0


def log_mel(samples: NDArray[np.float32], warp: float = 1.0) -> NDArray[np.float32]:
    """Normalised log mel energies `[frames, 40]` of at least one window of sound in -1..1 at 8 kHz.

    Each bin has its mean over the speech frames removed, which takes out level and the microphone's colour. `warp`
    stretches the frequency axis as another length of the vocal tract does (training only).
    """
    count = max(0, 1 + (len(samples) - _WINDOW) // HOP)
    if count == 0:
        return np.zeros((0, BINS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::HOP][:count]
    spectrum = np.abs(np.fft.rfft(frames * _window(), _FFT)) ** 2
    logs = np.log(spectrum.astype(np.float32) @ _filters(warp) + _FLOOR)
    loudness = logs.mean(axis=1)
    logs -= logs[loudness > loudness.max() - _SPEECH_NEPERS].mean(axis=0)
    scaled: NDArray[np.float32] = np.clip(logs / _SCALE, -_CLIP, _CLIP).astype(np.float32)
    return scaled


@cache
def _window() -> NDArray[np.float32]:
    return np.hanning(_WINDOW).astype(np.float32)


@cache
def _filters(warp: float) -> NDArray[np.float32]:
    """Triangles `[129, 40]`, their centres evenly spaced in mel (O'Shaughnessy's formula), each of area one."""
    low, high = (2595.0 * np.log10(1.0 + hertz / 700.0) for hertz in _BAND_HZ)
    edges = 700.0 * (10.0 ** (np.linspace(low, high, BINS + 2) / 2595.0) - 1.0) / warp
    hertz = np.arange(_FFT // 2 + 1) * (RATE / _FFT)
    rising = (hertz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    normalised: NDArray[np.float32] = (triangles / np.maximum(triangles.sum(axis=0), 1e-6)).astype(np.float32)
    return normalised
