"""Make before break, step by step: who is waited for, for how long, and what waits for nobody."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select

from authority.keys import (
    add_member,
    create_network,
    reissue,
    remove_member,
    rotate_versions,
    rotations,
    set_floor,
    tick,
)
from authority.keys.orchestrator import forgive_outage
from authority.refusal import Refused
from authority.runtime import Push
from authority.store import schema
from authority.trust import Policy
from authority.trust.policy import DeliveryRules, RotationRules
from protocol.levels import ResourceClass
from protocol.messages import DeliveryAck, DeliveryEvent
from tests.authority.keys.data_plane import Node
from tests.authority.world import World, open_world

NAMES = ("ada", "bob", "cyd")
DRAIN_S, PERIOD_S = 2.0, 100.0
POLICY = Policy(version="t", rotation=RotationRules(standard_s=PERIOD_S, drain_s=DRAIN_S))


@dataclass
class Site:
    """Three members of `core`, settled. Nothing reaches a node, and nothing it says the authority, unless told to."""

    world: World
    nodes: dict[str, Node] = field(default_factory=dict)
    deliveries: int = 0

    def post(self, pushes: list[Push]) -> None:
        ids = {node.node_id: node for node in self.nodes.values()}
        for node_id, event in pushes:
            if isinstance(event, DeliveryEvent):
                self.deliveries += 1
                ids[node_id].post(event)

    def take(self, *names: str) -> None:
        for name in names or self.nodes:
            while self.nodes[name].inbox:
                self.nodes[name].take()

    def say(self, *names: str) -> None:
        for name in names or [*self.nodes]:
            while self.nodes[name].outbox:
                self.post(self.nodes[name].say())

    def exchange(self, *names: str) -> None:
        """These nodes take and say everything, until nothing follows."""
        while any(self.nodes[name].inbox or self.nodes[name].outbox for name in names or self.nodes):
            self.take(*names)
            self.say(*names)

    def wait(self, seconds: float) -> None:
        self.world.clock += seconds
        self.post(tick(self.world.conn, self.world.rt, self.world.clock))

    def advance(self, name: str) -> None:
        self.post(reissue(self.world.conn, self.world.rt, self.nodes[name].node_id, self.world.clock))

    def passes(self, source: str, destination: str) -> bool:
        sender, receiver = self.nodes[source], self.nodes[destination]
        return (sender.node_id, sender.sink.outbound.get(receiver.node_id)) in receiver.sink.inbound

    def receives(self, destination: str, source: str) -> list[int]:
        held = self.nodes[destination].sink.inbound
        return sorted(epoch for (peer, _), epoch in held.items() if peer == self.nodes[source].node_id)

    def sends(self, source: str, destination: str) -> bytes | None:
        return self.nodes[source].sink.outbound.get(self.nodes[destination].node_id)

    def given_up(self) -> int:
        return self.world.conn.scalar(select(func.count()).select_from(schema.evicted_pair)) or 0

    def progress(self) -> dict[str, object]:
        [found] = rotations.progress(self.world.conn, self.world.rt, "core", self.world.clock)
        return found


@pytest.fixture
def site() -> Iterator[Site]:
    with open_world(POLICY) as world:
        yield settled(world)


def settled(world: World) -> Site:
    made = Site(world)
    create_network(world.conn, world.rt, "core", world.clock)
    for index, name in enumerate(NAMES, 1):
        made.nodes[name] = Node(world, world.node(name, state="active", score=900))
        node_id, address = made.nodes[name].node_id, f"10.7.0.{index}"
        made.post(add_member(world.conn, world.rt, "core", node_id, address, ResourceClass.NORMAL, world.clock))
    made.exchange()
    made.wait(DRAIN_S)
    made.exchange()
    made.deliveries = 0
    return made


def test_a_receiver_has_the_new_key_before_the_sender_uses_it_and_the_old_one_after(site: Site) -> None:
    old = site.sends("ada", "bob")
    [before] = site.receives("bob", "ada")
    site.advance("ada")
    site.take()
    assert (site.sends("ada", "bob"), site.receives("bob", "ada")) == (old, [before, before + 1])
    site.say()
    site.take()
    assert site.sends("ada", "bob") != old
    assert site.receives("bob", "ada") == [before, before + 1]
    site.say()
    site.wait(DRAIN_S - 0.1)
    site.exchange()
    assert site.receives("bob", "ada") == [before, before + 1]
    site.wait(0.1)
    site.exchange()
    assert site.receives("bob", "ada") == [before + 1]


def test_the_last_acknowledgement_brings_the_next_step_at_once(site: Site) -> None:
    old = site.sends("ada", "bob")
    site.advance("ada")
    site.take()
    site.say("ada", "bob")
    assert not site.nodes["ada"].inbox
    site.say("cyd")
    site.take()
    assert site.sends("ada", "bob") != old


def test_all_who_rotate_do_so_together_and_each_gets_one_delivery_a_step(site: Site) -> None:
    for seconds in (PERIOD_S - DRAIN_S, DRAIN_S):
        site.wait(seconds)
        site.exchange()
    assert site.deliveries == 3 * len(NAMES)
    assert {*site.progress()["pairs"].items()} >= {("settled", 6), ("draining", 0)}  # type: ignore[attr-defined]


def test_a_straggler_delays_its_own_pairs_alone(site: Site) -> None:
    old = site.sends("ada", "cyd")
    site.advance("ada")
    site.exchange("ada", "bob")
    site.wait(0.5)
    site.exchange("ada", "bob")
    site.wait(DRAIN_S)
    site.exchange("ada", "bob")
    assert len(site.receives("bob", "ada")) == 1
    assert site.passes("ada", "bob")
    assert site.sends("ada", "cyd") == old
    assert site.passes("ada", "cyd")


def test_a_straggler_is_given_up_after_half_a_period_and_comes_back_with_new_keys(site: Site) -> None:
    old = site.sends("ada", "cyd")
    site.advance("ada")
    site.exchange("ada", "bob")
    site.wait(PERIOD_S / 2 - 0.1)
    site.exchange("ada", "bob")
    assert site.given_up() == 0
    site.wait(0.1)
    site.exchange("ada", "bob")
    assert site.given_up() == 1
    assert site.sends("ada", "cyd") is None
    assert site.sends("ada", "bob") is not None
    cyd = site.nodes["cyd"].node_id
    assert site.world.alerts(cyd) == [("warning", "rotation-overdue")]
    assert "rotation-overdue" in site.world.audit_kinds()
    assert site.progress()["stragglers"] == [{"node": "cyd", "pairs": 1, "since": site.world.clock}]
    site.exchange()
    assert site.given_up() == 0
    assert site.sends("ada", "cyd") not in {None, old}
    assert site.passes("ada", "cyd")


def test_a_sender_that_does_not_answer_is_given_up_as_well(site: Site) -> None:
    site.advance("ada")
    site.exchange("bob", "cyd")
    site.wait(0.5)
    for _ in range(2):
        site.wait(PERIOD_S / 2)
        site.exchange("bob", "cyd")
    assert site.receives("bob", "ada") == site.receives("cyd", "ada") == []
    assert site.passes("bob", "cyd")


def test_an_outage_of_the_authority_is_nobody_s_silence(site: Site) -> None:
    site.advance("ada")
    site.take()
    forgive_outage(site.world.conn, PERIOD_S)
    site.wait(PERIOD_S / 2)
    assert site.given_up() == 0


def test_a_demotion_waits_for_nobody(site: Site) -> None:
    """The new key replaces the old one at both ends in the same step: the model of the data plane sees the loss."""
    old = site.sends("ada", "bob")
    site.world.set_node(site.nodes["ada"].node_id, score=600)
    site.advance("ada")
    site.take("bob")
    assert len(site.receives("bob", "ada")) == 1
    assert site.sends("ada", "bob") == old
    assert not site.passes("ada", "bob")
    site.take("ada")
    assert site.passes("ada", "bob")


def test_an_emergency_waits_for_nobody_and_is_told(site: Site) -> None:
    world = site.world
    old = {(one, other): site.sends(one, other) for one in NAMES for other in NAMES}
    site.post(rotations.emergency(world.conn, world.rt, "core", None, "a laptop was stolen", "olga", world.clock))
    site.take("bob")
    assert not site.passes("ada", "bob")
    assert not site.passes("bob", "ada")
    site.take()
    assert all(site.passes(one, other) for one, other in old if one != other)
    assert all(site.sends(one, other) != key for (one, other), key in old.items() if one != other)
    assert ("warning", "rotation-emergency") in world.alerts()
    assert "rotation-emergency" in world.audit_kinds()


def test_one_node_s_keys_are_rotated_on_demand(site: Site) -> None:
    world, ada = site.world, site.nodes["ada"].node_id
    old = {peer: site.sends("ada", peer) for peer in ("bob", "cyd")}
    others = site.sends("bob", "ada")
    site.post(rotations.start(world.conn, world.rt, "core", ada, "olga", world.clock))
    site.exchange()
    assert all(site.sends("ada", peer) != key for peer, key in old.items())
    assert site.sends("bob", "ada") == others


def test_who_holds_no_key_is_not_rotated(site: Site) -> None:
    world = site.world
    stranger = world.node("stranger", state="active", score=900)
    for order in (
        lambda: rotations.start(world.conn, world.rt, "core", stranger, "olga", world.clock),
        lambda: rotations.emergency(world.conn, world.rt, "core", stranger, "r", "olga", world.clock),
    ):
        with pytest.raises(Refused, match="holds no key"):
            order()


def test_what_operators_see_of_a_rotation(site: Site) -> None:
    assert site.progress()["waiting"] == []
    site.advance("ada")
    assert site.progress()["waiting"] == [
        {"source": "ada", "destination": peer, "phase": "preparing", "waits_for": peer} for peer in ("bob", "cyd")
    ]
    site.take("bob", "cyd")
    site.say("bob", "cyd")
    site.wait(0.5)
    pairs = site.progress()["pairs"]
    assert pairs == {"preparing": 0, "switching": 2, "draining": 0, "settled": 4, "given-up": 0}
    site.exchange()
    site.wait(DRAIN_S)
    site.exchange()
    assert site.progress()["pairs"]["settled"] == 6  # type: ignore[index]
    assert site.progress()["last_took_s"] == pytest.approx(DRAIN_S + 0.5)


def test_a_delivery_that_failed_is_no_answer(site: Site) -> None:
    old = site.sends("ada", "bob")
    site.advance("ada")
    site.take()
    bob = site.nodes["bob"]
    failed = DeliveryAck(installed=False, sinks=[], error="the sink is broken")
    bob.outbox = [(number, failed) for number, _ in bob.outbox]
    site.say()
    site.wait(5)
    site.take("ada")
    assert site.sends("ada", "bob") == old


def test_a_restored_authority_starts_where_no_spi_comes_twice(site: Site) -> None:
    before = site.receives("bob", "ada")
    site.world.generation = 2
    site.advance("ada")
    epochs = [*site.world.conn.scalars(select(schema.member_epoch.c.epoch))]
    assert min(epochs) > max(before) + 1000


def test_nothing_of_a_removed_member_is_left(site: Site) -> None:
    world, cyd = site.world, site.nodes["cyd"].node_id
    site.advance("ada")
    site.exchange("ada", "bob")
    site.wait(PERIOD_S / 2)
    assert site.given_up()
    site.post(remove_member(world.conn, world.rt, "core", cyd, "olga", world.clock))
    assert site.given_up() == 0
    assert cyd not in {*world.conn.scalars(select(schema.member_epoch.c.node_id))}


def test_a_network_in_which_nothing_is_due_is_not_looked_at(site: Site) -> None:
    look_at = site.world.conn.scalar(select(schema.network.c.look_at))
    assert look_at == min(site.world.conn.scalars(select(schema.member.c.rotate_at)))
    site.world.conn.execute(schema.member.update().values(rotate_at=0.0))
    site.wait(1)
    assert site.deliveries == 0
    site.wait(PERIOD_S)
    assert site.deliveries == len(NAMES)


def new_version(site: Site) -> int:
    """A version above the one that all are under, on its way to everybody; its number."""
    site.post(rotate_versions(site.world.conn, site.world.rt, "core", "olga", site.world.clock))
    return 1 + max(site.nodes["ada"].sink.versions.values())


def raise_floor(site: Site, version: int) -> None:
    site.post(set_floor(site.world.conn, site.world.rt, "core", version, "olga", site.world.clock))


def versions_received(site: Site, destination: str, source: str) -> set[int]:
    sink, peer = site.nodes[destination].sink, site.nodes[source].node_id
    return {sink.versions[key] for other, key in sink.inbound if other == peer}


def test_a_floor_that_rises_while_a_rotation_drains_ends_the_drain_and_loses_nothing(site: Site) -> None:
    """Everybody sends under the new version already: what drains is what the floor forbids."""
    version = new_version(site)
    site.exchange()
    assert versions_received(site, "bob", "ada") == {version - 1, version}, "the control: it drains"
    sent = site.sends("ada", "bob")
    raise_floor(site, version)
    site.exchange()
    for one, other in itertools.permutations(NAMES, 2):
        assert versions_received(site, other, one) == {version}
        assert site.passes(one, other)
    assert site.sends("ada", "bob") == sent
    site.wait(DRAIN_S)
    site.exchange()
    assert site.passes("ada", "bob")
    assert not site.progress()["waiting"]


def test_a_floor_that_rises_while_one_end_is_silent_takes_the_old_key_from_the_other(site: Site) -> None:
    """Cyd holds the old version alone: its pairs lose their keys at the end that heeds, and the others lose nothing."""
    version = new_version(site)
    site.exchange("ada", "bob")
    assert site.passes("ada", "cyd"), "the control: a rotation alone waits for cyd"
    raise_floor(site, version)
    site.exchange("ada", "bob")
    assert site.passes("ada", "bob")
    assert site.passes("bob", "ada")
    assert not site.passes("cyd", "ada")
    assert not site.passes("ada", "cyd")
    assert versions_received(site, "ada", "cyd") <= {version}
    site.exchange()
    site.wait(DRAIN_S)
    site.exchange()
    assert all(site.passes(one, other) for one, other in itertools.permutations(NAMES, 2))
    assert versions_received(site, "ada", "cyd") == versions_received(site, "cyd", "ada") == {version}


@pytest.fixture
def ahead() -> Iterator[Site]:
    """As `site`, with epochs for an outage of the authority of two and a half periods."""
    delivery = DeliveryRules(lease_s=600.0, outage_s=2.5 * PERIOD_S)
    with open_world(replace(POLICY, delivery=delivery)) as world:
        yield settled(world)


def test_epochs_are_held_ahead_and_used_when_their_time_comes_without_the_authority(ahead: Site) -> None:
    first = ahead.sends("ada", "bob")
    assert len(ahead.receives("bob", "ada")) == 3
    used = [first]
    for _ in range(2):
        ahead.world.clock += PERIOD_S
        for node in ahead.nodes.values():
            node.sink.switch(ahead.world.clock)
        assert all(ahead.passes(one, other) for one in NAMES for other in NAMES if one != other)
        used.append(ahead.sends("ada", "bob"))
    assert len({*used}) == 3


def test_a_machine_that_starts_anew_in_an_outage_sends_under_the_next_epoch_before_its_time(ahead: Site) -> None:
    first, bundle = ahead.sends("ada", "bob"), ahead.nodes["ada"].sink.bundle
    ahead.nodes["ada"].sink.lose(ahead.world.clock)
    assert bundle is not None
    assert ahead.nodes["ada"].sink.install(bundle, ahead.world.clock)
    assert ahead.sends("ada", "bob") not in {None, first}
    assert ahead.passes("ada", "bob")


def test_epochs_ahead_lose_no_packet_and_are_retired_in_their_turn(ahead: Site) -> None:
    for _ in range(8):
        before = ahead.receives("bob", "ada")
        ahead.wait(PERIOD_S / 2)
        for node in ahead.nodes.values():
            node.sink.switch(ahead.world.clock)
        assert ahead.passes("ada", "bob")
        ahead.exchange()
        assert ahead.passes("ada", "bob")
        ahead.wait(DRAIN_S)
        ahead.exchange()
        assert ahead.passes("ada", "bob")
        assert len(ahead.receives("bob", "ada")) <= 4
    assert min(ahead.receives("bob", "ada")) > min(before) - 2


def test_an_epoch_out_of_turn_overtakes_those_ahead(ahead: Site) -> None:
    ahead.advance("ada")
    ahead.exchange()
    ahead.wait(DRAIN_S)
    ahead.exchange()
    used = ahead.sends("ada", "bob")
    ahead.wait(PERIOD_S / 2)
    for node in ahead.nodes.values():
        node.sink.switch(ahead.world.clock)
    ahead.exchange()
    assert ahead.sends("ada", "bob") == used
    assert ahead.passes("ada", "bob")


def test_a_node_below_the_high_tier_holds_nothing_ahead(ahead: Site) -> None:
    ahead.world.set_node(ahead.nodes["ada"].node_id, score=600)
    ahead.advance("ada")
    ahead.exchange()
    assert len(ahead.receives("bob", "ada")) == 1
    assert len(ahead.receives("ada", "bob")) == 3
