"""People who are asked for gestures: after a moment, as far as people do, and back."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.personas import GESTURES, Asked
from simulators.personas._gestures import DELAY_S, acted
from simulators.personas._pose import Pose

STILL = Pose()
SIGNS = {
    "turn-left": ("yaw", 1),
    "turn-right": ("yaw", -1),
    "tilt-left": ("roll", -1),
    "tilt-right": ("roll", 1),
    "blink": ("closed", 1),
}
INSTANTS = np.arange(1.0, 5.0, 0.02)


def course(gesture: str, seed: int, care: float = 1.0) -> np.ndarray:
    """What the gesture moves, from its prompt at 1 s on."""
    name, sign = SIGNS[gesture]
    return np.array([sign * getattr(acted(STILL, [Asked(gesture, 1.0)], t, seed, care), name) for t in INSTANTS])


@pytest.mark.parametrize("gesture", GESTURES)
def test_a_gesture_comes_after_the_persons_own_delay_and_ends(gesture: str) -> None:
    for seed in range(20):
        moved = course(gesture, seed)
        begun = INSTANTS[moved > 0][0] - 1.0
        assert DELAY_S[0] <= begun <= DELAY_S[1] + 0.05
        assert moved.max() > (0.99 if gesture == "blink" else 14.0)
        assert moved.min() == 0.0
        assert moved[-1] == pytest.approx(0.0)


def test_nobody_moves_before_being_asked_or_at_a_word_that_is_no_gesture() -> None:
    assert acted(STILL, [Asked("blink", 1.0)], 0.9, 1) == STILL
    assert acted(STILL, [Asked("somersault", 1.0)], 2.0, 1) == STILL


def test_everybody_has_their_own_time_and_the_same_each_time() -> None:
    courses = [course("turn-left", seed) for seed in (1, 2, 1)]
    assert (courses[0] == courses[2]).all()
    assert (courses[0] != courses[1]).any()


def test_the_careless_are_later_and_turn_less() -> None:
    pairs = [(course("turn-right", seed), course("turn-right", seed, 0.0)) for seed in range(20)]
    assert all((careless > 0).argmax() >= (careful > 0).argmax() for careful, careless in pairs)
    assert all(careless.max() < careful.max() for careful, careless in pairs)


def test_takes_of_one_person_differ_and_none_is_drawn_by_chance(personas) -> None:
    asked = [Asked("turn-left", 0.5)]
    one, same, other = (personas[0].perform(1.4, asked, take) for take in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
