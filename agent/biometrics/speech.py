"""Where speech is in a recording, and how loud, long, clean and wide in frequency it is.

Speech stands out of stationary noise in a few bands at a time, so every 20 ms frame is scored by how far its bands rise
above their own noise floors, on average: the hum of fans moves the floors and not the score. Loudness alone mistakes
fans for speech below 15 dB of signal-to-noise ratio (docs/biometrics/voice.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._bands import FRAME, Bands, band_power, is_sounding, noise_floor, smoothed, telephone_band

_FLOOR_DB = -90.0
_RISE_LIMIT_DB = 15.0
_RISE_DB = 2.0
_BELOW_PEAK_DB = 38.0
_BRIDGE = 12
_PAUSE = 15
_QUIET_FRAMES = 10


@dataclass(frozen=True, eq=False)
class Speech:
    """Speech cut out of a recording: `samples` float32 at 16 kHz, pauses over 0.6 s shortened.

    `seconds` is net speech, pauses of up to a quarter second included. `snr_db` is the ratio of the speech's to the
    noise's power between 100 Hz and 7.6 kHz, `level_dbfs` the level of the speech in the same range, `narrow` tells
    that nothing is heard above 4 kHz, as on a telephone.
    """

    samples: NDArray[np.float32] = field(repr=False)
    seconds: float
    snr_db: float
    level_dbfs: float
    narrow: bool


def find(samples: NDArray[np.float32]) -> Speech:
    """The speech in float32 `[n]` at 16 kHz; possibly none (`seconds` 0)."""
    power = band_power(samples)
    if not len(power):
        return Speech(samples[:0], 0.0, 0.0, _FLOOR_DB, narrow=False)
    floor = noise_floor(power)
    active = _active(power, floor)
    if not active.any():
        return Speech(samples[:0], 0.0, 0.0, _decibels(power.sum(axis=1).max()), narrow=False)
    spoken, noise = power[active].mean(axis=0), _noise(power, floor, active)
    limit = int(parameters.VOICE_SECONDS_MAXIMUM * parameters.VOICE_RATE)
    frames = samples[: len(power) * FRAME].reshape(-1, FRAME)
    return Speech(
        samples=frames[_widen(_bridge(active), _PAUSE)].reshape(-1)[:limit],
        seconds=float(_bridge(active).sum()) * FRAME / parameters.VOICE_RATE,
        snr_db=_decibels(max(float(spoken.sum() - noise.sum()), 1e-12)) - _decibels(noise.sum()),
        level_dbfs=_decibels(spoken.sum()),
        narrow=telephone_band(spoken),
    )


def _active(power: Bands, floor: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which frames hold speech: their bands rise above the floor, and they are not far below the loudest."""
    rise = np.clip(10 * np.log10(smoothed(power) / floor), 0.0, _RISE_LIMIT_DB).mean(axis=1)
    level = power.sum(axis=1)
    active: NDArray[np.bool_] = (rise > _RISE_DB) & (level > np.percentile(level, 95) * 10 ** (-_BELOW_PEAK_DB / 10))
    return active


def _noise(power: Bands, floor: NDArray[np.float32], active: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Power of the noise in each band `[20]`: what is heard away from the speech, or the floor where nothing is."""
    away = is_sounding(power) & ~_widen(active, 3)
    if away.sum() < _QUIET_FRAMES:
        return floor
    noise: NDArray[np.float32] = power[away].mean(axis=0)
    return noise


def _decibels(power: float) -> float:
    return float(10 * np.log10(max(power, 10 ** (_FLOOR_DB / 10))))


def _bridge(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Also true in gaps of up to a quarter second between active frames."""
    bridged = active.copy()
    for start, end in pairwise(np.flatnonzero(active)):
        if end - start <= _BRIDGE:
            bridged[start:end] = True
    return bridged


def _widen(active: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Also true in the `by` frames before and after active frames."""
    return np.convolve(active, np.ones(2 * by + 1))[by : by + len(active)] > 0
