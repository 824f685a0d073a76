"""Key Orchestration: what each node gets, when, and that no key comes twice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from sqlalchemy import select, update

from authority.keys import add_member, create_network, reconcile, reissue, remove_member, rotate_versions, tick
from authority.runtime import Push
from authority.store import schema
from authority.trust import Policy
from authority.trust.policy import RotationRules
from protocol.codec import ProtocolViolation, decode, encode
from protocol.delivery import Direction, Envelope, KeyBundle, SealedDelivery
from protocol.levels import Access, ResourceClass, Rotation, Tier
from protocol.messages import DeliveryEvent
from tests.authority.world import World, open_world, verify

C = ResourceClass
HIGH, MEDIUM, LOW = 900, 600, 300


@pytest.fixture
def world() -> Iterator[World]:
    """Keys drain at once, so that a rotation is over with the last acknowledgement."""
    with open_world(Policy(version="t", rotation=RotationRules(drain_s=0))) as made:
        yield made


class Net:
    """Network `core`; what each node holds is what its newest delivery said."""

    def __init__(self, world: World, *members: tuple[str, int, ResourceClass]) -> None:
        self.world, self.ids = world, {}
        self.held: dict[str, KeyBundle] = {}
        self.log: list[Push] = []
        create_network(world.conn, world.rt, "core", world.clock)
        for index, (name, score, resource_class) in enumerate(members):
            self.ids[name] = world.node(name, state="active", score=score)
            self.take(
                add_member(
                    world.conn, world.rt, "core", self.ids[name], f"10.7.0.{index + 1}", resource_class, world.clock
                )
            )

    def take(self, pushes: list[Push]) -> dict[str, KeyBundle]:
        """Every node takes what it is sent and says so, until nothing follows from it."""
        pushes = self.world.answered(pushes)
        got = self.world.bundles(pushes)
        self.held |= got
        self.log += pushes
        return got

    def set(self, name: str, score: int, state: str = "active") -> dict[str, KeyBundle]:
        self.world.set_node(self.ids[name], score=score, state=state)
        return self.take(reissue(self.world.conn, self.world.rt, self.ids[name], self.world.clock))

    def reconcile(self) -> dict[str, KeyBundle]:
        return self.take(reconcile(self.world.conn, self.world.rt, "core", self.world.clock))

    def tick(self, seconds: float) -> dict[str, KeyBundle]:
        self.world.clock += seconds
        return self.take(tick(self.world.conn, self.world.rt, self.world.clock))

    def peers(self, name: str) -> set[str]:
        return {link.peer_name for link in self.held[name].associations}

    def key(self, holder: str, peer: str, direction: Direction) -> bytes:
        [found] = [
            link.key
            for link in self.held[holder].associations
            if link.peer_name == peer and link.direction is direction
        ]
        return found


@pytest.fixture
def three(world: World) -> Net:
    return Net(world, ("vault", HIGH, C.CRITICAL), ("web", HIGH, C.NORMAL), ("patch", HIGH, C.REMEDIATION))


def test_both_ends_of_a_pair_hold_the_same_key_and_each_direction_its_own(three: Net) -> None:
    out = three.key("web", "vault", Direction.OUTBOUND)
    assert out == three.key("vault", "web", Direction.INBOUND)
    assert out != three.key("web", "vault", Direction.INBOUND)
    assert len(out) == 32


def test_no_third_node_holds_a_pair_s_key(three: Net) -> None:
    out = three.key("web", "vault", Direction.OUTBOUND)
    assert out not in [link.key for link in three.held["patch"].associations]


def test_each_tier_gets_its_version_rotation_and_access(three: Net) -> None:
    three.set("web", MEDIUM)
    three.set("patch", LOW)
    held = three.held
    assert [(held[name].version, held[name].rotation, held[name].access) for name in ("vault", "web", "patch")] == [
        (3, Rotation.STANDARD, Access.FULL),
        (2, Rotation.INCREASED, Access.LIMITED),
        (1, Rotation.VERY_FAST, Access.RESTRICTED),
    ]
    assert [held[name].rotate_s for name in ("vault", "web", "patch")] == [86400, 3600, 300]


def test_a_limited_node_loses_the_critical_one_at_both_ends(three: Net) -> None:
    assert three.peers("web") == {"vault", "patch"}
    three.set("web", MEDIUM)
    assert three.peers("web") == {"patch"}
    assert three.peers("vault") == {"patch"}


def test_a_restricted_node_reaches_remediation_alone_which_alone_takes_the_outdated_version(three: Net) -> None:
    three.set("web", LOW)
    assert three.peers("web") == {"patch"}
    accepted = {
        (name, link.version)
        for name, bundle in three.held.items()
        for link in bundle.associations
        if link.direction is Direction.INBOUND and link.version == 1
    }
    assert accepted == {("patch", 1)}


@pytest.mark.parametrize("state", ["isolated", "banned"])
def test_a_node_that_is_cut_off_is_evicted_by_its_peers_without_its_help(three: Net, state: str) -> None:
    got = three.set("web", LOW, state)
    assert (got["web"].access, got["web"].version, got["web"].associations) == (Access.ISOLATED, None, [])
    assert three.peers("vault") == {"patch"}
    assert three.peers("patch") == {"vault"}


def test_a_pending_member_gets_nothing(world: World) -> None:
    net = Net(world, ("a", HIGH, C.NORMAL))
    late = world.node("late", state="pending")
    got = net.take(add_member(world.conn, world.rt, "core", late, "10.7.0.9", C.NORMAL, world.clock))
    assert got == {}


def test_nothing_changed_means_nothing_delivered(three: Net) -> None:
    assert three.reconcile() == {}
    assert three.tick(60) == {}


@pytest.mark.parametrize("damaged", ["{", "[]", '{"digest": 1}', '{"digest": "", "outbound": [["web"]]}'])
def test_a_delivery_of_which_nothing_can_be_read_is_made_again_and_holds_nobody_up(three: Net, damaged: str) -> None:
    sent, mine = schema.delivery, schema.delivery.c.node_id == three.ids["web"]
    three.world.conn.execute(update(sent).where(mine).values(identity=damaged))
    assert "web" in three.reconcile()
    assert three.reconcile() == {}


def test_only_nodes_whose_bundle_changed_get_a_delivery(three: Net) -> None:
    three.set("vault", LOW)
    got = three.set("web", MEDIUM)
    assert set(got) == {"web", "patch"}


def test_an_epoch_that_is_due_reaches_the_node_and_its_peers(three: Net) -> None:
    three.set("web", MEDIUM)
    before = three.held["web"].epoch
    old = three.key("web", "patch", Direction.OUTBOUND)
    assert three.tick(3599) == {}
    got = three.tick(1)
    assert set(got) == {"web", "patch"}
    assert got["web"].epoch == before + 1
    assert three.key("web", "patch", Direction.OUTBOUND) != old
    assert three.key("web", "patch", Direction.OUTBOUND) == three.key("patch", "web", Direction.INBOUND)


def test_a_low_node_turns_over_very_fast(three: Net) -> None:
    three.set("web", LOW)
    epochs = [three.tick(300)["web"].epoch for _ in range(5)]
    assert all(later == earlier + 1 for earlier, later in pairwise(epochs))


def test_a_pair_that_comes_back_gets_a_new_key(three: Net) -> None:
    """An isolation and its end, inside the peers' own epochs: the peer's old outbound key must not come back."""
    before = three.key("vault", "web", Direction.OUTBOUND)
    three.set("web", LOW, "isolated")
    three.set("web", HIGH)
    assert three.key("vault", "web", Direction.OUTBOUND) != before


def test_no_outbound_key_is_ever_issued_after_another_one_of_its_pair_and_again(three: Net) -> None:
    steps = [("web", LOW, "isolated"), ("web", HIGH, "active"), ("vault", MEDIUM, "active"), ("vault", HIGH, "active")]
    for name, score, state in steps * 2:
        three.set(name, score, state)
        three.tick(40)
    runs: dict[tuple[str, str], list[bytes | None]] = {}
    for push in three.log:
        bundle = three.world.open(push)
        current = {link.peer_name: link.key for link in bundle.associations if link.direction is Direction.OUTBOUND}
        for peer in {*three.ids} | {*current}:
            runs.setdefault((push[0], peer), []).append(current.get(peer))
    for run in runs.values():
        changes = [later for earlier, later in pairwise([None, *run]) if later is not None and later != earlier]
        assert len(changes) == len({*changes})


def test_a_lost_node_never_gets_its_old_keys_again(three: Net) -> None:
    old = {link.key for link in three.held["web"].associations if link.direction is Direction.OUTBOUND}
    three.take(reissue(three.world.conn, three.world.rt, three.ids["web"], three.world.clock))
    new = {link.key for link in three.held["web"].associations if link.direction is Direction.OUTBOUND}
    assert not old & new


def test_a_restored_authority_issues_other_keys(three: Net) -> None:
    before = three.held["web"]
    three.world.generation = 2
    assert set(three.reconcile()) == {"vault", "web", "patch"}
    assert not {link.key for link in before.associations} & {link.key for link in three.held["web"].associations}


def test_a_missing_version_means_no_key(three: Net) -> None:
    row = schema.key_version
    three.world.conn.execute(update(row).where(row.c.version == 2).values(state="destroyed", wrapped=b""))
    got = three.set("web", MEDIUM)
    assert (got["web"].version, got["web"].access, got["web"].associations) == (None, Access.ISOLATED, [])
    assert three.peers("vault") == {"patch"}


def test_a_rotation_moves_every_version_down_and_destroys_the_outdated(three: Net) -> None:
    three.set("web", MEDIUM)
    got = three.take(rotate_versions(three.world.conn, three.world.rt, "core", "olga", three.world.clock))
    assert (got["vault"].version, got["web"].version) == (4, 3)
    row = schema.key_version
    rows = {each.version: each for each in three.world.conn.execute(select(row))}
    assert [rows[number].state for number in (1, 2, 3, 4)] == ["destroyed", "outdated", "previous", "latest"]
    assert rows[1].wrapped == b""
    assert rows[1].destroyed_at == three.world.clock


def test_leases_are_renewed_at_half_time_with_the_same_keys(three: Net) -> None:
    before = three.held["web"]
    lease = three.world.policy.delivery.lease_s
    assert before.expires_at == three.world.clock + lease
    got = three.tick(lease / 2)
    assert set(got) == {"vault", "web", "patch"}
    assert got["web"].associations == before.associations
    assert got["web"].expires_at == before.expires_at + lease / 2


def test_delivery_numbers_grow_by_one_per_node(three: Net) -> None:
    for _ in range(3):
        three.tick(86400)
    numbers = [event.number for node, event in three.log if node == three.ids["web"]]
    assert numbers == [*range(1, len(numbers) + 1)]


def test_a_removed_member_is_told_and_its_peers_forget_it(three: Net) -> None:
    world = three.world
    got = three.take(remove_member(world.conn, world.rt, "core", three.ids["web"], "olga", world.clock))
    assert (got["web"].access, got["web"].associations) == (Access.ISOLATED, [])
    assert three.peers("vault") == {"patch"}
    assert three.reconcile() == {}


def test_a_delivery_opens_at_its_node_and_in_its_context_alone(three: Net) -> None:
    node_id, event = next(push for push in three.log if push[0] == three.ids["web"])
    assert isinstance(event, DeliveryEvent)
    sealed = decode(decode(event.envelope, Envelope).payload, SealedDelivery)
    assert three.world.unseal(node_id, sealed).network == "core"
    with pytest.raises(ProtocolViolation):
        three.world.unseal(three.ids["vault"], sealed)
    for changed in ({"number": 99}, {"generation": 2}, {"network": "edge"}):
        with pytest.raises(ProtocolViolation):
            three.world.unseal(node_id, msgspec.structs.replace(sealed, **changed))


def test_a_changed_envelope_does_not_verify(three: Net) -> None:
    _, event = three.log[0]
    assert isinstance(event, DeliveryEvent)
    envelope = decode(event.envelope, Envelope)
    verify(three.world.kos_key.public_key(), envelope)
    sealed = decode(envelope.payload, SealedDelivery)
    forged = Envelope(payload=encode(msgspec.structs.replace(sealed, number=2)), signature=envelope.signature)
    with pytest.raises(InvalidSignature):
        verify(three.world.kos_key.public_key(), forged)


def test_an_unusable_delivery_key_stops_nobody_else(three: Net) -> None:
    three.world.set_node(three.ids["web"], delivery_public=b"\x00\x02xx")
    got = three.set("web", MEDIUM)
    assert set(got) == {"vault", "patch"}
    assert ("error", "delivery-impossible") in three.world.alerts()


def test_no_key_is_in_the_database_or_in_a_representation(three: Net) -> None:
    keys = [link.key for bundle in three.held.values() for link in bundle.associations]
    stored = b"".join(row.envelope + row.identity.encode() for row in three.world.conn.execute(select(schema.delivery)))
    shown = repr(three.held) + repr(three.log)
    assert keys
    assert not any(key in stored or key.hex() in shown or repr(key) in shown for key in keys)


def test_tiers_come_from_the_score_and_not_from_the_row_s_word(three: Net) -> None:
    three.world.set_node(three.ids["web"], tier="high")
    assert three.set("web", LOW)["web"].tier is Tier.LOW
