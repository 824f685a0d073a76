"""Recordings of voices from files, and strings of spoken digits made of isolated ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import Recording, speech
from agent.evaluation.errors import LeftOut
from agent.evaluation.noise import with_fans
from agent.evaluation.pictures import missing

SOUNDS = frozenset({".wav", ".flac"})
STRING_DIGITS = 6
STRINGS_MAXIMUM = 40
_SECONDS_MAXIMUM = 60.0
"""What is beyond this in a file is not read."""
_PAUSE_S = (0.15, 0.3)
_PAUSE_DEVIATION = 3.0
"""Standard deviation of the sound in a pause, in units of int16."""
_ISOLATED = re.compile(r"^\d_.+$")
_UNDECODABLE = "the file holds no sound that can be read"


@dataclass(frozen=True)
class Preparation:
    """What is done to each recording: cut to `seconds` of net speech, fans added at `noise_snr_db`."""

    seconds: float | None = None
    noise_snr_db: float | None = None

    def apply(self, recording: Recording, seed: int) -> Recording:
        """The recording prepared; raises `LeftOut` where it holds less speech than `seconds`."""
        if self.seconds is not None:
            recording = cut(recording, self.seconds)
        if self.noise_snr_db is None:
            return recording
        power = float((speech.find(recording.samples()).samples ** 2).mean()) if len(recording.pcm) else 0.0
        pcm = with_fans(recording.pcm, recording.rate, power, self.noise_snr_db, seed)
        return Recording(pcm, recording.rate, recording.lost)


def read(path: Path) -> Recording:
    """The recording in a file, its channels averaged, at most a minute; raises `LeftOut`."""
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(path) as file:
            pcm = file.read(round(_SECONDS_MAXIMUM * file.samplerate), dtype="int16", always_2d=True)
            rate = int(file.samplerate)
    except (OSError, RuntimeError, ValueError):
        raise LeftOut(_UNDECODABLE) from None
    if not len(pcm):
        raise LeftOut(_UNDECODABLE)
    return Recording(np.rint(pcm.mean(axis=1)).astype(np.int16), rate)


def cut(recording: Recording, seconds: float) -> Recording:
    """The beginning that holds `seconds` of net speech; raises `LeftOut` where there is less."""

    def enough(count: int) -> bool:
        return speech.find(Recording(recording.pcm[:count], recording.rate).samples()).seconds >= seconds

    short, long = round(seconds * recording.rate) - 1, len(recording.pcm)
    if long <= short or not enough(long):
        raise LeftOut(f"it holds less than {seconds:g} s of speech")
    while long - short > recording.rate // 50:
        middle = (short + long) // 2
        short, long = (short, middle) if enough(middle) else (middle, long)
    return Recording(recording.pcm[:long], recording.rate, recording.lost)


def are_isolated_digits(files: Sequence[Path]) -> bool:
    """Whether all files are named `<digit>_<take>`."""
    return bool(files) and all(_ISOLATED.match(path.stem) for path in files)


def digit_strings(files: Sequence[Path], seed: int) -> list[tuple[Path, ...]]:
    """Strings of six takes in a random order, no take in two strings, at most 40; possibly none."""
    order = np.random.default_rng(seed).permutation(len(files))
    strings = min(len(files) // STRING_DIGITS, STRINGS_MAXIMUM)
    return [
        tuple(files[index] for index in order[start : start + STRING_DIGITS])
        for start in range(0, strings * STRING_DIGITS, STRING_DIGITS)
    ]


def spoken_string(files: Sequence[Path], seed: int) -> Recording:
    """The takes one after another, a short pause after each; raises `LeftOut`."""
    takes = [read(path) for path in files]
    if len({take.rate for take in takes}) != 1:
        raise LeftOut("its digits were recorded at different rates")
    random = np.random.default_rng(seed)
    parts: list[NDArray[np.int16]] = []
    for take in takes:
        count = int(random.uniform(*_PAUSE_S) * take.rate)
        parts += [take.pcm, random.normal(0.0, _PAUSE_DEVIATION, count).astype(np.int16)]
    return Recording(np.concatenate(parts), takes[0].rate)


def require_soundfile() -> None:
    """Raise `EvaluationError` with the remedy where files of sound cannot be read."""
    _soundfile()


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):
        raise missing("soundfile") from None
    return soundfile
