"""The noise of a server room's fans, for voices recorded where it is quiet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float64]
_KNEE_HZ = 60.0
_SLOPE = 1.5
"""Power falls with this power of the frequency: between pink (1) and brown (2), as air moved by fans does."""
_HUM_HZ = (50.0, 100.0, 150.0, 300.0)
_BLADES_HZ = (233.0, 466.0, 699.0, 1165.0)
"""Passing of blades: seven of them at 2,000 turns a minute, and harmonics."""
_TONES_SHARE = 0.25
"""Of the noise's power, how much is in tones."""
_PEAK = 0.98


def fans(count: int, rate: int, random: np.random.Generator) -> Sound:
    """Fan noise of mean power 1, float64 `[count]`: a falling spectrum, mains hum and the tones of the blades."""
    bins = np.fft.rfftfreq(count, 1.0 / rate)
    shape = np.maximum(bins, _KNEE_HZ) ** (-_SLOPE / 2.0)
    white = random.normal(size=bins.size) + 1j * random.normal(size=bins.size)
    air = np.fft.irfft(white * shape, n=count)
    time = np.arange(count) / rate
    tones = np.zeros(count)
    for rank, frequency in enumerate((*_HUM_HZ, *_BLADES_HZ)):
        drift = 1.0 + random.uniform(-0.01, 0.01)
        tones += np.sin(2 * np.pi * frequency * drift * time + random.uniform(0, 2 * np.pi)) / (1.0 + rank % 4)
    return _unit(_unit(air) * np.sqrt(1.0 - _TONES_SHARE) + _unit(tones) * np.sqrt(_TONES_SHARE))


def with_fans(pcm: NDArray[np.int16], rate: int, speech_power: float, snr_db: float, seed: int) -> NDArray[np.int16]:
    """The recording `[n]` with fans `snr_db` below speech of `speech_power` (full scale 1); softer if it would clip."""
    noise = fans(len(pcm), rate, np.random.default_rng(seed))
    mixed = pcm / 32768.0 + noise * np.sqrt(speech_power / 10 ** (snr_db / 10))
    loudest = float(np.abs(mixed).max(initial=0.0))
    if loudest > _PEAK:
        mixed *= _PEAK / loudest
    noisy: NDArray[np.int16] = np.rint(mixed * 32767.0).astype(np.int16)
    return noisy


def _unit(sound: Sound) -> Sound:
    power = float((sound**2).mean()) if sound.size else 0.0
    return sound / np.sqrt(power) if power > 0.0 else sound
