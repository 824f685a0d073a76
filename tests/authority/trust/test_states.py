"""The state machine of a node, over every state and every kind of facts."""

from __future__ import annotations

from itertools import product

import pytest

from authority.trust import Facts, OperatorAction, TransitionRefused, default_policy, next_state, ordered_state
from protocol.levels import NodeState, Tier

S = NodeState
RULES = default_policy().isolation
EVERY_FACT = [Facts(*each) for each in product(Tier, range(5), range(4), (False, True)) if not (each[1] and each[2])]
STANDING = (S.ACTIVE, S.OVERDUE, S.DEMOTED)


def expected(state: NodeState, facts: Facts) -> NodeState:
    """The rules again, as a table read from top to bottom."""
    table = [
        (state in {S.BANNED, S.RETIRED}, state),
        (state is S.PENDING and facts.accepted_in_row == 0, S.PENDING),
        (state is S.ISOLATED and facts.accepted_in_row < 2, S.ISOLATED),
        (state is S.ISOLATED, S.DEMOTED),
        (facts.failures_in_row >= 3, S.ISOLATED),
        (facts.tier is Tier.LOW, S.DEMOTED),
        (facts.overdue, S.OVERDUE),
    ]
    return next((target for holds, target in table if holds), S.ACTIVE)


@pytest.mark.parametrize("state", S)
def test_every_transition(state: NodeState) -> None:
    for facts in EVERY_FACT:
        assert next_state(state, facts, RULES) is expected(state, facts), (state, facts)


@pytest.mark.parametrize("state", [S.BANNED, S.RETIRED])
def test_only_an_operator_leaves_banned_and_nothing_leaves_retired(state: NodeState) -> None:
    assert {next_state(state, facts, RULES) for facts in EVERY_FACT} == {state}


def test_isolation_is_left_for_demoted_alone() -> None:
    assert {next_state(S.ISOLATED, facts, RULES) for facts in EVERY_FACT} == {S.ISOLATED, S.DEMOTED}


def test_no_rule_bans_retires_or_goes_back_to_pending() -> None:
    reached = {next_state(state, facts, RULES) for state in (*STANDING, S.ISOLATED) for facts in EVERY_FACT}
    assert reached == {S.ACTIVE, S.OVERDUE, S.DEMOTED, S.ISOLATED}


ORDERS = {
    OperatorAction.ISOLATE: {state: S.ISOLATED for state in S if state not in {S.BANNED, S.RETIRED}},
    OperatorAction.RELEASE: {S.ISOLATED: S.DEMOTED, S.BANNED: S.DEMOTED},
    OperatorAction.BAN: {state: S.BANNED for state in S if state is not S.RETIRED},
    OperatorAction.RETIRE: dict.fromkeys(S, S.RETIRED),
}


@pytest.mark.parametrize(("action", "state"), [*product(OperatorAction, S)])
def test_every_order(action: OperatorAction, state: NodeState) -> None:
    if state in ORDERS[action]:
        assert ordered_state(state, action, presented=True) is ORDERS[action][state]
    else:
        with pytest.raises(TransitionRefused, match=state.value):
            ordered_state(state, action, presented=True)


@pytest.mark.parametrize("state", [S.ISOLATED, S.BANNED])
def test_a_release_gives_no_key_where_nobody_was_ever_accepted(state: NodeState) -> None:
    assert ordered_state(state, OperatorAction.RELEASE, presented=False) is S.PENDING
