"""What operators see: standing, keys, records; and never a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from authority import audit, scheduler, standing, views
from authority.alerts import raise_alert
from authority.keys import add_member, create_network, rotate_versions
from authority.trust import PresentationKind
from protocol.levels import ResourceClass
from tests.authority.world import World, open_world


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as opened:
        yield opened


def accepted(world: World, node_id: str, times: int = 3) -> None:
    for number in range(times):
        world.clock += 60
        kind = PresentationKind.ACCEPTED
        standing.record_presentation(
            world.conn, world.rt, node_id, f"{node_id[:8]}-{number}", kind, 1000, 1000, world.clock
        )


def view(world: World, name: str) -> views.View:
    row = views.find_node(world.conn, name)
    assert row is not None
    return views.node_view(world.conn, world.rt, row)


def test_a_node_is_found_by_name_or_id_and_not_otherwise(world: World):
    node_id = world.node("n1")
    assert {views.find_node(world.conn, key).id for key in ("n1", node_id)} == {node_id}
    for other in ("", "n", "N1", "n1 ", "%", node_id[:-1]):
        assert views.find_node(world.conn, other) is None


def test_nodes_come_in_the_order_of_their_names(world: World):
    for name in ("b", "c", "a"):
        world.node(name)
    assert [each["name"] for each in views.node_list(world.conn, world.rt)] == ["a", "b", "c"]


def test_what_a_node_holds_follows_its_standing(world: World):
    node_id = world.node("n1")
    world.set_node(node_id, ownership="taken")
    fresh = view(world, "n1")
    assert (fresh["state"], fresh["tier"], fresh["access"], fresh["answered"]) == ("pending", "low", "isolated", 0)
    create_network(world.conn, world.rt, "office", world.clock)
    add_member(world.conn, world.rt, "office", node_id, "10.0.0.1", ResourceClass.NORMAL, world.clock)
    accepted(world, node_id)
    high = view(world, "n1")
    assert (high["tier"], high["access"], high["rotation"], high["answered"]) == ("high", "full", "standard", 3)
    assert high["rotation_s"] == world.policy.rotation.standard_s
    (network,) = high["networks"]
    assert (network["network"], network["version_state"], network["address"]) == ("office", "latest", "10.0.0.1")
    standing.record_attestation(world.conn, world.rt, node_id, ok=False, reason="PCR 4", now=world.clock)
    low = view(world, "n1")
    assert (low["score"], low["tier"], low["access"], low["rotation"]) == (0, "low", "restricted", "very-fast")
    standing.ban(world.conn, world.rt, node_id, "operator", "stolen", world.clock)
    banned = view(world, "n1")
    assert (banned["access"], banned["reason"], banned["networks"][0]["version"]) == ("isolated", "stolen", None)


@pytest.mark.parametrize("state", ["pending", "isolated", "banned", "retired"])
def test_a_node_that_is_cut_off_has_no_access_whatever_its_score(world: World, state: str):
    world.node("n1", state=state, score=1000)
    world.node("n2", state="active", score=1000)
    assert (view(world, "n1")["access"], view(world, "n2")["access"]) == ("isolated", "full")


def test_operators_see_the_challenge_and_when_the_next_is_due(world: World):
    node_id = world.node("n1")
    assert (view(world, "n1")["challenge"], view(world, "n1")["next_challenge_at"]) == (None, None)
    world.enrol(node_id)
    scheduler.challenge_now(world.conn, world.rt, node_id, "on-demand", world.clock)
    seen = view(world, "n1")
    assert (seen["challenge"]["state"], seen["challenge"]["reason"]) == ("summoned", "on-demand")
    assert seen["next_challenge_at"] > world.clock
    assert seen["profiles"] == 1


def test_the_detail_lists_profiles_and_the_last_presentations(world: World):
    node_id = world.node("n1")
    record = world.enrol(node_id, "ada")
    accepted(world, node_id, times=25)
    detail = views.node_detail(world.conn, world.rt, views.find_node(world.conn, "n1"))
    assert [(each["admin"], each["record_id"], each["node"]) for each in detail["profiles"]] == [("ada", record, "n1")]
    assert [each["modality"] for each in detail["profiles"][0]["modalities"]] == ["face", "fingerprint"]
    times = [each["at"] for each in detail["presentations"]]
    assert len(times) == 20 and times == sorted(times, reverse=True) and times[0] == world.clock


def test_profiles_are_listed_by_node_and_state(world: World):
    one, two = world.node("n1"), world.node("n2")
    world.enrol(one, "ada")
    world.clock += 1
    world.enrol(two, "bob")
    assert [each["admin"] for each in views.profile_list(world.conn)] == ["bob", "ada"]
    assert [each["admin"] for each in views.profile_list(world.conn, one)] == ["ada"]
    assert len(views.profile_list(world.conn, state="active")) == 2
    assert views.profile_list(world.conn, state="revoked") == []


def test_networks_show_members_and_versions_and_no_key(world: World):
    node_id = world.node("n1", state="active", score=1000)
    create_network(world.conn, world.rt, "office", world.clock)
    add_member(world.conn, world.rt, "office", node_id, "10.0.0.1", ResourceClass.CRITICAL, world.clock)
    rotate_versions(world.conn, world.rt, "office", "operator", world.clock)
    (network,) = views.network_list(world.conn)
    assert [key["state"] for key in network["keys"]] == ["destroyed", "outdated", "previous", "latest"]
    assert [(each["name"], each["resource_class"], each["version"]) for each in network["members"]] == [
        ("n1", "critical", 4)
    ]
    assert {*network["keys"][0]} == {"version", "state", "kek_id", "created_at", "destroyed_at"}
    assert {*network["members"][0]} == {"name", "address", "resource_class", "version", "epoch", "rotate_at"}


def test_alerts_are_read_on_from_where_one_stopped(world: World):
    node_id = world.node("n1")
    for number in range(5):
        raise_alert(world.conn, "warning", "test", node_id if number else None, f"text {number}", {"n": number}, 1.0)
    first = views.alert_list(world.conn, limit=2)
    assert [(each["text"], each["node"]) for each in first] == [("text 0", None), ("text 1", "n1")]
    rest = views.alert_list(world.conn, after=first[-1]["id"])
    assert [each["data"]["n"] for each in rest] == [2, 3, 4]


def test_audit_records_are_read_on_from_where_one_stopped(world: World):
    for number in range(5):
        audit.append(world.conn, "test", "operator", None, {"n": number}, 1.0)
    first = views.audit_list(world.conn, limit=2)
    rest = views.audit_list(world.conn, after=first[-1]["seq"])
    assert [each["data"]["n"] for each in first + rest] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("after", [2**63 - 1, 2**63, 2**200])
def test_a_number_that_no_database_takes_ends_the_list(world: World, after: int):
    audit.append(world.conn, "test", "operator", None, {}, 1.0)
    raise_alert(world.conn, "warning", "test", None, "text", {}, 1.0)
    assert views.audit_list(world.conn, after) == views.alert_list(world.conn, after) == []
    assert len(views.audit_list(world.conn)) == len(views.alert_list(world.conn)) == 1


def test_everything_that_is_shown_is_json(world: World):
    node_id = world.node("n1")
    world.enrol(node_id)
    create_network(world.conn, world.rt, "office", world.clock)
    add_member(world.conn, world.rt, "office", node_id, "10.0.0.1", ResourceClass.NORMAL, world.clock)
    accepted(world, node_id)
    shown = json.dumps(
        [
            views.node_list(world.conn, world.rt),
            views.node_detail(world.conn, world.rt, views.find_node(world.conn, "n1")),
            views.profile_list(world.conn),
            views.network_list(world.conn),
            views.alert_list(world.conn),
            views.audit_list(world.conn),
        ]
    )
    for column in ("release_share", "wrapped", "ek_public", "fresh", "pin_hash", "lookup"):
        assert column not in shown
