"""Voices: stretches of a recording that run, wave by wave, as a stretch of an earlier one.

Nobody says a word twice with the same pitch from one period to the next: a third of a second of the band 300 to 900 Hz
never repeats itself in phase. A copy does, at any volume, behind any silence, cut out or not. The signs of the wave are
kept, 2000 a second of speech (docs/biometrics/replay.md).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import splices
from agent.biometrics.parameters import VOICE_RATE
from agent.biometrics.recording import Recording

Wave = NDArray[np.float32]

SAME: Final = 0.95
"""Least likeness of a repeated stretch, -1 to 1."""

STRETCHES: Final = 2
"""Repeated stretches, not overlapping, that make a recording a repeated one, if they are a share of all of it too."""

SHARE: Final = 0.3
"""Of all that was said, in repeated stretches."""

_FINE = 8_000
_KEPT = 2_000
"""Rates in Hz: of a probe, and of what is kept."""

_RATIO = _FINE // _KEPT
_BAND = (300.0, 900.0)
"""Hz."""

_STRETCH = 600
"""Length of what is compared, in kept samples: 0.3 s."""

_HOP = 200
_FRAME = 64
"""Speech is kept in frames of 32 ms."""

_MOST_FRAMES = 240
_TIMELINE = 1024
"""Frames that are looked at: the first 33 s of a recording."""

_LONGEST_PAUSE = 10
_QUIET = 0.12
_ENVELOPE_S = 0.04
_SPEEDS = (0.99, 0.995, 1.0, 1.005, 1.01)
_EACH_OFF_SPEED = 2
"""At other speeds than its own each third stretch of a probe is tried."""

_PROMISING = 0.6
_SCALE = 40.0
_COVERED = 0.85
_SPOKEN = 0.6
_HEADER = struct.Struct(">H")


def trace(recording: Recording) -> bytes:
    """Whether the recording was put together, and the band of its voice at 8 kHz, 0 where nothing is said."""
    wave = _voiced(recording.samples())
    return bytes([splices.examine(recording).found]) + bytes(np.clip(np.rint(wave * _SCALE), -127, 127).astype(np.int8))


def digest(trace: bytes) -> bytes:
    """What is kept of it: which frames hold speech, and a sign for each half millisecond; 2050 bytes at most."""
    kept = _wave(trace)[::_RATIO]
    frames = np.zeros((min(_TIMELINE, len(kept) // _FRAME), _FRAME), np.float32)
    frames[:] = kept[: frames.size].reshape(frames.shape)
    spoken = (frames != 0).mean(axis=1) >= 0.5
    spoken[np.flatnonzero(spoken)[_MOST_FRAMES:]] = False
    signs = np.packbits(frames[spoken] > 0).tobytes()
    return _HEADER.pack(len(spoken)) + np.packbits(spoken).tobytes() + signs


def replayed(past: Sequence[bytes], trace: bytes) -> bool:
    """Whether the recording was put together, or stretches of it were heard before; raises `ValueError`."""
    return bool(trace[0]) or repeated(past, trace)


def repeated(past: Sequence[bytes], trace: bytes) -> bool:
    """Whether stretches of the recording were heard before; raises `ValueError` for what `digest` does not write."""
    probe = Probe(_wave(trace))
    starts: set[int] = set()
    for one in past:
        starts |= {start for start, likeness in probe.stretches(expand(one)) if likeness >= SAME}
    return disjoint(starts) >= max(STRETCHES, SHARE * disjoint(probe.starts))


def disjoint(starts: Iterable[int]) -> int:
    """How many stretches that begin at `starts` do not overlap."""
    count, free = 0, -1
    for start in sorted(starts):
        if start >= free:
            count, free = count + 1, start + _STRETCH
    return count


def expand(kept: bytes) -> Wave:
    """The signs of an earlier recording in time, 0 where nothing was said; long pauses are shortened.

    Raises `ValueError` for what `digest` does not write.
    """
    if len(kept) < _HEADER.size:
        raise ValueError("what is kept of a recording is too short")
    (count,) = _HEADER.unpack_from(kept)
    split = _HEADER.size + -(-count // 8)
    spoken = np.unpackbits(np.frombuffer(kept[_HEADER.size : split], np.uint8))[:count].astype(bool)
    if len(kept) != split + spoken.sum() * _FRAME // 8 or count > _TIMELINE or spoken.sum() > _MOST_FRAMES:
        raise ValueError("what is kept of a recording has another length")
    frames = np.zeros((count, _FRAME), np.float32)
    bits = np.unpackbits(np.frombuffer(kept[split:], np.uint8))
    frames[spoken] = 2.0 * bits.reshape(-1, _FRAME) - 1.0
    return frames[_without_long_pauses(spoken)].reshape(-1)


@dataclass(frozen=True, eq=False, repr=False)
class Probe:
    """A recording that is compared: its voice at 8 kHz."""

    wave: Wave

    def stretches(self, past: Wave) -> list[tuple[int, float]]:
        """Of each stretch of speech that looks promising, where it begins (half milliseconds) and its likeness."""
        if len(past) < _STRETCH:
            return []
        size = 1 << int(np.ceil(np.log2(len(past) + _STRETCH)))
        spectrum = np.fft.fft(past, size)
        spectrum[size // 2 :] = 0.0
        found: dict[int, float] = {}
        for speed, starts, conjugates in self._conjugates(size):
            coarse = np.abs(np.fft.ifft(spectrum * conjugates, axis=1)) * 2.0
            best = coarse.argmax(axis=1)
            for start, at, likeness in zip(starts, best, coarse[np.arange(len(best)), best], strict=True):
                if likeness >= _PROMISING:
                    found[start] = max(found.get(start, -1.0), self._fine(past, start, int(at), size, speed))
        return sorted(found.items())

    @cached_property
    def _spectra(self) -> dict[int, list[tuple[float, list[int], NDArray[np.complex64]]]]:
        return {}

    def _conjugates(self, size: int) -> list[tuple[float, list[int], NDArray[np.complex64]]]:
        """For each speed, the stretches and the conjugate spectra of what they sound like at it."""
        if size not in self._spectra:
            starts = self.starts
            self._spectra[size] = [
                (speed, chosen, np.conj(np.fft.fft(self._at_speed(chosen, speed), size)))
                for speed in _SPEEDS
                if (chosen := starts if speed == 1.0 else starts[::_EACH_OFF_SPEED])
            ]
        return self._spectra[size]

    @cached_property
    def starts(self) -> list[int]:
        """Where stretches begin that are speech for the most part."""
        spoken = self.wave[::_RATIO] != 0
        if len(spoken) < _STRETCH:
            return []
        share = np.convolve(spoken, np.ones(_STRETCH) / _STRETCH, "valid")[::_HOP]
        return [int(index) * _HOP for index in np.flatnonzero(share > _SPOKEN)]

    def _at_speed(self, starts: Sequence[int], speed: float) -> Wave:
        """Stretches as `[n, 600]`, of unit weight."""
        rows = np.array([self._stretch(start, 0.0, speed) for start in starts], np.float32)
        return np.asarray(rows / np.maximum(np.abs(rows).sum(axis=1, keepdims=True), 1e-6), np.float32)

    def _stretch(self, start: int, late: float, speed: float) -> Wave:
        """600 samples from `start`, `late` kept samples later, heard `speed` times as fast."""
        middle = start + _STRETCH / 2
        times = (middle + late + (np.arange(_STRETCH) - _STRETCH / 2) * speed) * _RATIO
        return np.asarray(np.interp(times, np.arange(len(self.wave)), self.wave, 0.0, 0.0), np.float32)

    def _fine(self, past: Wave, start: int, at: int, size: int, speed: float) -> float:
        """The best likeness near lag `at`, over fractions of a sample and of the speed."""
        at = at if at < size - _STRETCH else at - size
        low, high = max(0, at), min(len(past), at + _STRETCH)
        there = np.zeros(_STRETCH, np.float32)
        there[low - at : high - at] = past[low:high]
        tries = [(late, speed + off) for off in (-0.0025, 0.0, 0.0025) for late in np.arange(-1.0, 1.01, 0.25)]
        rows = np.array([self._stretch(start, late, pace) for late, pace in tries])
        weights = np.abs(rows)
        covered = (weights * (there != 0)).sum(axis=1)
        enough = covered >= _COVERED * np.maximum(weights.sum(axis=1), 1e-6)
        return float(np.where(enough, rows @ there / np.maximum(covered, 1e-6), -1.0).max())


def _voiced(samples: Wave) -> Wave:
    """The band of the voice at 8 kHz, of even loudness, 0 where nothing is said; the first 33 s."""
    longest = _TIMELINE * _FRAME * VOICE_RATE // _KEPT
    band = _bandpassed(samples[:longest])
    width = int(_ENVELOPE_S * _FINE)
    if len(band) < 2 * width:
        return np.zeros(0, np.float32)
    level = np.sqrt(np.maximum(np.convolve(band * band, np.ones(width) / width, "same"), 0.0))
    loud = float(np.sort(level)[-_FINE // 4 :].mean())
    return np.where(level > _QUIET * loud, band / (level + 0.05 * loud + 1e-9), 0.0).astype(np.float32)


def _bandpassed(samples: Wave) -> NDArray[np.float64]:
    """300 to 900 Hz at 8 kHz, without delay; the edges are a hundred hertz wide."""
    count = len(samples) // 2 * 2
    if not count:
        return np.zeros(0)
    spectrum = np.fft.rfft(samples[:count])
    hertz = np.fft.rfftfreq(count, 1 / VOICE_RATE)
    spectrum *= np.clip((hertz - _BAND[0]) / 100 + 0.5, 0, 1) * np.clip((_BAND[1] - hertz) / 100 + 0.5, 0, 1)
    return np.fft.irfft(spectrum, count)[:: VOICE_RATE // _FINE]


def _without_long_pauses(spoken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which frames to keep in time: speech, and the first of each pause."""
    kept, quiet = np.zeros(len(spoken), bool), _LONGEST_PAUSE
    for index, talks in enumerate(spoken):
        quiet = 0 if talks else quiet + 1
        kept[index] = quiet <= _LONGEST_PAUSE
    return kept


def _wave(trace: bytes) -> Wave:
    return np.frombuffer(trace, np.int8)[1:].astype(np.float32) / _SCALE
