"""The modality `keystroke`: how somebody types a phrase that is shown to them."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.extension import (
    BiometricError,
    ConfigError,
    Effort,
    Examined,
    Match,
    ModalityModel,
    Pipeline,
    Purpose,
    Sensor,
    StraySample,
)
from keyvigil_keystroke import rhythm
from keyvigil_keystroke.keyboard import CHARACTERS, ENTER, KIND, Keyboard, KeyEvent
from keyvigil_keystroke.rhythm import Template, Vector, longest, strokes_of, vector_of

NAME = "keystroke"
PARAMETERS = "1"
PHRASE = "still waters run deep"
SHORTEST, LONGEST = 8, 40
_MOST_EVENTS = 1000
_FULL = 100


class Keystroke:
    """Options: `phrase` (8 to 40 of a-z, 0-9 and space), `samples` of a template (6), `tries` of a challenge (3)."""

    name = NAME
    kind = KIND
    alone = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Raises `ConfigError` naming the option at fault."""
        unknown = sorted({*options} - {"phrase", "samples", "tries"})
        if unknown:
            raise ConfigError(f"modalities.keystroke.options: unknown option {unknown[0]!r}")
        self._phrase = _phrase(options.get("phrase", PHRASE))
        self.effort = Effort(_count(options, "samples", 6, least=4), _count(options, "tries", 3, least=1))

    def captures(self, sensor: Sensor) -> Generator[Sequence[KeyEvent], None, None]:
        """The phrase, typed once for each sample and ended by Enter."""
        while True:
            yield sensor.use(lambda keyboard: self._typed(keyboard, sensor))

    def pipeline(self) -> Pipeline:
        """Hold times and latencies."""
        return KeystrokePipeline(self._phrase)

    def _typed(self, keyboard: Keyboard, sensor: Sensor) -> list[KeyEvent]:
        def ready() -> None:
            sensor.tell("type", f"Type in your usual manner: {self._phrase} and press Enter.")

        events = keyboard.events(sensor.deadline, ready)
        taken: list[KeyEvent] = []
        try:
            for event in events:
                taken.append(event)
                if (event.code, event.pressed) == (ENTER, False) or len(taken) >= _MOST_EVENTS:
                    break
        finally:
            events.close()
        return taken


@dataclass(frozen=True)
class Rhythm:
    """Features of one typed phrase."""

    vector: Vector

    def to_bytes(self) -> bytes:
        """Little-endian int16."""
        return self.vector.astype("<i2").tobytes()


class KeystrokePipeline:
    """Rhythms of one phrase; another phrase is another model."""

    def __init__(self, phrase: str) -> None:
        self._phrase = phrase
        self._features = 2 * len(phrase) - 1

    @property
    def model(self) -> ModalityModel:
        """The method and what is typed."""
        phrase = hashlib.sha256(self._phrase.encode()).hexdigest()[:16]
        return ModalityModel(modality=NAME, model=f"scaled-manhattan/1:{phrase}", parameters=PARAMETERS)

    def examine(self, captures: Sequence[KeyEvent], purpose: Purpose) -> Examined:  # noqa: ARG002 - alike for both
        """The rhythm, or what to do better; the quality falls with the longest pause."""
        typed = strokes_of(captures)
        if typed.corrected:
            return Examined(30, "Type it in one go, without taking anything back.")
        if typed.text != self._phrase or typed.broken:
            return Examined(20, "Type exactly what is shown.")
        vector = vector_of(typed.strokes)
        hold, pause = longest(vector)
        if hold > rhythm.LONGEST_HOLD_MS or pause > rhythm.LONGEST_PAUSE_MS:
            return Examined(40, "Type it fluently, without a pause.")
        return Examined(round(_FULL - 50 * pause / rhythm.LONGEST_PAUSE_MS), "", Rhythm(vector))

    def enrol(self, samples: Sequence[Rhythm]) -> bytes:
        """A template of samples of one hand; raises `StraySample`, `BiometricError`."""
        vectors = tuple(sample.vector for sample in samples)
        if len(vectors) < 2 or any(vector.shape != (self._features,) for vector in vectors):
            raise BiometricError("a typing template needs at least two samples of its phrase")
        template = Template(vectors)
        stray = template.strays()
        if stray is not None:
            raise StraySample(NAME, stray)
        return template.to_bytes()

    def match(self, template: bytes, sample: Rhythm) -> Match:
        """Whether the same hand typed it; raises `BiometricError` for a damaged template."""
        distance = Template.from_bytes(template, self._features).distance(sample.vector)
        share = (rhythm.THRESHOLD - distance) / (rhythm.THRESHOLD - rhythm.TYPICAL)
        return Match(distance <= rhythm.THRESHOLD, round(_FULL * float(np.clip(share, 0, 1))))

    def warm_up(self) -> None:
        """There is no model to load."""


def _phrase(value: object) -> str:
    if not isinstance(value, str) or not SHORTEST <= len(value) <= LONGEST or not {*value} <= {*CHARACTERS}:
        raise ConfigError(
            "modalities.keystroke.options: phrase is not 8 to 40 of a-z, 0-9 and space",
            remedy=f'Write for example phrase = "{PHRASE}".',
        )
    return value


def _count(options: Mapping[str, Any], name: str, default: int, *, least: int) -> int:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 20:
        raise ConfigError(f"modalities.keystroke.options: {name} is not a number from {least} to 20")
    return value
