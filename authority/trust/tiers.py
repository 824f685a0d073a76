"""What a score is worth: the requirement's three tiers, to the letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from authority.trust.states import CUT_OFF
from protocol.levels import Access, NodeState, Rotation, Tier, VersionState

HIGH_ABOVE = 800
MEDIUM_ABOVE = 500


@dataclass(frozen=True)
class Grant:
    """What the Key Orchestration Service gives a node: which version, how often it turns over, what it opens."""

    tier: Tier
    version: VersionState
    rotation: Rotation
    access: Access
    alert: bool


_GRANTS = {
    Tier.HIGH: Grant(Tier.HIGH, VersionState.LATEST, Rotation.STANDARD, Access.FULL, alert=False),
    Tier.MEDIUM: Grant(Tier.MEDIUM, VersionState.PREVIOUS, Rotation.INCREASED, Access.LIMITED, alert=False),
    Tier.LOW: Grant(Tier.LOW, VersionState.OUTDATED, Rotation.VERY_FAST, Access.RESTRICTED, alert=True),
}


def tier_of(score: int) -> Tier:
    """Tier of a score in thousandths: high strictly above 800, medium strictly above 500, else low."""
    if not 0 <= score <= 1000:
        raise ValueError(f"a score is between 0 and 1000 thousandths, not {score}")
    if score > HIGH_ABOVE:
        return Tier.HIGH
    return Tier.MEDIUM if score > MEDIUM_ABOVE else Tier.LOW


def distribute_key(score: int) -> Grant:
    """What a node of this score (thousandths) gets; raises `ValueError` outside 0 to 1000."""
    return _GRANTS[tier_of(score)]


def choose_version(grant: Grant, versions: Mapping[VersionState, int]) -> int | None:
    """The version number that the grant names, or none: a missing version means no key, never a newer one."""
    return versions.get(grant.version)


def effective_access(state: NodeState, grant: Grant) -> Access:
    """The grant's access, unless the state cuts the node off."""
    return Access.ISOLATED if state in CUT_OFF else grant.access
