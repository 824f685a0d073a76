"""The shipped people speaking digits, and the shipped network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.biometrics import Recording
from agent.biometrics.digits import DigitVerifier
from simulators.personas import Persona, shipped_personas

ENROLLED = ("407185", "239612", "305748")
"""Every digit is among them."""

Say = Callable[..., Recording]


@pytest.fixture(scope="session")
def verifier() -> DigitVerifier:
    return DigitVerifier()


@pytest.fixture(scope="session")
def people() -> tuple[Persona, ...]:
    return shipped_personas()


@pytest.fixture(scope="session")
def say(people: tuple[Persona, ...]) -> Say:
    """Person number, digits, take: the recording."""

    def speak(person: int, digits: str, take: int = 7) -> Recording:
        return Recording(*people[person].say(digits, take))

    return speak


@pytest.fixture(scope="session")
def enrolled(verifier: DigitVerifier, say: Say) -> list[list[bytes]]:
    """The takes of each person's enrolment."""
    return [
        [verifier.listen(say(person, digits, take).samples(), digits).takes for take, digits in enumerate(ENROLLED)]
        for person in range(4)
    ]
