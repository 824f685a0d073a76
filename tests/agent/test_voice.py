"""The modality `voice`: how long it listens, and what it passes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from agent.errors import ConfigError
from agent.modalities.voice import SILENCE_S, Utterance, Voice
from hal import AudioBlock
from simulators.personas import shipped_personas

RATE = 16_000
BLOCK = 320


@dataclass
class Line:
    """A microphone that has `pcm` and then hiss without end; counts what was taken."""

    pcm: np.ndarray
    hiss: float = 20.0
    taken: int = 0

    def blocks(self, deadline: object) -> Iterator[AudioBlock]:
        random = np.random.default_rng(0)
        while True:
            at = self.taken * BLOCK
            part = self.pcm[at : at + BLOCK]
            rest = random.normal(0, self.hiss, BLOCK - len(part)).astype(np.int16)
            self.taken += 1
            yield AudioBlock(np.concatenate([part, rest]), RATE, self.taken, 0)

    @property
    def seconds(self) -> float:
        return self.taken * BLOCK / RATE


@dataclass
class Sitting:
    """A person before a microphone."""

    line: Line
    purpose: str = "challenge"
    attempt: int = 1
    deadline: object = None
    gestures: tuple[str, ...] = ()
    told: list[str] = field(default_factory=list)

    def digits(self) -> str:
        return "40718259"

    def tell(self, action: str, instruction: str, *, digits: str = "", gestures: object = ()) -> None:
        self.told.append(instruction)

    def use(self, work: Any, on_return: object = None) -> Any:
        return work(self.line)

    def release(self) -> None:
        """Nothing to close."""


def taken(line: Line, options: Mapping[str, Any] | None = None) -> Utterance:
    return next(iter(Voice(options or {}).captures(Sitting(line))))[0]


@pytest.mark.parametrize("person", range(4))
def test_a_recording_ends_a_moment_after_the_last_digit(person: int) -> None:
    pcm, _ = shipped_personas()[person].say("40718259", 0)
    line = Line(pcm)
    utterance = taken(line)
    assert len(pcm) / RATE - 0.8 < line.seconds < len(pcm) / RATE + SILENCE_S + 0.3
    assert (utterance.digits, utterance.overflow) == ("40718259", False)


def test_noise_and_silence_are_recorded_as_long_as_may_be() -> None:
    random = np.random.default_rng(0)
    for line in (Line(np.zeros(0, np.int16)), Line(random.normal(0, 3000, 50 * RATE).astype(np.int16))):
        taken(line, {"seconds": 4.0})
        assert line.seconds == pytest.approx(4.0, abs=0.05)


def test_a_slow_speaker_is_not_cut_off_between_digits() -> None:
    persona = shipped_personas()[1]
    gap = np.random.default_rng(1).normal(0, 20, int(0.1 * RATE)).astype(np.int16)
    pcm = np.concatenate([part for digit in "40718259" for part in (persona.say(digit, 0)[0], gap)])
    line = Line(pcm)
    taken(line, {"seconds": 20.0})
    assert line.seconds > len(pcm) / RATE - 0.8


def test_digits_that_are_not_verified_are_not_passed_on() -> None:
    line = Line(shipped_personas()[1].say("40718259", 0)[0])
    assert taken(line, {"spoken_digits": False}).digits == ""
    with pytest.raises(ConfigError, match="spoken_digits"):
        Voice({"spoken_digits": "perhaps"})


def test_what_was_asked_shows_in_no_repr() -> None:
    assert "4071" not in repr(Utterance(np.zeros(1, np.int16), RATE, False, "4071"))


@pytest.mark.parametrize("purpose", ["enrolment", "challenge"])
def test_a_recording_without_digits_is_refused_where_they_are_verified(purpose: Any) -> None:
    """The same recording passes with its digits, and where anything may be said: only the digits are missing."""
    pcm, rate = shipped_personas()[1].say("40718259", 0)
    with_digits, without = (Utterance(pcm, rate, overflow=False, digits=digits) for digits in ("40718259", ""))
    verified, free = Voice({}).pipeline(), Voice({"spoken_digits": False}).pipeline()
    assert "asked for no digits" in verified.examine([without], purpose).reason
    assert verified.examine([without], purpose).features is None
    assert verified.examine([with_digits], purpose).features is not None
    assert free.examine([without], purpose).features is not None
