"""The brake: when too many nodes fall within an hour, the fault may be ours, and two people decide. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from authority.trust.policy import BrakeRules
from protocol.levels import NodeState, Tier

FALLEN = frozenset({NodeState.DEMOTED, NodeState.ISOLATED})
DECIDERS = 2
_RANK = {Tier.LOW: 0, Tier.MEDIUM: 1, Tier.HIGH: 2}


class BrakeDecision(StrEnum):
    """What operators may decide: keep the nodes as they are, or let what was held take effect."""

    HOLD = "hold"
    RELEASE = "release"


def trips(fallen: int, fleet: int, rules: BrakeRules) -> bool:
    """Whether so many different nodes of a fleet may not fall within the window."""
    return fallen >= rules.nodes and 100 * fallen > rules.percent * fleet


def worsens(before: tuple[NodeState, Tier], after: tuple[NodeState, Tier]) -> bool:
    """Whether a change takes keys or access from a node."""
    falls = after[0] in FALLEN and after[0] is not before[0] and before[0] is not NodeState.ISOLATED
    return falls or _RANK[after[1]] < _RANK[before[1]]


def decided(votes: Sequence[tuple[str, BrakeDecision]]) -> BrakeDecision | None:
    """What two different operators agree on; `votes` are in order, and each operator's last one counts."""
    last = dict(votes)
    for decision in BrakeDecision:
        if sum(vote is decision for vote in last.values()) >= DECIDERS:
            return decision
    return None
