"""Captures made of nothing but arithmetic and a public-domain portrait, and pipelines whose models load once."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from agent.biometrics import Pipelines, Recording
from hal import FingerprintImage, Frame
from tests.agent.biometrics.ridges import impression


@pytest.fixture(scope="session")
def pipelines() -> Pipelines:
    return Pipelines()


@pytest.fixture(scope="session")
def fingers() -> dict[int, list[FingerprintImage]]:
    """Five impressions each of two fingers."""
    return {finger: [impression(finger, press) for press in range(5)] for finger in (1, 2)}


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    """NASA's portrait of Eileen Collins as RGB."""
    return np.ascontiguousarray(data.astronaut())


@pytest.fixture(scope="session")
def frame(portrait: NDArray[np.uint8]) -> Frame:
    return Frame(np.ascontiguousarray(portrait[:, :, ::-1]), 0, 0)


def speak(pitch: float, formants: tuple[float, ...], tilt: float, seed: int, seconds: float = 4.0) -> Recording:
    """A buzz of glottal pulses through resonances, in syllables with pauses: voice enough for an embedding."""
    random = np.random.default_rng(seed)
    rate = 16_000
    time = np.arange(int(seconds * rate)) / rate
    wobble = 1.0 + 0.08 * np.sin(2 * np.pi * random.uniform(0.4, 0.8) * time + random.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch * wobble) / rate
    drift = 1.0 + 0.12 * np.sin(2 * np.pi * random.uniform(1.5, 2.5) * time)
    sound = np.zeros_like(time)
    for harmonic in range(1, int(0.45 * rate / (1.1 * pitch))):
        frequency = harmonic * pitch
        gain = sum(1.0 / (1.0 + ((frequency - formant * drift) / 90.0) ** 2) for formant in formants) + 0.01
        sound += gain * np.sin(harmonic * phase) / harmonic**tilt
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * time + random.uniform(0, 6)) + 0.6, 0.0, 1.0)
    sound = 0.3 * syllables * sound / np.abs(sound).max() + random.normal(0, 0.0005, time.size)
    return Recording((sound * 32767).astype(np.int16), rate)


@pytest.fixture(scope="session")
def voices() -> dict[str, list[Recording]]:
    """Four recordings each of two buzzing voices."""
    return {
        "low": [speak(90.0, (300.0, 870.0, 2240.0), 1.5, seed) for seed in range(4)],
        "high": [speak(220.0, (900.0, 1700.0, 3400.0), 0.3, seed) for seed in range(4)],
    }
