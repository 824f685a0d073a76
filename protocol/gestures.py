"""Gestures that a challenge asks a face for: the words, and the rows of them that may be drawn."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from itertools import pairwise, product


class Gesture(StrEnum):
    """What the person does; left and right are their own."""

    BLINK = "blink"
    TURN_LEFT = "turn-left"
    TURN_RIGHT = "turn-right"
    TILT_LEFT = "tilt-left"
    TILT_RIGHT = "tilt-right"


TURNS = frozenset({Gesture.TURN_LEFT, Gesture.TURN_RIGHT})

FEWEST_STEPS = 2
MOST_STEPS = 6


@cache
def rows(steps: int) -> tuple[tuple[Gesture, ...], ...]:
    """Every row of `steps` gestures that may be drawn, in a fixed order: 4, 34, 190, 910, 4054 of 2 to 6 steps.

    None has a gesture twice in a row, so that each has an end; each has a blink and a turn of the head, because a
    photograph can be tilted. Raises `ValueError` for a number of steps out of range.
    """
    if not FEWEST_STEPS <= steps <= MOST_STEPS:
        raise ValueError(f"a row has {FEWEST_STEPS} to {MOST_STEPS} gestures, not {steps}")
    return tuple(row for row in product(Gesture, repeat=steps) if _admissible(row))


def _admissible(row: tuple[Gesture, ...]) -> bool:
    changes = all(one is not other for one, other in pairwise(row))
    return changes and Gesture.BLINK in row and not TURNS.isdisjoint(row)
