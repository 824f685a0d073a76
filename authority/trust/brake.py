"""The brake: when too many nodes fall within an hour, the fault may be ours, and two people decide. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def trips(falls: Iterable[tuple[str, float]], fleet: int, rules: BrakeRules, now: float) -> bool:
    """Whether so many nodes of a fleet fell within the window; `falls` are node ids and POSIX seconds.

    A node counts once, and a fall that the clock puts into the future counts.
    """
    fallen = {node_id for node_id, at in falls if at > now - rules.window_s}
    return len(fallen) >= rules.nodes and 100 * len(fallen) > rules.percent * fleet


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
