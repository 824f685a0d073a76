"""Rows of gestures: enough of them, and none that a picture in the hand could answer."""

from __future__ import annotations

from itertools import pairwise

import pytest

from protocol.gestures import FEWEST_STEPS, MOST_STEPS, TURNS, Gesture, rows


@pytest.mark.parametrize(("steps", "count"), [(2, 4), (3, 34), (4, 190), (5, 910), (6, 4054)])
def test_so_many_rows_may_be_drawn(steps: int, count: int) -> None:
    assert len(set(rows(steps))) == len(rows(steps)) == count


@pytest.mark.parametrize("steps", range(FEWEST_STEPS, MOST_STEPS + 1))
def test_every_row_has_a_blink_and_a_turn_and_no_gesture_twice_in_a_row(steps: int) -> None:
    for row in rows(steps):
        assert Gesture.BLINK in row
        assert TURNS.intersection(row)
        assert all(one is not other for one, other in pairwise(row))


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_a_row_too_short_or_too_long_cannot_be_drawn(steps: int) -> None:
    with pytest.raises(ValueError, match="2 to 6"):
        rows(steps)
