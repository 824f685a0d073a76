"""Life of a node and of a challenge: pure transitions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from authority.trust.policy import IsolationRules
from protocol.levels import NodeState, Tier


class ChallengeState(StrEnum):
    """Life of a challenge row; the first two are open, the others final."""

    SUMMONED = "summoned"
    ACTIVATED = "activated"
    ACCEPTED = "accepted"
    FAILED = "failed"
    MISSED = "missed"
    UNDECIDED = "undecided"
    WITHDRAWN = "withdrawn"


OPEN_CHALLENGES = (ChallengeState.SUMMONED, ChallengeState.ACTIVATED)
"""States in which a challenge still waits for the node."""

CUT_OFF = frozenset({NodeState.PENDING, NodeState.ISOLATED, NodeState.BANNED, NodeState.RETIRED})
"""States in which a node holds no key."""


class OperatorAction(StrEnum):
    """What an operator may order."""

    ISOLATE = "isolate"
    RELEASE = "release"
    BAN = "ban"
    RETIRE = "retire"


class TransitionRefused(ValueError):
    """The state does not allow what was ordered."""


@dataclass(frozen=True)
class Facts:
    """What the rules look at. The rows of failures and acceptances are counted from the last isolation or release."""

    tier: Tier
    failures_in_row: int
    accepted_in_row: int
    overdue: bool


def next_state(state: NodeState, facts: Facts, rules: IsolationRules) -> NodeState:
    """State after a presentation, an attestation or the passing of time.

    Nothing here leaves `banned` or `retired`; `isolated` is left for `demoted` after enough acceptances in a row.
    """
    if state in {NodeState.BANNED, NodeState.RETIRED}:
        return state
    if state is NodeState.PENDING and facts.accepted_in_row == 0:
        return state
    if state is NodeState.ISOLATED:
        return NodeState.DEMOTED if facts.accepted_in_row >= rules.recover_after else state
    return _standing_state(facts, rules)


def _standing_state(facts: Facts, rules: IsolationRules) -> NodeState:
    if facts.failures_in_row >= rules.failures:
        return NodeState.ISOLATED
    if facts.tier is Tier.LOW:
        return NodeState.DEMOTED
    return NodeState.OVERDUE if facts.overdue else NodeState.ACTIVE


def ordered_state(state: NodeState, action: OperatorAction, *, presented: bool) -> NodeState:
    """State after an operator's order; raises `TransitionRefused` when the state does not allow it.

    A release leads a node at which nobody ever was accepted back to `pending`, where it holds no key.
    """
    released = NodeState.DEMOTED if presented else NodeState.PENDING
    match action:
        case _ if state is NodeState.RETIRED:
            allowed, target = action is OperatorAction.RETIRE, NodeState.RETIRED
        case OperatorAction.RETIRE:
            allowed, target = True, NodeState.RETIRED
        case OperatorAction.BAN:
            allowed, target = True, NodeState.BANNED
        case OperatorAction.ISOLATE:
            allowed, target = state is not NodeState.BANNED, NodeState.ISOLATED
        case OperatorAction.RELEASE:
            allowed, target = state in {NodeState.ISOLATED, NodeState.BANNED}, released
    if not allowed:
        raise TransitionRefused(f"a node that is {state.value} cannot be given the order to {action.value}")
    return target
