"""What else must have seen a face for it to count: the colours of a screen, and a second camera in infrared."""

from __future__ import annotations

from msgspec import UnsetType

from authority.admitting import VIRTUAL
from authority.trust import Policy
from protocol.evidence import EvidenceClaims
from protocol.messages import SensorIdentity

FACE = "face"
"""The modality that flashes light, and that a second camera sees."""

_NOT = "the face does not count"


def objection(policy: Policy, claims: EvidenceClaims, infrared: SensorIdentity | None, *, lab: bool) -> str:
    """Why the face of this evidence counts for nothing, for a person; empty where it counts, or where there is none.

    `infrared` is the second camera of the enrolment, if that has one. Simulated devices count at `lab` nodes only.
    """
    if all(model.modality != FACE for model in claims.modalities):
        return ""
    found = _not_lit(policy, claims, lab=lab) or _not_seen(policy, claims, infrared, lab=lab)
    return f"{_NOT}: {found}" if found else ""


def _not_lit(policy: Policy, claims: EvidenceClaims, *, lab: bool) -> str:
    """What is wanting of all the flashes that are drawn, where they are demanded."""
    if not policy.challenge.require_flashes:
        return ""
    if isinstance(claims.flashes, UnsetType) or claims.flashes.count < policy.challenge.flashes:
        return "it was not judged by the colours that the policy demands"
    return "" if lab or claims.flashes.transport != VIRTUAL else "a simulated screen lit it"


def _not_seen(policy: Policy, claims: EvidenceClaims, pinned: SensorIdentity | None, *, lab: bool) -> str:
    """What is wanting of a look at each gesture and one at the end: always by a camera that the enrolment has."""
    required, seen = policy.challenge.require_infrared, claims.infrared
    if pinned is None:
        return "no infrared camera is in its enrolment: enrol anew at a node that has one" if required else ""
    if isinstance(seen, UnsetType):
        return "the infrared camera of its enrolment did not look on: put it back, or enrol anew"
    if not required:
        return ""
    if seen.looks <= policy.challenge.gestures:
        return f"the infrared camera looked on {seen.looks} times only"
    return "" if lab or seen.sensor.transport != VIRTUAL else "a simulated infrared camera looked on"
