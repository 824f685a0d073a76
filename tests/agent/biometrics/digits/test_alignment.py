"""The decoder on states that are made by hand, checked against every path there is."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest

from agent.biometrics.digits._alignment import align, free
from agent.biometrics.digits._network import OTHER, SILENCE, STATES


def states_of(plan: list[tuple[int, int]], strength: float = 5.0) -> np.ndarray:
    """Frames in which state after state is `strength` likelier than the rest; each with its number of frames."""
    rows = [state for state, frames in plan for _ in range(frames)]
    made = np.zeros((len(rows), STATES), np.float32)
    made[np.arange(len(rows)), rows] = strength
    return made


def word(digit: int, frames: int = 4) -> list[tuple[int, int]]:
    return [(3 * digit + part, frames) for part in range(3)]


SEVEN_TWO = states_of([(SILENCE, 6), *word(7), (SILENCE, 5), *word(2), (SILENCE, 4)])


def test_a_string_is_found_where_it_is() -> None:
    found = align(SEVEN_TWO, np.array([[7, 2]]))
    assert found.bounds[0].tolist() == [[6, 18], [23, 35]]
    assert found.score[0] == pytest.approx(5.0 * len(SEVEN_TWO))


def test_strings_are_ordered_by_how_well_they_fit() -> None:
    right, swapped, near, none = align(SEVEN_TWO, np.array([[7, 2], [2, 7], [7, 3], [4, 4]])).score
    assert right > near > none
    assert right > swapped


def test_the_free_loop_hears_what_was_said_and_pays_for_words_only() -> None:
    score, heard = free(SEVEN_TWO)
    assert heard == "72"
    assert align(SEVEN_TWO, np.array([[7, 2]])).score[0] - score == pytest.approx(2 * 2.0)


@pytest.mark.parametrize("digits", ["", "5", "55", "0987"])
def test_the_free_loop_hears_any_number_of_digits_with_and_without_pauses(digits: str) -> None:
    for pause in (0, 3):
        plan = [(SILENCE, 3)]
        for digit in digits:
            plan += [*word(int(digit)), (OTHER, pause)]
        assert free(states_of(plan))[1] == digits


def test_the_alignment_is_the_best_of_all_paths() -> None:
    """One digit in noise: every way to cut the frames into silence, three parts of two or more, and silence."""
    states = np.random.default_rng(4).normal(size=(14, STATES)).astype(np.float32)
    sums = np.concatenate([np.zeros((1, STATES)), states.cumsum(axis=0)])
    best = -np.inf
    for cuts in combinations_with_replacement(range(15), 4):
        a, b, c, d = cuts
        if min(b - a, c - b, d - c) >= 2:
            parts = [(0, a, SILENCE), (a, b, 9), (b, c, 10), (c, d, 11), (d, 14, SILENCE)]
            best = max(best, sum(sums[to, state] - sums[at, state] for at, to, state in parts))
    assert align(states, np.array([[3]])).score[0] == pytest.approx(best, rel=1e-4)


def test_too_short_a_recording_fits_nothing() -> None:
    assert align(SEVEN_TWO[:9], np.array([[7, 2]])).score[0] < -1e5
