from __future__ import annotations

import numpy as np
import pytest

from agent.biometrics import Recording
from agent.biometrics.splices import FLOOR_RANGE_DB, SILENT_S, examine
from simulators.attacks import voice as attacks


def recording(samples: np.ndarray) -> Recording:
    return Recording(np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16), attacks.RATE)


def word(seed: int) -> np.ndarray:
    """Something as loud and as long as a digit."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(0.35 * attacks.RATE)) / attacks.RATE
    return 0.3 * np.sin(2 * np.pi * rng.uniform(100, 900) * time) * np.hanning(time.size)


def answer(noise_db: list[float]) -> np.ndarray:
    """Words with half a second between them, each pause with noise of its own level."""
    rng = np.random.default_rng(3)
    parts = []
    for index, level in enumerate(noise_db):
        part = np.concatenate([word(index), np.zeros(attacks.RATE // 2)])
        parts.append(part + 10 ** (level / 20) * rng.standard_normal(part.size))
    return np.concatenate(parts)


def test_words_in_one_room_are_one_recording() -> None:
    found = examine(recording(answer([-60.0] * 6)))
    assert not found.found
    assert found.range_db < FLOOR_RANGE_DB / 2


def test_noise_that_changes_from_pause_to_pause_is_not_one_room() -> None:
    assert examine(recording(answer([-60, -50, -62, -47, -55, -60]))).range_db >= FLOOR_RANGE_DB


@pytest.mark.parametrize("how", ["bare", "faded"])
def test_words_joined_on_digital_silence_are_found(how: str) -> None:
    joined = attacks.spliced([word(seed) for seed in range(6)], np.random.default_rng(1), how)
    assert examine(recording(joined)).silent_s >= SILENT_S


def test_silence_before_and_after_is_no_pause() -> None:
    """A device may start and stop with zeros; only what lies between sounds counts."""
    silence = np.zeros(attacks.RATE)
    found = examine(recording(np.concatenate([silence, answer([-60.0] * 4), silence])))
    assert found.silent_s < SILENT_S


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(5), np.zeros(16_000), np.ones(100)])
def test_nothing_heard_says_nothing(samples: np.ndarray) -> None:
    assert not examine(recording(samples)).found
