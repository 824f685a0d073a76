"""The mapping as a document: out and in again, whole or not at all, and twice like once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from authority.keys import add_member, create_network
from authority.keys.mapping import listing
from authority.keys.mapping_file import export, import_mapping, parse
from authority.refusal import Refused
from authority.store import schema
from protocol.levels import ResourceClass
from tests.authority.world import World, open_world


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as made:
        for name in ("a", "b", "c"):
            made.node(name, state="active", score=900)
        made.node("toy", state="active", score=900, lab=True)
        made.node("old", state="retired")
        create_network(made.conn, made.rt, "core", made.clock)
        for number, name in enumerate(("a", "b"), 1):
            node_id = made.conn.scalar(select(schema.node.c.id).where(schema.node.c.name == name))
            add_member(made.conn, made.rt, "core", node_id, f"10.7.0.{number}", ResourceClass.NORMAL, made.clock)
        yield made


def document(members: list[dict[str, Any]], network: str = "core", **more: Any) -> dict[str, Any]:
    return {"format": "keyvigil-mapping/1", "networks": [{"name": network, "members": members}], **more}


def taken(world: World, content: dict[str, Any], *, dry_run: bool = False):
    return import_mapping(world.conn, world.rt, parse(content), "olga", world.clock, dry_run=dry_run)


def everything(world: World) -> list[Any]:
    return [world.conn.execute(select(table)).all() for table in (schema.network, schema.member, schema.node)]


FULL = document(
    [
        {"node": "a", "address": "10.7.0.2"},
        {"node": "b", "address": "10.7.0.1", "resource_class": "critical"},
        {"node": "c", "address": "10.7.0.3", "resource_class": "remediation"},
    ],
    endpoints={"a": "192.0.2.1", "c": "2001:DB8::3"},
)


def test_addresses_change_hands_members_come_in_and_all_are_told(world: World) -> None:
    changes, pushes = taken(world, FULL)
    assert [(change.kind, change.node) for change in changes] == [
        ("member", "a"), ("member", "b"), ("member", "c"), ("endpoint", "a"), ("endpoint", "c"),
    ]  # fmt: skip
    found = {row["address"]: (row["node"], row["resource_class"], row["endpoint"]) for row in listing(world.conn)}
    assert found == {
        "10.7.0.1": ("b", "critical", ""),
        "10.7.0.2": ("a", "normal", "192.0.2.1"),
        "10.7.0.3": ("c", "remediation", "2001:db8::3"),
    }
    got = world.bundles(pushes)
    assert {(peer.name, peer.address, peer.endpoint) for peer in got["b"].peers} == {
        ("a", "10.7.0.2", "192.0.2.1"),
        ("c", "10.7.0.3", "2001:db8::3"),
    }


def test_the_same_document_twice_changes_nothing(world: World) -> None:
    taken(world, FULL)
    before = everything(world)
    assert taken(world, FULL) == ([], [])
    assert everything(world) == before


def test_what_is_exported_changes_nothing_when_it_comes_back(world: World) -> None:
    taken(world, FULL)
    written = msgspec.to_builtins(export(world.conn))
    assert written["endpoints"] == {"a": "192.0.2.1", "c": "2001:db8::3"}
    assert taken(world, written) == ([], [])


def test_it_makes_the_networks_that_it_names_with_keys_for_every_tier(world: World) -> None:
    _, pushes = taken(world, document([{"node": "c", "address": "fd00::1"}], network="edge"))
    assert world.bundles(pushes)["c"].version == 3
    assert world.audit_kinds()[-2:] == ["network", "member"]


def test_a_dry_run_tells_and_changes_nothing(world: World) -> None:
    before = everything(world)
    changes, pushes = taken(world, FULL, dry_run=True)
    assert (len(changes), pushes) == (5, [])
    assert everything(world) == before


GOOD = {"node": "c", "address": "10.7.0.3"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (document([GOOD, {"node": "nobody", "address": "10.7.0.9"}]), "no node named"),
        (document([GOOD, {"node": "old", "address": "10.7.0.9"}]), "no node named"),
        (document([GOOD, {"node": "b", "address": "10.7.0.1"}]), "twice"),
        (document([GOOD, GOOD]), "twice"),
        (document([GOOD, {"node": "toy", "address": "10.7.0.9"}]), "lab nodes"),
        (document([GOOD, {"node": "b", "address": "ten"}]), "IPv4"),
        (document([GOOD], endpoints={"a": "224.0.0.1"}), "one host"),
        (document([GOOD], endpoints={"nobody": "192.0.2.1"}), "no node named"),
        (document([{**GOOD, "resource_class": "royal"}]), "royal"),
        (document([{**GOOD, "colour": "red"}]), "colour"),
        (document([GOOD], network="No Name"), "name"),
        ({"format": "keyvigil-mapping/2", "networks": []}, "keyvigil-mapping/2"),
        ({"networks": []}, "format"),
        ({**document([GOOD]), "networks": [{"name": "core"}, {"name": "core"}]}, "twice"),
        ({"format": "keyvigil-mapping/1", "networks": 7}, "networks"),
    ],
)
def test_one_mistake_anywhere_and_nothing_is_changed(world: World, content: dict[str, Any], words: str) -> None:
    before = everything(world)
    with pytest.raises(Refused, match=words):
        taken(world, content)
    assert everything(world) == before


def test_members_that_it_does_not_name_stay(world: World) -> None:
    taken(world, document([{"node": "c", "address": "10.7.0.3"}]))
    assert {row["node"] for row in listing(world.conn, "core")} == {"a", "b", "c"}
