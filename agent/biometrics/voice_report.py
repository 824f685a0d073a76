"""A closer look at a recording, for enrolment trouble and field diagnosis: pitch, bandwidth, hum, noise, by librosa.

librosa and numba take some 200 MB and seconds to start (docs/decisions/0005-librosa-outside-the-daemon.md): call this
from a command that ends soon, never from the daemon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.errors import ModelError
from agent.biometrics.parameters import VOICE_RATE
from agent.biometrics.recording import Recording

_WINDOW = 1024
_HOP = 256
_PITCH_HZ = (60.0, 400.0)
_STEADY_OCTAVES = 0.04
_HUM_HZ = 80.0
_SILENCE_DB = 35


@dataclass(frozen=True)
class VoiceReport:
    """Figures over the parts of a recording that are not silent.

    `pitch_hz` is the median fundamental where it is steady, `rolloff_hz` the frequency below which 95 % of the energy
    lies, `hum_share` 0..1 the energy below 80 Hz, `flatness` 0 (tonal) to 1 (noise). `advice` is for the person.
    """

    seconds: float
    sounding_seconds: float
    pitch_hz: float = 0.0
    rolloff_hz: float = 0.0
    hum_share: float = 0.0
    flatness: float = 0.0
    advice: tuple[str, ...] = ()


def examine(recording: Recording) -> VoiceReport:
    """Figures and advice; raises `ModelError` where librosa is not installed."""
    librosa = _librosa()
    samples = recording.samples()
    parts = librosa.effects.split(samples, top_db=_SILENCE_DB) if samples.any() else ()
    sounding = np.concatenate([samples[:0], *(samples[start:end] for start, end in parts)])
    if len(sounding) < 2 * _WINDOW:
        return VoiceReport(recording.seconds, 0.0, advice=("Nothing was heard: check the microphone.",))
    return _measure(librosa, recording.seconds, sounding)


def _librosa() -> Any:
    try:
        import librosa
    except ImportError as error:
        raise ModelError(f"librosa does not load: {error}") from None
    return librosa


def _measure(librosa: Any, seconds: float, sounding: NDArray[np.float32]) -> VoiceReport:
    spectrum = np.abs(librosa.stft(sounding, n_fft=_WINDOW, hop_length=_HOP))
    power = (spectrum**2).sum(axis=1)
    frequencies = librosa.fft_frequencies(sr=VOICE_RATE, n_fft=_WINDOW)
    rolloff = float(frequencies[np.searchsorted(np.cumsum(power), 0.95 * power.sum())])
    hum = float(power[frequencies < _HUM_HZ].sum() / power.sum())
    flatness = float(np.median(librosa.feature.spectral_flatness(S=spectrum)))
    return VoiceReport(
        seconds=seconds,
        sounding_seconds=len(sounding) / VOICE_RATE,
        pitch_hz=_pitch(librosa, sounding),
        rolloff_hz=rolloff,
        hum_share=hum,
        flatness=flatness,
        advice=_advice(rolloff, hum, flatness),
    )


def _pitch(librosa: Any, sounding: NDArray[np.float32]) -> float:
    low, high = _PITCH_HZ
    track = librosa.yin(sounding, fmin=low, fmax=high, sr=VOICE_RATE, frame_length=2 * _WINDOW, hop_length=_HOP)
    steady = np.abs(np.diff(np.log2(track))) < _STEADY_OCTAVES
    return float(np.median(track[1:][steady])) if steady.any() else 0.0


def _advice(rolloff: float, hum: float, flatness: float) -> tuple[str, ...]:
    advice = []
    if hum > 0.2:
        advice.append("Mains hum or rumble is strong: use another socket or cable, or a stand for the microphone.")
    elif rolloff < 400.0:
        advice.append("The sound is muffled: uncover the microphone and speak towards it.")
    if flatness > 0.3:
        advice.append("Mostly noise is heard: find a quieter place, or turn the gain of the microphone down.")
    return tuple(advice)
