"""Fans of a server room as sound: air flow with a sloping spectrum, tones of the blades, slow modulation. Seeded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RATE = 16_000
_FRAME = 320
_SPEECH_BELOW_PEAK = 1e-3
_LOWEST_HZ = 30.0


@dataclass(frozen=True)
class Fan:
    """`slope`: exponent of the air flow's power over frequency (0 white, 1 pink, 2 brown). `blade_hz`: rate at which
    blades pass; `tonal`: share of the power in the blade tone and its harmonics; `sway`: depth of the modulation."""

    slope: float
    blade_hz: float
    tonal: float
    sway: float


FANS = {
    "flat servers": Fan(slope=0.3, blade_hz=1480.0, tonal=0.35, sway=0.1),
    "rack": Fan(slope=1.0, blade_hz=690.0, tonal=0.25, sway=0.2),
    "air conditioner": Fan(slope=1.8, blade_hz=118.0, tonal=0.15, sway=0.25),
    "air flow": Fan(slope=0.7, blade_hz=400.0, tonal=0.0, sway=0.0),
}


def fan_noise(fan: Fan, count: int, seed: int) -> NDArray[np.float64]:
    """`count` samples at 16 kHz of power one."""
    random = np.random.default_rng(seed)
    time = np.arange(count) / _RATE
    sway = 1.0 + fan.sway * np.sin(2 * np.pi * random.uniform(0.3, 1.2) * time + random.uniform(0, 6))
    sound = np.sqrt(1 - fan.tonal) * _flow(fan.slope, count, random) + np.sqrt(fan.tonal) * _tones(fan, time, random)
    swaying = sway * sound
    return swaying / np.sqrt((swaying**2).mean())


def _flow(slope: float, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    frequencies = np.fft.rfftfreq(count, 1 / _RATE)
    gain = np.where(frequencies < _LOWEST_HZ, 0.0, np.maximum(frequencies, _LOWEST_HZ) ** (-slope / 2))
    flow = np.fft.irfft(np.fft.rfft(random.normal(size=count)) * gain, count)
    return flow / np.sqrt((flow**2).mean())


def _tones(fan: Fan, time: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Two fans a little out of step, four harmonics each, the speed drifting by half a percent."""
    tones = np.zeros_like(time)
    for speed in (1.0, random.uniform(1.003, 1.015)):
        drift = 1.0 + 0.005 * np.sin(2 * np.pi * random.uniform(0.1, 0.5) * time + random.uniform(0, 6))
        phase = 2 * np.pi * np.cumsum(speed * fan.blade_hz * drift) / _RATE
        for harmonic in range(1, 5):
            tones += np.sin(harmonic * phase + random.uniform(0, 6)) / harmonic
    return tones / np.sqrt((tones**2).mean())


def speech_power(pcm: NDArray[np.int16]) -> float:
    """Mean power of the 20 ms frames within 30 dB of the loudest: the speech of a clean recording."""
    frames = pcm[: len(pcm) // _FRAME * _FRAME].astype(np.float64).reshape(-1, _FRAME)
    power = (frames**2).mean(axis=1)
    return float(power[power > _SPEECH_BELOW_PEAK * power.max()].mean())


def in_noise(pcm: NDArray[np.int16], fan: Fan, snr_db: float, seed: int) -> NDArray[np.int16]:
    """A clean recording at 16 kHz in the noise of a fan, at this ratio of the speech's to the noise's power."""
    noise = fan_noise(fan, len(pcm), seed) * np.sqrt(speech_power(pcm) * 10 ** (-snr_db / 10))
    mixed = pcm + noise
    return np.rint(mixed * min(1.0, 32_000 / np.abs(mixed).max())).astype(np.int16)
