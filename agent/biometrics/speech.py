"""Where speech is in a recording, by energy, and how clean it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters

_FRAME = parameters.VOICE_RATE // 50
_FLOOR_DB = -65.0
_ABOVE_NOISE_DB = 9.0
_ABOVE_NOISE_SHARE = 0.4
_BELOW_PEAK_DB = 32.0
_BRIDGE = 12
_PAD = 5


@dataclass(frozen=True, eq=False)
class Speech:
    """Speech cut out of a recording: `samples` float32 at 16 kHz, pauses over a quarter second shortened.

    `seconds` is net speech, `snr_db` the ratio of loud to quiet 20 ms frames (over-reads a true SNR by about 6 dB),
    `level_dbfs` the level of the loudest twentieth of the frames.
    """

    samples: NDArray[np.float32] = field(repr=False)
    seconds: float
    snr_db: float
    level_dbfs: float


def find(samples: NDArray[np.float32]) -> Speech:
    """The speech in float32 `[n]` at 16 kHz; possibly none (`seconds` 0)."""
    count = len(samples) // _FRAME
    if count == 0:
        return Speech(samples[:0], 0.0, 0.0, _FLOOR_DB)
    frames = samples[: count * _FRAME].reshape(count, _FRAME)
    decibels = 10 * np.log10(np.maximum((frames**2).mean(axis=1), 1e-10))
    loud, quiet = float(np.percentile(decibels, 95)), max(float(np.percentile(decibels, 10)), -90.0)
    above = min(_ABOVE_NOISE_DB, _ABOVE_NOISE_SHARE * (loud - quiet))
    gate = max(_FLOOR_DB, quiet + above, loud - _BELOW_PEAK_DB)
    active = decibels > gate
    kept = _widen(_bridge(active))
    limit = int(parameters.VOICE_SECONDS_MAXIMUM * parameters.VOICE_RATE)
    return Speech(
        samples=frames[kept].reshape(-1)[:limit],
        seconds=float(_bridge(active).sum()) * _FRAME / parameters.VOICE_RATE,
        snr_db=loud - quiet,
        level_dbfs=loud,
    )


def _bridge(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Also true in gaps of up to a quarter second between active frames."""
    bridged = active.copy()
    for start, end in pairwise(np.flatnonzero(active)):
        if end - start <= _BRIDGE:
            bridged[start:end] = True
    return bridged


def _widen(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Also true in the tenth of a second before and after active frames."""
    return np.convolve(active, np.ones(2 * _PAD + 1), mode="same") > 0
