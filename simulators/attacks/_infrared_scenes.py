"""What the infrared camera beside the colour camera sees of each attack on the face.

A screen gives no near infrared and is dark glass. Ink of most printers takes none up, so that a print is white paper;
toner of soot does, and shows the face, as near and as flat all over. Who feeds pictures in behind the colour camera
still has the other one before them, and answers the prompts in person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulators.attacks._face_scenes import FaceAttack, LiveFace
from simulators.attacks._photograph import HeldPhotograph
from simulators.personas import Asked
from simulators.personas._fields import rng_of
from simulators.personas._infrared import infrared_picture, sensed

Grey = NDArray[np.uint8]
See = Callable[[float, Sequence[Asked], bool], Grey]

GLASS, PAPER = 0.05, 0.8
"""Share of near infrared that a screen and white paper throw back."""

TONER = "toner"
"""The print that shows, in place of `ink`."""


class InfraredScene(Protocol):
    """Somebody or something before an infrared camera."""

    def see(self, seconds: float, asked: Sequence[Asked], lit: bool) -> Grey:
        """Uint8 `[480, 640]` at `seconds`, after these prompts, with the emitter on or off."""
        ...


class _Scene:
    def __init__(self, see: See) -> None:
        self.see = see


def live_infrared(face: LiveFace) -> InfraredScene:
    """The person themself."""
    return _Scene(lambda seconds, asked, lit: face.face.infrared(seconds, asked, face.take, lit=lit))


def infrared_attack(species: str, means: FaceAttack, print_of: str = "ink") -> InfraredScene:
    """What the second camera sees of one of `LIT_SPECIES`; prints are of ink, or of toner."""
    return _Scene(_BY_SPECIES[species](means, print_of))


def _print(means: FaceAttack, print_of: str, *, still: bool) -> See:
    photograph = HeldPhotograph(means.victim, means.seed, still=still)

    def see(seconds: float, asked: Sequence[Asked], lit: bool) -> Grey:
        rng = rng_of(means.seed, round(seconds * 1000), 41)
        if print_of == TONER:
            return infrared_picture(photograph.at(seconds, () if still else asked), 1.0, rng, lit=lit)
        return sensed(np.full((480, 640), PAPER, np.float32), 1.0, rng, lit=lit)

    return see


def _glass(means: FaceAttack, _: str) -> See:
    def see(seconds: float, asked: Sequence[Asked], lit: bool) -> Grey:  # noqa: ARG001
        rng = rng_of(means.seed, round(seconds * 1000), 42)
        return sensed(np.full((480, 640), GLASS, np.float32), 1.0, rng, lit=lit)

    return see


def _in_person(means: FaceAttack, _: str) -> See:
    return lambda seconds, asked, lit: means.attacker.infrared(seconds, asked, means.seed, lit=lit)


_BY_SPECIES: Mapping[str, Callable[[FaceAttack, str], See]] = {
    "still-photo": lambda means, print_of: _print(means, print_of, still=True),
    "moved-photo": lambda means, print_of: _print(means, print_of, still=False),
    "looped-video": _glass,
    "recorded-answer": _glass,
    "dropped-frames": _glass,
    "displayed-video": _glass,
    "injected-buffer": _in_person,
    "injected-with-noise": _in_person,
}
