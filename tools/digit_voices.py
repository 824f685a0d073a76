"""Single spoken digits to train with, of people and of synthesisers: float32 in -1..1 at 8 kHz."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

RATE = 8_000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "oh")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
NOT_HUMAN = re.compile("Demonic|robo|Robot|whisper$|fast|croak|klatt[56]|AnxiousAndy")
FLITE = ("kal16", "awb", "rms", "slt")
EDGE = 160
Sound = NDArray[np.float32]
Takes = dict[int, list[Sound]]
"""Takes by word: 0 to 9, and 10 for "oh"."""


def people(voices: Path, name: str, without: set[str]) -> list[Takes]:
    """One entry per subject of a set of `<subject>/<digit>_<take>.wav`."""
    found: dict[str, Takes] = {}
    for path in sorted((voices / name).glob("*/*.wav")):
        if f"{name}/{path.parent.name}" in without:
            continue
        pcm, rate = soundfile.read(path)
        sound = resample_poly(pcm, RATE, rate) if rate != RATE else pcm
        digit = int(path.stem.split("_")[0])
        found.setdefault(path.parent.name, {}).setdefault(digit, []).append(trimmed(sound) if rate > RATE else sound)
    return list(found.values())


def background(voices: Path) -> list[Sound]:
    """Running speech that is not digits."""
    sounds = []
    for path in sorted(voices.glob("librispeech*/*/*.flac")):
        pcm, rate = soundfile.read(path)
        sounds.append(resample_poly(pcm, RATE, rate).astype(np.float32))
    return sounds


def synthetic(random: np.random.Generator, favoured: str) -> list[Takes]:
    """Every human variant of espeak-ng three times (a `favoured` one thirty times), and four voices of flite."""
    listed = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, check=True, text=True).stdout
    variants = [name for name in re.findall(r"!v/(\S+)", listed) if not NOT_HUMAN.search(name)]
    made = []
    for variant in variants:
        for accent in ("en-us", random.choice(ACCENTS[1:]), "en-us") * (10 if variant == favoured else 1):
            pitch, speed = random.integers(20, 99), random.integers(110, 210)
            command = ["espeak-ng", "-v", f"{accent}+{variant}", "-p", str(pitch), "-s", str(speed), "--stdout"]
            made.append({word: [said([*command, text + random.choice([",", "."])])] for word, text in enumerate(WORDS)})
    for voice in FLITE:
        for stretch in random.uniform(0.8, 1.3, 5):
            command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.2f}", "-o", "/dev/stdout", "-t"]
            made.append({word: [said([*command, f"{text}."])] for word, text in enumerate(WORDS)})
    return made


def said(command: list[str]) -> Sound:
    """What a synthesiser writes to its standard output as WAV, mono and 16 bit."""
    wave = subprocess.run(command, capture_output=True, check=True).stdout
    start, rate = wave.find(b"data") + 8, int.from_bytes(wave[24:28], "little")
    samples = np.frombuffer(wave[start : start + (len(wave) - start) // 2 * 2], "<i2") / 32768.0
    return trimmed(resample_poly(samples, RATE, rate))


def trimmed(sound: NDArray[np.floating]) -> Sound:
    """The part that is above a thousandth of its peak power and four times its floor."""
    power = np.convolve(sound**2, np.ones(EDGE) / EDGE, "same")
    floor = np.percentile(power, 20)
    loud = np.flatnonzero(power > max(power.max() * 1e-3, 4 * floor if floor < 0.02 * power.max() else 0.0))
    return sound[max(0, loud[0] - EDGE) : loud[-1] + EDGE].astype(np.float32)
