"""What a simulated person can do, and the one error that personas raise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulators.personas._gestures import Asked


class PersonaError(ValueError):
    """A persona cannot be made or cannot act; `remedy` tells what to do about it."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.args[0]}. {self.remedy}"


class Persona(Protocol):
    """A person in front of the sensors. Every method is a pure function of its arguments and of who the person is.

    `care` runs from 1.0 (as one should) to 0.0 (hurried): still the same person, but a poorer sample.
    """

    @property
    def name(self) -> str:
        """A neutral name, unique among the personas of one call."""
        ...

    def finger(self, impression: int, care: float = 1.0, which: int = 0) -> tuple[NDArray[np.uint8], int]:
        """Touch number `impression` (0 or more) of finger `which` (0 or 1): uint8 `[h, w]`, ridges dark, its dpi."""
        ...

    def frame(self, seconds: float, care: float = 1.0) -> NDArray[np.uint8]:
        """What a camera sees at `seconds` (0 or more): uint8 `[480, 640, 3]`, BGR."""
        ...

    def perform(self, seconds: float, asked: Sequence[Asked], take: int, care: float = 1.0) -> NDArray[np.uint8]:
        """What a camera sees at `seconds` of presentation number `take` (0 or more), in which gestures were asked for.

        As `frame` else. The person reacts after a moment, and never before they were asked.
        """
        ...

    def say(self, digits: str, take: int, care: float = 1.0) -> tuple[NDArray[np.int16], int]:
        """`digits` (one or more of 0-9) spoken, take number `take` (0 or more): int16 `[n]` mono, and 16000 per second.

        Raises `PersonaError` when the text is not digits or the person cannot be heard.
        """
        ...
