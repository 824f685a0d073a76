"""Who may exchange traffic with whom, and under which key: pure rules over a network's members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from authority.trust import CUT_OFF, Grant
from protocol.levels import Access, NodeState, ResourceClass


@dataclass(frozen=True)
class Member:
    """A node's place in a network, with what its standing grants.

    `version` is the key version that the grant names, none where the network has no such version; `slot` numbers the
    membership.
    """

    node_id: str
    name: str
    state: NodeState
    lab: bool
    grant: Grant
    version: int | None
    resource_class: ResourceClass
    slot: int = 0

    @property
    def cut_off(self) -> bool:
        """Whether this member holds no key."""
        return self.state in CUT_OFF or self.version is None

    @property
    def access(self) -> Access:
        """The grant's access, or none while the member holds no key."""
        return Access.ISOLATED if self.cut_off else self.grant.access


def opens(access: Access, resource_class: ResourceClass) -> bool:
    """Whether a node of this access may share an association with a member of this class."""
    match access:
        case Access.FULL:
            return True
        case Access.LIMITED:
            return resource_class is not ResourceClass.CRITICAL
        case Access.RESTRICTED:
            return resource_class is ResourceClass.REMEDIATION
        case Access.ISOLATED:
            return False


def may_associate(one: Member, other: Member) -> bool:
    """Whether both sides allow it: where either forbids, no association exists. Lab nodes never meet others."""
    return one.node_id != other.node_id and _compatible(one, other)


def partners(members: Sequence[Member]) -> dict[int, list[int]]:
    """For every member, by slot, the slots of those that it may share associations with, ascending.

    Members that are alike in all that matters are compared once: the work grows with the pairs that there are.
    """
    kinds: dict[tuple[Access, ResourceClass, bool], list[Member]] = {}
    for member in members:
        kinds.setdefault((member.access, member.resource_class, member.lab), []).append(member)
    found: dict[int, list[int]] = {}
    for alike in kinds.values():
        met = sorted(other.slot for them in kinds.values() if _compatible(alike[0], them[0]) for other in them)
        found |= {member.slot: [slot for slot in met if slot != member.slot] for member in alike}
    return found


def _compatible(one: Member, other: Member) -> bool:
    if one.cut_off or other.cut_off or one.lab != other.lab:
        return False
    return opens(one.access, other.resource_class) and opens(other.access, one.resource_class)
