"""Networks: their versions from the first hour, their members, look-ups."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select

from authority.keys import KekError, add_member, create_network, look_up, remove_member, rotate_versions
from authority.keys.versions import numbers_by_state, open_secret
from authority.refusal import Refused
from authority.store import schema
from protocol.levels import ResourceClass, VersionState
from tests.authority.world import World, open_world

NORMAL = ResourceClass.NORMAL


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as made:
        create_network(made.conn, made.rt, "core", made.clock)
        yield made


def test_a_network_has_a_version_for_every_tier_from_the_first_hour(world: World) -> None:
    assert numbers_by_state(world.conn, "core") == {
        VersionState.OUTDATED: 1,
        VersionState.PREVIOUS: 2,
        VersionState.LATEST: 3,
    }
    secrets = [open_secret(world.conn, world.rt, "core", number) for number in (1, 2, 3)]
    assert {len(secret) for secret in secrets} == {32}
    assert len({*secrets}) == 3


def test_secrets_lie_wrapped(world: World) -> None:
    stored = world.conn.scalars(select(schema.key_version.c.wrapped)).all()
    secrets = [open_secret(world.conn, world.rt, "core", number) for number in (1, 2, 3)]
    assert not any(secret in wrapped for secret in secrets for wrapped in stored)


def test_a_wrapped_secret_does_not_open_in_another_row(world: World) -> None:
    row = schema.key_version
    wrapped = world.conn.scalar(select(row.c.wrapped).where(row.c.version == 1))
    world.conn.execute(row.update().where(row.c.version == 3).values(wrapped=wrapped))
    with pytest.raises(KekError):
        open_secret(world.conn, world.rt, "core", 3)


def test_a_network_is_not_created_twice(world: World) -> None:
    with pytest.raises(Refused, match="already"):
        create_network(world.conn, world.rt, "core", world.clock)


def test_rotations_keep_three_versions_alive(world: World) -> None:
    for _ in range(4):
        rotate_versions(world.conn, world.rt, "core", "olga", world.clock)
    assert sorted(numbers_by_state(world.conn, "core").values()) == [5, 6, 7]
    assert world.audit_kinds() == ["key-destroyed", "keys-rotated"] * 4


def test_unknown_networks_and_nodes_are_refused(world: World) -> None:
    node = world.node("n1")
    for network, who in (("edge", node), ("core", "ff" * 32)):
        with pytest.raises(Refused, match="no "):
            add_member(world.conn, world.rt, network, who, "10.7.0.1", NORMAL, world.clock)
    with pytest.raises(Refused, match="no network"):
        rotate_versions(world.conn, world.rt, "edge", "olga", world.clock)


def test_an_address_is_an_ip_address_and_taken_once(world: World) -> None:
    one, two = world.node("one"), world.node("two")
    add_member(world.conn, world.rt, "core", one, "fd00::1", NORMAL, world.clock)
    assert look_up(world.conn, "core", "fd00:0::1") == one
    assert look_up(world.conn, "core", "fd00::2") is None
    with pytest.raises(Refused, match="taken"):
        add_member(world.conn, world.rt, "core", two, "fd00:0:0::1", NORMAL, world.clock)
    with pytest.raises(Refused, match="IPv4 or IPv6"):
        add_member(world.conn, world.rt, "core", two, "host-2", NORMAL, world.clock)
    with pytest.raises(Refused, match="member of core already"):
        add_member(world.conn, world.rt, "core", one, "fd00::9", NORMAL, world.clock)


def test_a_lab_node_never_reaches_a_production_network(world: World) -> None:
    add_member(world.conn, world.rt, "core", world.node("real"), "10.7.0.1", NORMAL, world.clock)
    with pytest.raises(Refused, match="lab nodes"):
        add_member(world.conn, world.rt, "core", world.node("toy", lab=True), "10.7.0.2", NORMAL, world.clock)


def test_a_membership_gets_a_slot_that_none_had_before(world: World) -> None:
    slots = schema.member.c.slot
    for number in range(1, 4):
        node = world.node(f"n{number}")
        add_member(world.conn, world.rt, "core", node, f"10.7.0.{number}", NORMAL, world.clock)
        assert world.conn.scalars(select(slots)).all() == [number]
        remove_member(world.conn, world.rt, "core", node, "olga", world.clock)
