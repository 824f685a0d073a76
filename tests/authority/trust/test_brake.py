"""When the brake trips, what it holds, and who ends it: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authority.trust.brake import BrakeDecision, decided, trips, worsens
from authority.trust.policy import BrakeRules
from protocol.levels import NodeState, Tier

RULES = BrakeRules()
STANDINGS = st.tuples(st.sampled_from([*NodeState]), st.sampled_from([*Tier]))
HOLD, RELEASE = BrakeDecision.HOLD, BrakeDecision.RELEASE


@given(st.integers(0, 60), st.integers(1, 200))
def test_it_trips_exactly_beyond_both_bounds(fallen: int, fleet: int) -> None:
    assert trips(fallen, fleet, RULES) == (fallen >= 5 and fallen / fleet > 0.2)


@given(st.integers(0, 60), st.integers(1, 200))
def test_one_more_fall_never_loosens_it(fallen: int, fleet: int) -> None:
    assert trips(fallen + 1, fleet, RULES) >= trips(fallen, fleet, RULES)


@given(STANDINGS)
def test_staying_is_no_worsening(standing: tuple[NodeState, Tier]) -> None:
    assert not worsens(standing, standing)


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        ((NodeState.ACTIVE, Tier.HIGH), (NodeState.ACTIVE, Tier.MEDIUM), True),
        ((NodeState.ACTIVE, Tier.LOW), (NodeState.ISOLATED, Tier.LOW), True),
        ((NodeState.DEMOTED, Tier.LOW), (NodeState.ISOLATED, Tier.LOW), True),
        ((NodeState.ISOLATED, Tier.LOW), (NodeState.DEMOTED, Tier.LOW), False),
        ((NodeState.DEMOTED, Tier.LOW), (NodeState.ACTIVE, Tier.MEDIUM), False),
        ((NodeState.ACTIVE, Tier.HIGH), (NodeState.OVERDUE, Tier.HIGH), False),
    ],
)
def test_what_takes_keys_away_is_worse(
    before: tuple[NodeState, Tier], after: tuple[NodeState, Tier], worse: bool
) -> None:
    assert worsens(before, after) is worse


@pytest.mark.parametrize(
    ("votes", "wanted"),
    [
        ([], None),
        ([("ada", RELEASE)], None),
        ([("ada", RELEASE), ("ada", RELEASE)], None),
        ([("ada", RELEASE), ("bob", RELEASE)], RELEASE),
        ([("ada", RELEASE), ("ada", HOLD), ("bob", RELEASE)], None),
        ([("ada", RELEASE), ("bob", HOLD), ("eve", HOLD)], HOLD),
    ],
)
def test_two_different_operators_of_one_mind_decide(
    votes: list[tuple[str, BrakeDecision]], wanted: BrakeDecision | None
) -> None:
    assert decided(votes) is wanted
