"""Recordings that somebody else made of a person: disguised, played back by a loudspeaker, cut up and joined again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, resample, sosfilt

RATE = 16_000
Sound = NDArray[np.float64]
"""Mono at 16 kHz, -1 to 1, `[n]`."""

Disguise = Callable[[Sound, np.random.Generator], Sound]


def _untouched(sound: Sound, _: np.random.Generator) -> Sound:
    return sound.copy()


def _noisy(sound: Sound, rng: np.random.Generator) -> Sound:
    """White noise 15 to 30 dB below the sound."""
    level = float(sound.std()) * 10 ** (-rng.uniform(15, 30) / 20)
    return np.asarray(sound + level * rng.standard_normal(sound.size))


def _louder(sound: Sound, rng: np.random.Generator) -> Sound:
    """Other volume, 20 dB down to 6 dB up, in 16 bits."""
    gain = 10 ** (rng.uniform(-20, 6) / 20)
    return np.asarray(np.clip(np.rint(sound * gain * 32767), -32768, 32767) / 32767)


def _companded(sound: Sound, _: np.random.Generator) -> Sound:
    """Eight bits by the mu-law of ITU-T G.711."""
    peak = max(1e-9, float(np.abs(sound).max()))
    code = np.rint(127 * np.sign(sound) * np.log1p(255 * np.abs(sound) / peak) / np.log(256))
    return np.asarray(np.sign(code) * (256 ** (np.abs(code) / 127) - 1) / 255 * peak)


def _telephoned(sound: Sound, rng: np.random.Generator) -> Sound:
    """300 to 3400 Hz, companded."""
    return _companded(_band(sound, 300.0, 3400.0), rng)


def _delayed(sound: Sound, rng: np.random.Generator) -> Sound:
    """Up to a second of silence before it."""
    return np.concatenate([1e-4 * rng.standard_normal(int(rng.uniform(0.01, 1.0) * RATE)), sound])


def _trimmed(sound: Sound, rng: np.random.Generator) -> Sound:
    """Up to a tenth off each end."""
    start, end = (rng.uniform(0.0, 0.1, 2) * sound.size).astype(int)
    return sound[start : sound.size - end].copy()


def _sped(sound: Sound, rng: np.random.Generator) -> Sound:
    """Resampled: up to 1 % faster or slower."""
    return np.asarray(resample(sound, round(sound.size * rng.uniform(0.99, 1.01))))


def _everything(sound: Sound, rng: np.random.Generator) -> Sound:
    """Trimmed, delayed, companded, noisy, at another volume."""
    return _louder(_noisy(_companded(_delayed(_trimmed(sound, rng), rng), rng), rng), rng)


DISGUISES: Mapping[str, Disguise] = {
    "untouched": _untouched,
    "noisy": _noisy,
    "louder": _louder,
    "companded": _companded,
    "telephoned": _telephoned,
    "delayed": _delayed,
    "trimmed": _trimmed,
    "sped": _sped,
    "everything": _everything,
}
"""What an attacker may do to a recording before injecting it in place of the microphone."""


def played_back(sound: Sound, rng: np.random.Generator) -> Sound:
    """Heard from a small loudspeaker in a room: no lows, a resonance, reverberation of 0.15 to 0.5 s, room noise."""
    spoken = _band(sound, rng.uniform(150, 350), rng.uniform(5000, 7500))
    boxy = spoken + 0.4 * _band(spoken, 700.0, 1400.0)
    seconds = rng.uniform(0.15, 0.5)
    time = np.arange(int(seconds * RATE)) / RATE
    tail = rng.standard_normal(time.size) * np.exp(-6.9 * time / seconds)
    tail *= rng.uniform(0.25, 0.6) / np.linalg.norm(tail)
    tail[0] = 1.0
    heard = fftconvolve(boxy, tail)[: sound.size + time.size // 2]
    level = float(heard.std()) * 10 ** (-rng.uniform(25, 35) / 20)
    return _like(np.asarray(heard + level * rng.standard_normal(heard.size)), sound)


def telephone_played_back(sound: Sound, rng: np.random.Generator) -> Sound:
    """`played_back` of what a telephone left of it."""
    return played_back(_telephoned(sound, rng), rng)


SPLICES = ("bare", "faded", "noised", "levelled")
"""How cut digits are joined: `bare` on digital silence, `faded` with 10 ms fades, `noised` with room noise of each cut
left as it is and noise between, `levelled` with one bed of noise under everything."""


def spliced(cuts: Sequence[Sound], rng: np.random.Generator, how: str) -> Sound:
    """Digits `cuts`, each out of another recording, joined to one answer by one of `SPLICES`."""
    pieces = [_padded(cut, rng, how) for cut in cuts]
    joined = np.concatenate([part for piece in pieces for part in (piece, _gap(piece, rng, how))])
    if how != "levelled":
        return joined
    bed = float(joined.std()) * 10 ** (-rng.uniform(25, 35) / 20)
    return np.asarray(joined + bed * rng.standard_normal(joined.size))


def genuine(cuts: Sequence[Sound], rng: np.random.Generator) -> tuple[Sound, list[tuple[int, int]]]:
    """Digits of one sitting, to stand for one breath, and where each lies (samples).

    They are joined smoothly in the room's own noise, 30 to 45 dB below. Sets of isolated digits hold nothing else.
    """
    sound = np.zeros(int(0.25 * RATE))
    bounds = []
    for cut in cuts:
        bounds.append((sound.size, sound.size + cut.size))
        sound = np.concatenate([sound, _faded(cut, 0.01), np.zeros(int(rng.uniform(0.12, 0.3) * RATE))])
    return _in_room(sound, rng), bounds


def _in_room(sound: Sound, rng: np.random.Generator) -> Sound:
    """One bed of noise of one colour under the whole."""
    level = float(sound.std()) * 10 ** (-rng.uniform(30, 45) / 20)
    noise = sosfilt(butter(1, rng.uniform(1000, 6000), fs=RATE, output="sos"), rng.standard_normal(sound.size))
    return np.asarray(sound + level * noise / noise.std())


def _padded(cut: Sound, rng: np.random.Generator, how: str) -> Sound:
    piece = _in_room(cut, rng) if how == "noised" else cut
    return piece if how == "bare" else _faded(piece, 0.01)


def _gap(piece: Sound, rng: np.random.Generator, how: str) -> Sound:
    gap = np.zeros(int(rng.uniform(0.08, 0.25) * RATE))
    if how == "noised":
        gap += float(piece.std()) * 10 ** (-rng.uniform(30, 45) / 20) * rng.standard_normal(gap.size)
    return gap


def _faded(cut: Sound, seconds: float) -> Sound:
    count = min(int(seconds * RATE), cut.size // 2)
    ramp = np.ones(cut.size)
    ramp[:count] = np.linspace(0, 1, count)
    ramp[cut.size - count :] = np.linspace(1, 0, count)
    return np.asarray(cut * ramp)


def _band(sound: Sound, low: float, high: float) -> Sound:
    return np.asarray(sosfilt(butter(4, (low, high), "bandpass", fs=RATE, output="sos"), sound))


def _like(sound: Sound, model: Sound) -> Sound:
    return np.asarray(sound * float(np.abs(model).max()) / max(1e-9, float(np.abs(sound).max())))
