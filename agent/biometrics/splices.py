"""Recordings that were cut and joined: pauses without any sound, and a background that changes from pause to pause.

A microphone in a room always hears something, and hears the same room before and after each word. What is joined on a
computer often has digital silence between the words, or each word brings the noise of the day that it was spoken on.
One even bed of noise under everything hides both; then only the digests of earlier captures tell, or the digits do.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.parameters import VOICE_RATE
from agent.biometrics.recording import Recording

SILENT_S: Final = 0.04
"""Length from which a pause of one and the same value, between sounds, is none that a microphone hears."""

FLOOR_RANGE_DB: Final = 8.0
"""From this much between the loudest and the quietest background of a recording's pauses it is not one room's."""

PAUSES: Final = 4
"""Pauses that a statement about the background needs."""

_FRAME = VOICE_RATE // 50
_BANDS_HZ = ((150.0, 1000.0), (1000.0, 3000.0), (3000.0, 7000.0))
_SMOOTHED = 3
_PAUSE_FRAMES = 8
_SPEECH_BELOW_LOUD_DB = 32.0
_LEAST_DB = -95.0


@dataclass(frozen=True)
class Joins:
    """What a recording's pauses show: the longest without any sound (seconds), and how far apart their noise is (dB).

    `range_db` is 0 where there are too few pauses to tell.
    """

    silent_s: float
    range_db: float

    @property
    def found(self) -> bool:
        """Whether the recording was put together."""
        return self.silent_s >= SILENT_S or self.range_db >= FLOOR_RANGE_DB


def examine(recording: Recording) -> Joins:
    """What the pauses of a recording show."""
    return Joins(_silence(recording), _range(recording.samples()))


def _silence(recording: Recording) -> float:
    """The longest run of equal samples after the first sound and before the last one, in seconds."""
    changes = np.flatnonzero(np.diff(recording.pcm))
    return float(np.diff(changes).max(initial=0)) / recording.rate


def _range(samples: NDArray[np.float32]) -> float:
    levels = _levels(samples)
    floors = [levels[start:end].min(axis=0) for start, end in _pauses(levels.max(axis=1))]
    if len(floors) < PAUSES:
        return 0.0
    return float(np.median(np.ptp(np.array(floors), axis=0)))


def _levels(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Decibels of each band in each 20 ms, `[frames, 3]`, smoothed over three frames."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.abs(np.fft.rfft(frames * np.hanning(_FRAME), axis=1)) ** 2 / _FRAME**2
    hertz = np.fft.rfftfreq(_FRAME, 1 / VOICE_RATE)
    bands = np.array([power[:, (hertz >= low) & (hertz < high)].sum(axis=1) for low, high in _BANDS_HZ]).T
    if len(bands) >= _SMOOTHED:
        kernel = np.ones(_SMOOTHED) / _SMOOTHED
        bands = np.array([np.convolve(band, kernel, "same") for band in bands.T]).T
    return np.asarray(np.maximum(10 * np.log10(bands + 1e-12), _LEAST_DB))


def _pauses(loudness: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Where, between the first sound and the last one, nothing is said for 160 ms or more (frames)."""
    if not len(loudness):
        return []
    spoken = np.flatnonzero(loudness > np.percentile(loudness, 95) - _SPEECH_BELOW_LOUD_DB)
    return [(start + 1, end) for start, end in pairwise(spoken.tolist()) if end - start > _PAUSE_FRAMES]
