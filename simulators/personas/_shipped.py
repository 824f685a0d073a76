"""The personas that come with Keyvigil: drawn fingers, NASA's portrait and its relatives, synthesised voices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from simulators.personas._face import AnimatedFace
from simulators.personas._finger import SyntheticFinger
from simulators.personas._gestures import Asked
from simulators.personas._likeness import Likeness, with_likeness
from simulators.personas._pattern import PatternClass
from simulators.personas._persona import Persona
from simulators.personas._portrait import astronaut
from simulators.personas._voice import EspeakVoice


@dataclass(frozen=True)
class ShippedPersona:
    """A person of whom every sample is generated; `likeness` None is the portrait as it is."""

    name: str
    hand: SyntheticFinger
    voice: EspeakVoice
    likeness: Likeness | None = None

    @cached_property
    def face(self) -> AnimatedFace:
        """The person's face, made on first use and kept in memory."""
        portrait = astronaut() if self.likeness is None else with_likeness(astronaut(), self.likeness)
        return AnimatedFace(portrait, self.hand.seed)

    def finger(self, impression: int, care: float = 1.0, which: int = 0) -> tuple[NDArray[np.uint8], int]:
        """See `Persona.finger`: `[560, 416]` at 500 dpi, the core near the middle."""
        return (self.hand, self.hand.neighbour)[which].impression(impression, care)

    def frame(self, seconds: float, care: float = 1.0) -> NDArray[np.uint8]:
        """See `Persona.frame`."""
        return self.face.frame(seconds, care)

    def perform(self, seconds: float, asked: Sequence[Asked], take: int, care: float = 1.0) -> NDArray[np.uint8]:
        """See `Persona.perform`."""
        return self.face.perform(seconds, asked, take, care)

    def say(self, digits: str, take: int, care: float = 1.0) -> tuple[NDArray[np.int16], int]:
        """See `Persona.say`; needs espeak-ng."""
        return self.voice.say(digits, take, care)


# Found by random search: the farthest from all faces before them, by dlib's descriptor, that still look natural.
_LONG_CHINNED = Likeness(
    eye_gap=-0.08,
    eye_size=0.95,
    eye_opening=0.78,
    eye_shift=0.06,
    brow_shift=0.025,
    brow_weight=0.269,
    nose_width=0.78,
    nose_length=1.028,
    nose_shift=-0.025,
    mouth_width=0.823,
    mouth_height=0.849,
    mouth_shift=0.024,
    jaw_width=1.117,
    chin_shift=0.2,
    cheek_width=0.85,
    head_width=1.062,
    head_height=0.98,
    skin=(0.58, 0.66, 0.74),
    hair=(0.28, 0.28, 0.3),
)

_WIDE_EYED = Likeness(
    eye_gap=-0.08,
    eye_size=1.054,
    eye_opening=0.82,
    eye_shift=-0.007,
    brow_shift=-0.08,
    brow_weight=0.3,
    nose_width=0.895,
    nose_length=1.067,
    nose_shift=0.06,
    mouth_width=1.143,
    mouth_height=0.713,
    mouth_shift=0.08,
    jaw_width=1.13,
    chin_shift=-0.061,
    cheek_width=1.16,
    head_width=0.98,
    head_height=1.118,
    skin=(1.06, 1.02, 1.0),
    hair=(1.25, 1.25, 1.2),
    mirrored=True,
)

_SHORT_NOSED = Likeness(
    eye_gap=-0.08,
    eye_size=1.085,
    eye_opening=0.832,
    eye_shift=0.026,
    brow_shift=-0.1,
    brow_weight=0.3,
    nose_width=0.719,
    nose_length=0.82,
    nose_shift=0.003,
    mouth_width=1.15,
    mouth_height=0.65,
    mouth_shift=-0.08,
    jaw_width=0.82,
    chin_shift=-0.109,
    cheek_width=1.011,
    head_width=0.986,
    head_height=0.9,
    skin=(0.86, 0.9, 0.97),
    hair=(0.5, 0.52, 0.8),
)


@cache
def shipped_personas() -> tuple[Persona, ...]:
    """Four people, "persona-a" to "persona-d", of whom no two share a finger, a face or a voice.

    The same objects each time, so that master prints and faces are made once in a process.
    """
    return (
        ShippedPersona("persona-a", SyntheticFinger(121, PatternClass.LEFT_LOOP), EspeakVoice("Alicia", 75, 145, 101)),
        ShippedPersona(
            "persona-b", SyntheticFinger(112, PatternClass.WHORL), EspeakVoice("Mike", 25, 145, 102), _LONG_CHINNED
        ),
        ShippedPersona(
            "persona-c",
            SyntheticFinger(113, PatternClass.RIGHT_LOOP),
            EspeakVoice("travis", 75, 145, 103),
            _WIDE_EYED,
        ),
        ShippedPersona(
            "persona-d", SyntheticFinger(114, PatternClass.ARCH), EspeakVoice("klatt4", 75, 145, 104), _SHORT_NOSED
        ),
    )
