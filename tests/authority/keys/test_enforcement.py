"""Receivers enforce: what a fall of trust does to the bundles of others, in the transaction that decides it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from authority import standing
from authority.keys import add_member, create_network, reconcile
from authority.refusal import Refused
from authority.runtime import Push
from authority.store import schema
from authority.trust import distribute_key
from protocol.delivery import Direction, KeyBundle
from protocol.levels import Access, NodeState, ResourceClass, VersionState
from protocol.messages import DeliveryEvent
from tests.authority.world import World, open_world

C = ResourceClass
PLACES = {"vault": C.CRITICAL, "mail": C.CRITICAL, "web": C.NORMAL, "wiki": C.NORMAL, "patch": C.REMEDIATION}
VERSION_OF = {Access.FULL: 3, Access.LIMITED: 2, Access.RESTRICTED: 1}
OPENS = {Access.FULL: {*C}, Access.LIMITED: {C.NORMAL, C.REMEDIATION}, Access.RESTRICTED: {C.REMEDIATION}}


class Five:
    """Five nodes in a network; what each holds is what its newest delivery says, whoever it is that listens."""

    def __init__(self, world: World) -> None:
        self.world, self.held = world, dict[str, KeyBundle]()
        create_network(world.conn, world.rt, "core", world.clock)
        self.ids = {name: world.node(name, state="active", score=900) for name in PLACES}
        for number, (name, where) in enumerate(PLACES.items(), 1):
            address = f"10.7.0.{number}"
            self.take(add_member(world.conn, world.rt, "core", self.ids[name], address, where, world.clock))

    def take(self, pushes: list[Push]) -> set[str]:
        got = self.world.bundles(self.world.answered(pushes))
        self.held |= got
        return {*got}

    def fall(self, name: str, score: int, state: str = "active") -> set[str]:
        self.world.set_node(self.ids[name], score=score, state=state)
        advance = frozenset({self.ids[name]})
        return self.take(reconcile(self.world.conn, self.world.rt, "core", self.world.clock, advance=advance))

    def peers(self, name: str) -> set[str]:
        return {one.peer_name for one in self.held[name].associations}

    def versions_from(self, holder: str, source: str) -> set[int]:
        inbound = [one for one in self.held[holder].associations if one.direction is Direction.INBOUND]
        return {one.version for one in inbound if one.peer_name == source}


@pytest.fixture
def five() -> Iterator[Five]:
    with open_world() as world:
        yield Five(world)


def test_a_node_that_takes_nothing_any_more_is_cut_off_by_its_peers(five: Five) -> None:
    """It keeps its old bundle, as a compromised node would: no peer has the other end of anything in it."""
    kept = five.held["web"]
    told = five.fall("web", 0, "isolated")
    five.held["web"] = kept
    assert told >= {"vault", "mail", "wiki", "patch"}
    others = [one for name in PLACES if name != "web" for one in five.held[name].associations]
    assert not {one.key for one in kept.associations} & {one.key for one in others}
    assert all(one.peer_name != "web" for one in others)


@pytest.mark.parametrize("state", ["isolated", "banned", "pending", "retired"])
def test_no_state_that_is_cut_off_is_in_any_bundle(five: Five, state: str) -> None:
    five.fall("web", 900, state)
    for name in {*PLACES} - {"web"}:
        assert "web" not in five.peers(name)
        assert all(peer.name != "web" for peer in five.held[name].peers)


def test_a_restricted_node_talks_with_remediation_alone_and_under_the_outdated_version(five: Five) -> None:
    five.fall("web", 500)
    assert five.peers("web") == {"patch"}
    assert {one.version for one in five.held["web"].associations if one.direction is Direction.OUTBOUND} == {1}
    assert five.versions_from("patch", "web") == {1}
    assert 1 in five.held["patch"].accepts
    for name in ("vault", "mail", "wiki"):
        assert "web" not in five.peers(name)
        assert 1 not in five.held[name].accepts


def test_a_limited_node_is_in_the_bundle_of_no_critical_one(five: Five) -> None:
    told = five.fall("web", 800)
    assert {"vault", "mail"} <= told, "the critical ones are told though nothing of theirs changed"
    assert five.peers("web") == {"wiki", "patch"}
    assert five.versions_from("wiki", "web") == {2}


def test_control_a_node_that_stands_keeps_all_its_peers(five: Five) -> None:
    assert five.fall("web", 801) >= {"web"}
    assert five.peers("web") == {*PLACES} - {"web"}


standings = st.tuples(st.integers(0, 1000), st.sampled_from(["active", "overdue", "isolated", "banned"]))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*PLACES]), standings), min_size=1, max_size=6))
def test_whatever_befalls_them_both_ends_allow_every_association(falls: list) -> None:
    with open_world() as world:
        five, now = Five(world), dict.fromkeys(PLACES, (900, "active"))
        for name, (score, state) in falls:
            now[name] = (score, state)
            five.fall(name, score, state)
        granted = {name: access_of(*now[name]) for name in PLACES}
        for name, bundle in five.held.items():
            expected = {
                other
                for other in {*PLACES} - {name}
                if PLACES[other] in OPENS.get(granted[name], set()) and PLACES[name] in OPENS.get(granted[other], set())
            }
            assert five.peers(name) == expected
            for one in bundle.associations:
                source = name if one.direction is Direction.OUTBOUND else one.peer_name
                assert one.version <= VERSION_OF[granted[source]], "never newer than what the source has earned"


def access_of(score: int, state: str) -> Access:
    return Access.ISOLATED if state in {"isolated", "banned"} else distribute_key(score).access


def test_lab_nodes_mix_with_nobody_even_where_the_database_says_so(five: Five) -> None:
    five.world.set_node(five.ids["web"], lab=True)
    five.fall("web", 900)
    assert five.peers("web") == set()
    assert all("web" not in five.peers(name) for name in PLACES)
    with pytest.raises(Refused, match="lab"):
        toy = five.world.node("toy", state="active", score=900, lab=True)
        add_member(five.world.conn, five.world.rt, "core", toy, "10.7.0.99", C.NORMAL, five.world.clock)


def newest(conn: Connection) -> dict[str, int]:
    row = schema.delivery
    return {each.node_id: each.number for each in conn.execute(select(row).order_by(row.c.number))}


def test_a_decision_and_its_deliveries_are_one_transaction(five: Five) -> None:
    """Whoever sees the verdict sees what follows of it: there is no moment in between, and no beat to wait for."""
    world, web = five.world, five.ids["web"]
    world.conn.commit()
    before = newest(world.conn)
    pushes = standing.isolate(world.conn, world.rt, web, "olga", "stolen", world.clock)
    after = newest(world.conn)
    assert all(after[node_id] > before[node_id] for node_id in five.ids.values())
    assert {node_id for node_id, event in pushes if isinstance(event, DeliveryEvent)} == {*five.ids.values()}
    assert world.row(web).state == NodeState.ISOLATED
    world.conn.rollback()
    assert (world.row(web).state, newest(world.conn)) == (NodeState.ACTIVE, before)


def test_without_an_outdated_version_a_low_node_gets_no_key_and_never_a_newer_one(five: Five) -> None:
    row = schema.key_version
    outdated = row.c.state == VersionState.OUTDATED
    five.world.conn.execute(row.update().where(outdated).values(state="destroyed", wrapped=b""))
    five.fall("web", 300)
    assert (five.held["web"].version, five.held["web"].associations) == (None, [])
    assert "web" not in five.peers("patch")
    five.fall("wiki", 600)
    assert five.held["wiki"].version == 2
