"""Which alerts a change of standing raises: pure."""

from __future__ import annotations

from dataclasses import dataclass

from authority.alerts.rfc5424 import Severity
from protocol.levels import NodeState, Tier

_RANK = {Tier.LOW: 0, Tier.MEDIUM: 1, Tier.HIGH: 2}
_CUT_OFF = {NodeState.PENDING, NodeState.ISOLATED, NodeState.BANNED, NodeState.RETIRED}


@dataclass(frozen=True)
class Change:
    """A node's state and tier before and after."""

    before: NodeState
    after: NodeState
    tier_before: Tier
    tier_after: Tier


@dataclass(frozen=True)
class Notice:
    """An alert to raise, and what happened in half a sentence."""

    severity: Severity
    kind: str
    text: str


_STATE_NOTICES = {
    NodeState.ISOLATED: Notice(Severity.CRITICAL, "node-isolated", "isolated from every peer"),
    NodeState.BANNED: Notice(Severity.CRITICAL, "node-banned", "banned until an operator releases it"),
    NodeState.RETIRED: Notice(Severity.NOTICE, "node-retired", "taken out of service"),
    NodeState.OVERDUE: Notice(Severity.WARNING, "node-overdue", "a summons or an attestation was not answered"),
}


def notices(change: Change) -> list[Notice]:
    """What a change of standing gives notice of, the state first, then the tier."""
    return [notice for notice in (_state_notice(change), _tier_notice(change)) if notice is not None]


def _state_notice(change: Change) -> Notice | None:
    if change.before is change.after:
        return None
    if change.after in _STATE_NOTICES:
        return _STATE_NOTICES[change.after]
    if change.before in {NodeState.ISOLATED, NodeState.BANNED}:
        return Notice(Severity.NOTICE, "node-released", f"no longer {change.before.value}, now {change.after.value}")
    if change.after is NodeState.ACTIVE:
        return Notice(Severity.NOTICE, "node-active", f"active, was {change.before.value}")
    return None


def _tier_notice(change: Change) -> Notice | None:
    keyed_again = change.before in _CUT_OFF
    if change.after in _CUT_OFF or (change.tier_before is change.tier_after and not keyed_again):
        return None
    if change.tier_after is Tier.LOW:
        return Notice(Severity.ERROR, "tier-low", "low tier: outdated key, very fast rotation, restricted access")
    if change.tier_before is change.tier_after:
        return None
    if _RANK[change.tier_after] < _RANK[change.tier_before]:
        return Notice(Severity.WARNING, "tier-lowered", "medium tier: previous key, increased rotation, limited access")
    return Notice(Severity.NOTICE, "tier-raised", f"raised to the {change.tier_after.value} tier")
