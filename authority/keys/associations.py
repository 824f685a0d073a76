"""Who may exchange traffic with whom, and under which key: pure rules over a network's members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from authority.trust import CUT_OFF, Grant
from protocol.levels import Access, NodeState, ResourceClass


@dataclass(frozen=True)
class Member:
    """A node's place in a network, with what its standing grants.

    `version` is the key version that the grant names, none where the network has no such version.
    """

    node_id: str
    name: str
    state: NodeState
    lab: bool
    grant: Grant
    version: int | None
    resource_class: ResourceClass

    @property
    def cut_off(self) -> bool:
        """Whether this member holds no key."""
        return self.state in CUT_OFF or self.version is None

    @property
    def access(self) -> Access:
        """The grant's access, or none while the member holds no key."""
        return Access.ISOLATED if self.cut_off else self.grant.access


@dataclass(frozen=True)
class Link:
    """An association from `source` to `destination` (node ids); its class is the destination's."""

    source: str
    destination: str
    resource_class: ResourceClass


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
    if one.node_id == other.node_id or one.cut_off or other.cut_off or one.lab != other.lab:
        return False
    return opens(one.access, other.resource_class) and opens(other.access, one.resource_class)


def links(members: Sequence[Member]) -> list[Link]:
    """Every ordered pair that may hold an association, in a stable order."""
    ordered = sorted(members, key=lambda member: member.node_id)
    return [
        Link(source.node_id, destination.node_id, destination.resource_class)
        for source in ordered
        for destination in ordered
        if may_associate(source, destination)
    ]
