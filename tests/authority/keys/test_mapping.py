"""The mapping service: look-ups, places that operators set, what nodes report, and who is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from authority.keys import add_member, create_network, mapping
from authority.refusal import Refused
from authority.trust import parse_policy
from protocol.delivery import KeyBundle
from protocol.levels import ResourceClass
from protocol.mapping import DataPlaneReport
from tests.authority.world import World, open_world

C = ResourceClass
PORT = 51820


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as made:
        create_network(made.conn, made.rt, "core", made.clock)
        create_network(made.conn, made.rt, "edge", made.clock)
        yield made


def join(world: World, name: str, address: str, score: int = 900, where: ResourceClass = C.NORMAL, **more) -> str:
    node_id = world.node(name, state=more.pop("state", "active"), score=score, **more)
    add_member(world.conn, world.rt, "core", node_id, address, where, world.clock)
    return node_id


@pytest.fixture
def three(world: World) -> dict[str, str]:
    """A critical, a normal and a remediation member."""
    places = {"vault": C.CRITICAL, "web": C.NORMAL, "patch": C.REMEDIATION}
    return {name: join(world, name, f"10.7.0.{n}", where=where) for n, (name, where) in enumerate(places.items(), 1)}


def key() -> bytes:
    return X25519PrivateKey.generate().public_key().public_bytes_raw()


def reported(world: World, node_id: str, **facts) -> dict[str, KeyBundle]:
    return world.bundles(mapping.take_report(world.conn, world.rt, node_id, DataPlaneReport(**facts), world.clock))


def refused(world: World, node_id: str, **facts) -> Refused:
    with pytest.raises(Refused) as caught:
        reported(world, node_id, **facts)
    return caught.value


def place_of(bundle: KeyBundle, name: str) -> tuple[str, bytes, int]:
    [peer] = [peer for peer in bundle.peers if peer.name == name]
    return peer.endpoint, peer.wireguard_public, peer.wireguard_port


class TestReports:
    def test_a_key_reaches_every_peer_at_once(self, world: World, three: dict[str, str]) -> None:
        own = key()
        got = reported(world, three["web"], wireguard_public=own, wireguard_port=PORT, endpoint="192.0.2.5")
        assert {*got} == {"vault", "web", "patch"}
        assert place_of(got["vault"], "web") == ("192.0.2.5", own, PORT)
        assert got["web"].endpoint == "192.0.2.5"
        assert world.audit_kinds()[-1] == "data-plane"

    def test_the_same_report_again_changes_and_tells_nothing(self, world: World, three: dict[str, str]) -> None:
        facts = {"wireguard_public": key(), "wireguard_port": PORT, "endpoint": "192.0.2.5"}
        reported(world, three["web"], **facts)
        written = len(world.audit_kinds())
        assert reported(world, three["web"], **facts) == {}
        assert len(world.audit_kinds()) == written

    def test_what_is_not_offered_any_more_is_taken_back(self, world: World, three: dict[str, str]) -> None:
        reported(world, three["web"], wireguard_public=key(), wireguard_port=PORT, endpoint="192.0.2.5")
        assert place_of(reported(world, three["web"])["vault"], "web") == ("", b"", 0)

    def test_the_key_of_another_node_is_refused_and_alerted(self, world: World, three: dict[str, str]) -> None:
        stolen = key()
        reported(world, three["vault"], wireguard_public=stolen, wireguard_port=PORT)
        problem = refused(world, three["web"], wireguard_public=stolen, wireguard_port=PORT)
        assert "another node's" in str(problem)
        assert world.row(three["web"]).wireguard_public == b""
        assert ("error", "wireguard-key-taken") in world.alerts(three["web"])
        world.set_node(three["vault"], state="retired")
        assert reported(world, three["web"], wireguard_public=stolen, wireguard_port=PORT)

    @pytest.mark.parametrize(
        "facts",
        [
            {"wireguard_public": bytes(32), "wireguard_port": PORT},
            {"wireguard_public": b"\x01" + bytes(31), "wireguard_port": PORT},
            {"wireguard_public": b"k" * 31, "wireguard_port": PORT},
            {"wireguard_public": b"\x09" + bytes(31)},
            {"wireguard_port": PORT},
            {"endpoint": "0.0.0.0"},
            {"endpoint": "224.0.0.1"},
            {"endpoint": "255.255.255.255"},
            {"endpoint": "::"},
            {"endpoint": "10.7"},
        ],
    )
    def test_what_no_packet_can_be_sent_by_is_refused(self, world: World, three: dict[str, str], facts: dict) -> None:
        assert refused(world, three["web"], **facts).status == 422
        assert (world.row(three["web"]).endpoint, world.row(three["web"]).wireguard_port) == ("", 0)

    def test_an_isolated_node_tells_nobody_anything(self, world: World, three: dict[str, str]) -> None:
        world.set_node(three["web"], state="isolated")
        got = reported(world, three["web"], wireguard_public=key(), wireguard_port=PORT)
        assert not any(peer.name == "web" for name in ("vault", "patch") if name in got for peer in got[name].peers)


class TestEndpoints:
    def test_what_an_operator_set_stays_whatever_the_node_says(self, world: World, three: dict[str, str]) -> None:
        web = three["web"]
        got = world.bundles(mapping.set_endpoint(world.conn, world.rt, web, "198.51.100.7", "olga", world.clock))
        assert place_of(got["vault"], "web")[0] == "198.51.100.7"
        assert reported(world, web, endpoint="192.0.2.66") == {}
        assert world.row(web).endpoint == "198.51.100.7"
        mapping.set_endpoint(world.conn, world.rt, web, None, "olga", world.clock)
        assert place_of(reported(world, web, endpoint="192.0.2.66")["vault"], "web")[0] == "192.0.2.66"

    @pytest.mark.parametrize(
        ("rule", "pinned", "taken"),
        [("always", True, True), ("unset", True, False), ("unset", False, True), ("never", False, False)],
    )
    def test_the_policy_says_whose_word_counts(
        self, world: World, three: dict[str, str], rule: str, pinned: bool, taken: bool
    ) -> None:
        world.policy = parse_policy(f'version = "p"\n[mapping]\nreported_endpoints = "{rule}"\n')
        if pinned:
            mapping.set_endpoint(world.conn, world.rt, three["web"], "198.51.100.7", "olga", world.clock)
        reported(world, three["web"], endpoint="192.0.2.66")
        assert (world.row(three["web"]).endpoint == "192.0.2.66") is taken

    def test_a_place_changes_for_those_who_may_see_it(self, world: World, three: dict[str, str]) -> None:
        got = world.bundles(
            mapping.change_member(world.conn, world.rt, "core", three["web"], "10.7.9.9", None, world.clock)
        )
        assert [peer.address for peer in got["vault"].peers if peer.name == "web"] == ["10.7.9.9"]
        low = join(world, "low", "10.7.0.9", score=300)
        got = world.bundles(
            mapping.change_member(world.conn, world.rt, "core", three["web"], None, C.REMEDIATION, world.clock)
        )
        assert {peer.name for peer in got["low"].peers} == {"web", "patch"}
        with pytest.raises(Refused, match="taken"):
            mapping.change_member(world.conn, world.rt, "core", low, "10.7.9.9", None, world.clock)
        with pytest.raises(Refused, match="no member"):
            mapping.change_member(world.conn, world.rt, "edge", low, "10.7.9.9", None, world.clock)


def test_an_operator_finds_who_is_at_an_address(world: World, three: dict[str, str]) -> None:
    [entry] = mapping.listing(world.conn, "core", "10.7.0.2")
    assert (entry["node"], entry["node_id"], entry["resource_class"]) == ("web", three["web"], "normal")
    assert mapping.listing(world.conn, "core", "10.7.0.200") == []
    assert len(mapping.listing(world.conn)) == 3


def test_a_node_learns_of_a_peer_what_its_bundle_says(world: World, three: dict[str, str]) -> None:
    own = key()
    got = reported(world, three["web"], wireguard_public=own, wireguard_port=PORT, endpoint="192.0.2.5")
    found = mapping.answer(world.conn, three["vault"], "core", "10.7.0.2")
    assert found.peer in got["vault"].peers
    assert (found.resource_class, found.version) == (C.NORMAL, 3)


def test_it_learns_of_nobody_whom_it_may_not_associate_with(world: World, three: dict[str, str]) -> None:
    """Every refusal says the same, so that nothing can be told from it."""
    outsider = world.node("outsider", state="active", score=900)
    low = join(world, "low", "10.7.0.9", score=300)
    join(world, "gone", "10.7.0.10", state="isolated")
    assert mapping.answer(world.conn, low, "core", "10.7.0.3").peer.name == "patch"
    questions = [
        (low, "core", "10.7.0.1"),
        (low, "core", "10.7.0.2"),
        (three["web"], "core", "10.7.0.10"),
        (three["web"], "core", "10.7.0.99"),
        (three["web"], "core", "10.7.0.2"),
        (three["web"], "edge", "10.7.0.1"),
        (three["web"], "nowhere", "10.7.0.1"),
        (outsider, "core", "10.7.0.1"),
    ]
    said = set()
    for question in questions:
        with pytest.raises(Refused) as caught:
            mapping.answer(world.conn, *question)
        said.add((str(caught.value), caught.value.status))
    assert len(said) == 1
