from __future__ import annotations

import numpy as np
import pytest

from agent.biometrics.digits import DigitVerifier
from agent.biometrics.digits._network import DigitNetwork, parse
from agent.biometrics.digits.evaluation import Plan, Voices, evaluate
from agent.biometrics.digits.scoring import telephone
from tests.agent.biometrics.digits.conftest import Say
from tests.agent.biometrics.digits.test_network import LENGTH

PLAN = Plan(attempts=6, others=60, resamples=50)


@pytest.fixture(scope="module")
def voices(say: Say) -> Voices:
    """Two people with four takes of each digit, one with three digits only."""

    def take(person: int, digit: int, number: int) -> np.ndarray:
        sound = telephone(say(person, str(digit), number).samples(), 16_000)
        return sound[1900:-1900]

    full = {
        f"person {person}": {digit: [take(person, digit, number) for number in range(4)] for digit in range(10)}
        for person in (1, 3)
    }
    return full | {"few": {digit: [take(2, digit, 0)] for digit in (3, 5, 8)}}


def test_right_strings_are_accepted_and_others_are_not(verifier: DigitVerifier, voices: Voices) -> None:
    result = evaluate(verifier.network, voices, PLAN)
    assert result.own is not None
    assert (result.alone.right.count, result.own.right.count) == (18, 12)
    assert result.alone.right.rate >= 0.9
    assert result.own.right.rate >= 0.9
    assert result.own.others.count > 700
    assert result.own.others.accepted == 0
    assert result.own.near[1].rate >= result.own.near[3].rate
    assert result.alone.right.low <= result.alone.right.rate <= result.alone.right.high


def test_a_network_that_knows_nothing_tells_nothing_apart(voices: Voices) -> None:
    result = evaluate(DigitNetwork(parse(bytes(LENGTH))), {"few": voices["few"]}, PLAN)
    assert result.own is None
    assert result.alone.others.rate == pytest.approx(result.alone.right.rate, abs=0.2)


def test_the_same_seed_gives_the_same_result(verifier: DigitVerifier, voices: Voices) -> None:
    assert evaluate(verifier.network, voices, PLAN) == evaluate(verifier.network, voices, PLAN)
