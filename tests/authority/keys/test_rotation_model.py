"""Rotation against a model of the data plane, in whatever order deliveries, acknowledgements and orders come."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import permutations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace
from sqlalchemy import select

from authority.keys import add_member, create_network, reissue, rotate_versions, tick
from authority.keys.planning import Order
from authority.keys.stepping import carry_out
from authority.runtime import Push
from authority.store import schema
from authority.trust import Policy
from authority.trust.policy import DeliveryRules, RotationRules
from protocol.levels import ResourceClass
from protocol.messages import DeliveryEvent
from tests.authority.keys.data_plane import Node
from tests.authority.world import open_world

C = ResourceClass
DRAIN_S = 2.0
TURN_S = 6.0
"""What a rotation takes among nodes that answer at once: three answers, 0.75 s apart, and the drain."""
POLICY = Policy(
    version="model",
    rotation=RotationRules(standard_s=100.0, increased_s=60.0, very_fast_s=30.0, drain_s=DRAIN_S),
    delivery=DeliveryRules(lease_s=1000.0),
)
CLASSES = {"vault": C.CRITICAL, "web": C.NORMAL, "mail": C.NORMAL, "patch": C.REMEDIATION}
NAMES = st.sampled_from(sorted(CLASSES))
SCORES = {"full": 900, "limited": 600, "restricted": 300}
OPEN = {
    "full": {C.CRITICAL, C.NORMAL, C.REMEDIATION},
    "limited": {C.NORMAL, C.REMEDIATION},
    "restricted": {C.REMEDIATION},
    "isolated": set(),
}
"""The rules once more, in words of the requirement."""


class Rotation(RuleBasedStateMachine):
    """`broken` are pairs that something cut without waiting; until both ends have caught up, loss is allowed there."""

    policy = POLICY

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world = self.stack.enter_context(open_world(self.policy))
        self.nodes: dict[str, Node] = {}
        self.access = dict.fromkeys(CLASSES, "full")
        self.broken: set[tuple[str, str]] = set()
        self.muted: set[str] = set()

    def teardown(self) -> None:
        """However it went, everybody talks to everybody who is allowed to in the end."""
        if self.nodes:
            self.muted = set()
            for node in self.nodes.values():
                node.connect()
            self.settle()
            assert {pair for pair in self.allowed() if not self.passes(*pair)} == set()
            assert not self.world.conn.execute(select(schema.evicted_pair)).all()
        self.stack.close()

    @initialize()
    def begin(self) -> None:
        world = self.world
        create_network(world.conn, world.rt, "core", world.clock)
        for index, (name, resource_class) in enumerate(CLASSES.items()):
            node_id = world.node(name, state="active", score=900)
            self.nodes[name] = Node(world, node_id)
            address = f"10.7.0.{index + 1}"
            self.post(add_member(world.conn, world.rt, "core", node_id, address, resource_class, world.clock))
        self.settle()
        assert all(self.passes(*pair) for pair in self.allowed())

    @rule(name=NAMES, index=st.integers(0, 5))
    def take(self, name: str, index: int) -> None:
        if self.nodes[name].inbox:
            self.nodes[name].take(index)

    @rule(name=NAMES, index=st.integers(0, 5))
    def say(self, name: str, index: int) -> None:
        if self.nodes[name].outbox:
            self.post(self.nodes[name].say(index))

    @rule(name=NAMES)
    def lose_an_acknowledgement(self, name: str) -> None:
        self.nodes[name].outbox = self.nodes[name].outbox[1:]

    @rule(name=NAMES)
    def connect(self, name: str) -> None:
        self.nodes[name].connect()

    @rule(name=NAMES)
    def start_anew(self, name: str) -> None:
        self.nodes[name].start_anew()
        self.cut(name)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5, 10.0, 31.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.world.clock += seconds
        for node in self.nodes.values():
            node.sink.switch(self.world.clock)
        self.post(tick(self.world.conn, self.world.rt, self.world.clock))

    @rule(name=NAMES)
    def advance(self, name: str) -> None:
        self.post(reissue(self.world.conn, self.world.rt, self.nodes[name].node_id, self.world.clock))

    @rule(name=NAMES, access=st.sampled_from(sorted(OPEN)))
    def change(self, name: str, access: str) -> None:
        """A change of tier or an isolation; one that lowers trust cuts the pairs of the node."""
        order = ["isolated", "restricted", "limited", "full"]
        if order.index(access) < order.index(self.access[name]):
            self.cut(name)
        self.access[name] = access
        state = "isolated" if access == "isolated" else "active"
        self.world.set_node(self.nodes[name].node_id, state=state, score=SCORES.get(access, 300))
        self.advance(name)

    @rule()
    def new_version(self) -> None:
        """Destroys the oldest version, and with it the epochs under it."""
        version, epoch = schema.key_version, schema.member_epoch
        oldest = self.world.conn.scalar(select(version.c.version).where(version.c.state == "outdated"))
        for node_id in self.world.conn.scalars(select(epoch.c.node_id).where(epoch.c.version == oldest)):
            self.cut(self.name_of(node_id))
        self.post(rotate_versions(self.world.conn, self.world.rt, "core", "olga", self.world.clock))

    @rule(name=NAMES)
    def mute(self, name: str) -> None:
        self.muted ^= {name}

    @precondition(lambda self: self.nodes)
    @rule()
    def settle(self) -> None:
        """Whoever is not muted takes and says everything; they then all send under their newest epochs."""
        for _ in range(12):
            for name in sorted({*self.nodes} - self.muted):
                self.catch_up(self.nodes[name])
            self.wait(0.75)
        self.check_settled()

    @invariant()
    def no_packet_is_lost(self) -> None:
        now = self.world.clock
        for source, node in self.nodes.items():
            for peer, key in node.sink.in_flight(now, DRAIN_S):
                destination = self.name_of(peer)
                held = self.nodes[destination].sink.inbound
                if (source, destination) not in self.broken:
                    assert (node.node_id, key) in held, f"{source} to {destination}"

    @invariant()
    def no_key_comes_back(self) -> None:
        for node in self.nodes.values():
            assert not {*node.sink.outbound.items()} & {*node.sink.left}

    @invariant()
    def nobody_who_is_up_to_date_holds_what_is_forbidden(self) -> None:
        numbers = {row.state: row.version for row in self.world.conn.execute(select(schema.key_version))}
        granted = (
            {"full": numbers["latest"], "limited": numbers["previous"], "restricted": numbers["outdated"]}
            if (self.nodes)
            else {}
        )
        for name, node in self.nodes.items():
            if not node.up_to_date:
                continue
            for peer, key in node.sink.inbound:
                other = self.name_of(peer)
                assert (other, name) in self.allowed()
                assert node.sink.versions[key] <= granted[self.access[other]]
            assert {(name, self.name_of(peer)) for peer in node.sink.outbound} <= self.allowed()

    def check_settled(self) -> None:
        speaking = {*self.nodes} - self.muted
        newest, begun = self.newest_epochs()
        given_up = self.given_up()
        for source, destination in permutations(speaking, 2):
            if (source, destination) not in self.allowed() or (source, destination) in given_up:
                continue
            sender, receiver = self.nodes[source], self.nodes[destination]
            assert self.passes(source, destination), f"{source} to {destination}"
            if begun[sender.node_id] + TURN_S > self.world.clock:
                continue
            held = {epoch for (peer, _), epoch in receiver.sink.inbound.items() if peer == sender.node_id}
            assert min(held) == newest[sender.node_id], f"{source} to {destination}"
            assert len(held) == 1 or self.policy.delivery.outage_s > 0

    def newest_epochs(self) -> tuple[dict[str, int], dict[str, float]]:
        """Of each source the newest epoch whose time has come, and since when."""
        epoch = schema.member_epoch
        query = select(epoch).where(epoch.c.not_before <= self.world.clock).order_by(epoch.c.epoch)
        rows = self.world.conn.execute(query).all()
        return {row.node_id: row.epoch for row in rows}, {
            row.node_id: max(row.created_at, row.not_before) for row in rows
        }

    def passes(self, source: str, destination: str) -> bool:
        sender, receiver = self.nodes[source], self.nodes[destination]
        key = sender.sink.outbound.get(receiver.node_id)
        return (sender.node_id, key) in receiver.sink.inbound

    def allowed(self) -> set[tuple[str, str]]:
        return {
            (one, other)
            for one, other in permutations(self.nodes, 2)
            if CLASSES[other] in OPEN[self.access[one]] and CLASSES[one] in OPEN[self.access[other]]
        }

    def given_up(self) -> set[tuple[str, str]]:
        names = {row.slot: self.name_of(row.node_id) for row in self.world.conn.execute(select(schema.member))}
        return {(names[r.source], names[r.destination]) for r in self.world.conn.execute(select(schema.evicted_pair))}

    def cut(self, name: str) -> None:
        self.broken |= {pair for pair in permutations(self.nodes, 2) if name in pair}

    def catch_up(self, node: Node) -> None:
        while node.inbox or node.outbox:
            while node.inbox:
                node.take()
            while node.outbox:
                self.post(node.say())

    def post(self, pushes: list[Push]) -> None:
        for node_id, event in pushes:
            if isinstance(event, DeliveryEvent):
                self.nodes[self.name_of(node_id)].post(event)
        self.broken |= self.given_up()
        caught_up = {name for name, node in self.nodes.items() if node.up_to_date}
        self.broken = {pair for pair in self.broken if not {*pair} <= caught_up} | self.given_up()

    def name_of(self, node_id: str) -> str:
        return next(name for name, node in self.nodes.items() if node.node_id == node_id)


class RotationAhead(Rotation):
    """The same, with epochs held ahead."""

    policy = replace(POLICY, delivery=DeliveryRules(lease_s=1000.0, outage_s=250.0))


FEW = settings(
    max_examples=5,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[*HealthCheck],
)
TestRotation, TestRotationAhead = Rotation.TestCase, RotationAhead.TestCase
TestRotation.settings = TestRotationAhead.settings = FEW


class Naive(Rotation):
    """The control: both ends change in one step, and whoever is late loses packets."""

    @rule(name=NAMES)
    def advance(self, name: str) -> None:
        order = Order(at_once=frozenset({self.nodes[name].node_id}))
        self.post(carry_out(self.world.conn, self.world.rt, "core", order, self.world.clock))

    def teardown(self) -> None:
        self.stack.close()


class Forgetful(Rotation):
    """The other control: machines that start anew send under the keys that they sent under before."""

    @rule(name=NAMES)
    def start_anew(self, name: str) -> None:
        sink = self.nodes[name].sink
        kept = {pair: since for pair, since in sink.left.items() if pair not in sink.outbound.items()}
        super().start_anew(name)
        self.forgotten = {pair for pair in sink.left if pair not in kept}
        sink.left = kept

    @invariant()
    def no_key_comes_back(self) -> None:
        forgotten = getattr(self, "forgotten", set())
        back = [name for name, node in self.nodes.items() if {*node.sink.outbound.items()} & forgotten]
        assert not back, "a key came back"

    def teardown(self) -> None:
        self.stack.close()


@pytest.mark.slow
@pytest.mark.parametrize(("control", "seen"), [(Naive, "[a-z]+ to [a-z]+"), (Forgetful, "a key came back")])
def test_control_the_model_sees_what_goes_wrong(control: type[Rotation], seen: str) -> None:
    with pytest.raises(AssertionError, match=seen):
        run_state_machine_as_test(control, settings=settings(FEW, max_examples=50, report_multiple_bugs=False))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machine", [Rotation, RotationAhead])
def test_many_courses_of_a_rotation(machine: type[Rotation]) -> None:
    run_state_machine_as_test(machine, settings=settings(FEW, max_examples=60, stateful_step_count=40))
