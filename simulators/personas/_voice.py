"""Voices of espeak-ng: each a variant, a pitch and a speed of its own."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from simulators.personas._fields import rng_of
from simulators.personas._persona import PersonaError

RATE = 16_000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LEVEL = 9000.0
"""Peak of careful speech, of 32767."""

WAVER = 0.025
"""How much faster or slower each of four slow waves makes speech."""

LEAD_SECONDS = 0.25
TIMEOUT_SECONDS = 30.0
LANGUAGE = "en-us"
REINSTALL = "Run `apt install --reinstall espeak-ng espeak-ng-data`."


@dataclass(frozen=True)
class EspeakVoice:
    """`variant` as `espeak-ng --voices=variant` lists it; `pitch` 0-99, `speed` words a minute.

    `seed` (non-negative) separates the takes of two people.
    """

    variant: str
    pitch: int
    speed: int
    seed: int

    def say(self, digits: str, take: int, care: float = 1.0) -> tuple[NDArray[np.int16], int]:
        """See `Persona.say`; takes differ a little in pitch, speed and room noise."""
        rng = rng_of(self.seed, take, 5)
        pitch = self.pitch + int(rng.integers(-2, 3))
        speed = self.speed + int(rng.integers(-5, 6))
        text = ", ".join(WORDS[digit] for digit in checked_digits(digits)) + "."
        return recorded(drifted(self._spoken(text, pitch, speed), rng_of(self.seed, take, 8)), care, rng), RATE

    def _spoken(self, text: str, pitch: int, speed: int) -> NDArray[np.float64]:
        if self.variant not in _variants():
            raise PersonaError(f"this espeak-ng has no voice variant {self.variant}", remedy=REINSTALL)
        voice = f"{LANGUAGE}+{self.variant}"
        return _resampled(_espeak("-v", voice, "-p", str(pitch), "-s", str(speed), "--stdin", "--stdout", text=text))


@cache
def _variants() -> frozenset[str]:
    """The variants at hand. espeak-ng speaks with its default voice when asked for another, and says nothing of it."""
    return frozenset(re.findall(r"!v/(\S+)", _espeak("--voices=variant").decode(errors="replace")))


def _espeak(*arguments: str, text: str = "") -> bytes:
    command = ["espeak-ng", *arguments]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=True, timeout=TIMEOUT_SECONDS)
    except FileNotFoundError as error:
        raise PersonaError("espeak-ng is not installed", remedy="Run `apt install espeak-ng`.") from error
    except subprocess.SubprocessError as error:
        raise PersonaError("espeak-ng failed", remedy=REINSTALL) from error
    return done.stdout


def checked_digits(digits: str) -> list[int]:
    """The digits as numbers; `PersonaError` when there are none or something else stands among them."""
    if not digits or any(letter not in "0123456789" for letter in digits):
        raise PersonaError("only the digits 0 to 9 can be spoken", remedy="Pass a string such as '40718259'.")
    return [int(letter) for letter in digits]


def _resampled(wave: bytes) -> NDArray[np.float64]:
    """A streamed WAV (mono, 16 bit; the length fields are not filled in) at 16 kHz."""
    start = wave.find(b"data") + 8
    if not wave.startswith(b"RIFF") or start < 44:
        raise PersonaError("espeak-ng wrote no sound", remedy=REINSTALL)
    rate = int.from_bytes(wave[24:28], "little")
    body = wave[start : start + (len(wave) - start) // 2 * 2]
    samples = np.frombuffer(body, "<i2").astype(np.float64)
    common = int(np.gcd(rate, RATE))
    return np.asarray(resample_poly(samples, RATE // common, rate // common), np.float64)


def drifted(speech: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Speech whose tempo and pitch waver by a few per cent, as nobody keeps them; a synthesiser does, wave by wave."""
    seconds = np.arange(speech.size) / RATE
    hertz, phases = rng.uniform(0.7, 5.0, 4), rng.uniform(0.0, 2 * np.pi, 4)
    wander = (WAVER / (2 * np.pi * hertz) * np.sin(2 * np.pi * np.outer(seconds, hertz) + phases)).sum(axis=1)
    return np.asarray(np.interp(seconds + wander, seconds, speech), np.float64)


def recorded(speech: NDArray[np.float64], care: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Speech at 16 kHz as a microphone in a room takes it: levelled, a little noise; careless: far off and noisier."""
    sloppy = 1.0 - min(max(care, 0.0), 1.0)
    lead = np.zeros(int(LEAD_SECONDS * RATE))
    framed = np.concatenate([lead, speech, lead])
    level = LEVEL * float(rng.uniform(0.85, 1.15)) * (1.0 - 0.8 * sloppy) / max(1e-9, float(np.abs(speech).max()))
    noise = (20.0 + 160.0 * sloppy) * rng.standard_normal(framed.size)
    return np.clip(np.rint(level * framed + noise), -32768, 32767).astype(np.int16)
