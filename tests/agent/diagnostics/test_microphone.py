from __future__ import annotations

import numpy as np
import pytest

from agent.diagnostics import Severity, microphone
from hal import AudioBlock

RATE = 16_000


def tone(amplitude: float, offset: float = 0.0, seconds: float = 1.0) -> np.ndarray:
    wave = amplitude * np.sin(2 * np.pi * 440 * np.arange(int(RATE * seconds)) / RATE) + offset
    return (wave * 32768).clip(-32768, 32767).astype(np.int16)


def blocks(pcm: np.ndarray, lost: tuple[int, ...] = ()) -> list[AudioBlock]:
    parts = np.split(pcm, range(320, len(pcm), 320))
    return [AudioBlock(part, RATE, n, n * 20_000_000, n in lost) for n, part in enumerate(parts)]


def said(pcm: np.ndarray, lost: tuple[int, ...] = ()) -> dict[str, Severity]:
    return {found.id: found.severity for found in microphone.judge(microphone.measure(blocks(pcm, lost)), "voice")}


def speech() -> np.ndarray:
    """Half a second of tone in a quiet room."""
    room = np.random.default_rng(1).normal(0, 8, RATE).astype(np.int16)
    room[: RATE // 2] += tone(0.2, seconds=0.5)
    return room


def test_levels_are_those_of_the_tone() -> None:
    measured = microphone.measure(blocks(tone(0.5)))
    assert measured.peak_dbfs == pytest.approx(-6.0, abs=0.1)
    assert measured.level_dbfs == pytest.approx(-9.0, abs=0.1)
    assert measured.floor_dbfs == pytest.approx(-9.0, abs=0.3)
    assert (measured.rate, measured.seconds, measured.clipped, measured.lost) == (RATE, 1.0, 0.0, 0)


def test_the_noise_floor_is_that_of_the_pauses() -> None:
    measured = microphone.measure(blocks(speech()))
    assert measured.floor_dbfs == pytest.approx(20 * np.log10(8 / 32768), abs=2)
    assert measured.level_dbfs > -25


def test_a_good_microphone_is_well() -> None:
    assert said(speech()) == {"microphone.level": Severity.OK}


@pytest.mark.parametrize(
    ("pcm", "identity", "severity"),
    [
        (np.zeros(RATE, np.int16), "microphone.silent", Severity.ERROR),
        (np.random.default_rng(2).integers(-2, 3, RATE).astype(np.int16), "microphone.quiet", Severity.WARNING),
        (tone(2.0), "microphone.clipping", Severity.WARNING),
        (tone(0.1, offset=0.3), "microphone.offset", Severity.WARNING),
        (np.random.default_rng(3).normal(0, 1500, RATE).astype(np.int16), "microphone.noise", Severity.WARNING),
    ],
)
def test_what_is_wrong_with_a_sound_is_said(pcm: np.ndarray, identity: str, severity: Severity) -> None:
    assert said(pcm)[identity] is severity


def test_lost_samples_count_from_the_second_block_on() -> None:
    assert "microphone.lost" not in said(speech(), lost=(0,))
    assert said(speech(), lost=(0, 7, 9))["microphone.lost"] is Severity.WARNING
    assert microphone.measure(blocks(speech(), lost=(0, 7, 9))).lost == 2


def test_a_constant_is_silence_with_an_offset() -> None:
    found = said(np.full(RATE, 9000, np.int16))
    assert found["microphone.offset"] is Severity.WARNING
    assert microphone.level(np.full(100, 9000, np.int16)) == microphone.SILENCE_DBFS


def test_no_samples_at_all_are_silence() -> None:
    assert said(np.zeros(0, np.int16))["microphone.silent"] is Severity.ERROR
