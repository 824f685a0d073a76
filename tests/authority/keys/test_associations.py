"""Who may talk with whom: every combination of access and resource class."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from authority.keys.associations import Member, may_associate, opens, partners
from authority.trust import distribute_key
from protocol.levels import Access, NodeState, ResourceClass

C = ResourceClass
SCORES = {Access.FULL: 900, Access.LIMITED: 600, Access.RESTRICTED: 300}


def member(
    name: str,
    access: Access = Access.FULL,
    resource_class: ResourceClass = C.NORMAL,
    *,
    state: NodeState = NodeState.ACTIVE,
    lab: bool = False,
    version: int | None = 1,
) -> Member:
    return Member(name, name, state, lab, distribute_key(SCORES[access]), version, resource_class)


OPENS = {
    Access.FULL: {C.CRITICAL, C.NORMAL, C.REMEDIATION},
    Access.LIMITED: {C.NORMAL, C.REMEDIATION},
    Access.RESTRICTED: {C.REMEDIATION},
    Access.ISOLATED: set(),
}


@pytest.mark.parametrize(("access", "resource_class"), [*product(Access, C)])
def test_what_each_access_opens(access: Access, resource_class: ResourceClass) -> None:
    assert opens(access, resource_class) is (resource_class in OPENS[access])


@pytest.mark.parametrize(("one", "other", "class_one", "class_other"), [*product(SCORES, SCORES, C, C)])
def test_either_side_forbids(one: Access, other: Access, class_one: ResourceClass, class_other: ResourceClass) -> None:
    allowed = may_associate(member("a", one, class_one), member("b", other, class_other))
    assert allowed is (class_other in OPENS[one] and class_one in OPENS[other])


@pytest.mark.parametrize("state", [NodeState.PENDING, NodeState.ISOLATED, NodeState.BANNED, NodeState.RETIRED])
def test_a_node_that_is_cut_off_meets_nobody(state: NodeState) -> None:
    outcast = member("a", state=state)
    assert not may_associate(outcast, member("b", resource_class=C.REMEDIATION))
    assert not may_associate(member("b"), outcast)


def test_without_a_version_there_is_no_association() -> None:
    assert not may_associate(member("a", version=None), member("b"))


def test_lab_nodes_meet_lab_nodes_alone() -> None:
    assert not may_associate(member("a", lab=True), member("b"))
    assert may_associate(member("a", lab=True), member("b", lab=True))


def test_the_members_that_may_meet_are_found_as_if_every_two_were_compared() -> None:
    kinds = [*product(SCORES, C, [False, True], [NodeState.ACTIVE, NodeState.ISOLATED])] * 2
    members = [
        replace(member(f"n{slot}", access, resource_class, state=state, lab=lab), slot=slot)
        for slot, (access, resource_class, lab, state) in enumerate(kinds, 1)
    ]
    expected = {one.slot: [other.slot for other in members if may_associate(one, other)] for one in members}
    assert partners(members) == expected
    assert any(expected.values())
