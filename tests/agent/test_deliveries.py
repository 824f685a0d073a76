from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from agent.deliveries import DeliveryDesk
from agent.enclave import EnclaveGate
from agent.errors import AgentError, KeysLost, SinkFailed, StateError
from agent.sinks import HeldKeys
from agent.state import StateDirectory
from hal import Busy
from protocol.codec import ProtocolViolation, decode, encode
from protocol.delivery import Direction, Envelope, KeyBundle
from protocol.levels import Access
from protocol.messages import DeliveryEvent
from tests.agent.world import NODE, Kos, bundle, delivery_key, identity, kos_for


@dataclass
class MemorySink:
    """A sink that keeps bundles in memory, and fails while it is told to."""

    name: str = "memory"
    bundles: dict[str, KeyBundle] = field(default_factory=dict)
    installs: int = 0
    broken: bool = False

    def install(self, bundle: KeyBundle) -> None:
        self._check()
        self.installs += 1
        self.bundles[bundle.network] = bundle

    def clear(self, network: str) -> None:
        self._check()
        self.bundles.pop(network, None)

    def held(self) -> list[HeldKeys]:
        return [HeldKeys(name, len(one.associations), []) for name, one in self.bundles.items()]

    def stop(self) -> None:
        self.bundles.clear()

    def _check(self) -> None:
        if self.broken:
            raise SinkFailed("the sink is broken")


@dataclass
class World:
    """One node's desk, the service that delivers to it, and the clock."""

    kos: Kos
    sink: MemorySink
    desk: DeliveryDesk
    make: Callable[..., DeliveryDesk]
    time: list[float]
    boot: list[float]


@pytest.fixture
def world(gate: EnclaveGate, state: StateDirectory) -> World:
    key = gate.run(delivery_key)
    kos, sink, time, boot = kos_for(key), MemorySink(), [1000.0], [7.0]

    def make(*others: MemorySink) -> DeliveryDesk:
        sinks = [*others] or [sink]
        return DeliveryDesk(identity(kos, key), state, gate, sinks, lambda: time[0], lambda: boot[0])

    return World(kos, sink, make(), make, time, boot)


def refused(world: World, delivery: DeliveryEvent, why: str) -> None:
    before = dict(world.sink.bundles)
    with pytest.raises(ProtocolViolation, match=why):
        world.desk.take(delivery)
    assert world.sink.bundles == before


def test_a_delivery_sealed_to_the_tpm_is_opened_there_and_installed(world: World) -> None:
    sent = bundle()
    receipt = world.desk.take(world.kos.deliver(sent, 1))
    assert receipt.ack.installed
    assert receipt.ack.sinks == ["memory"]
    assert world.sink.bundles["blue"] == sent


def test_the_number_is_on_disk_before_the_keys_are_installed(world: World, state: StateDirectory) -> None:
    world.sink.broken = True
    receipt = world.desk.take(world.kos.deliver(bundle(), 4))
    assert not receipt.ack.installed
    assert "broken" in receipt.ack.error
    assert json.loads(state.deliveries.read_bytes())["networks"]["blue"]["number"] == 4


def test_the_same_delivery_again_is_acknowledged_and_not_installed_again(world: World) -> None:
    delivery = world.kos.deliver(bundle(), 1)
    world.desk.take(delivery)
    assert world.desk.take(delivery).ack.installed
    assert world.sink.installs == 1


def test_the_same_delivery_again_is_installed_when_it_failed_before(world: World) -> None:
    delivery = world.kos.deliver(bundle(), 1)
    world.sink.broken = True
    world.desk.take(delivery)
    world.sink.broken = False
    assert world.desk.take(delivery).ack.installed
    assert world.sink.installs == 1


def test_an_older_number_is_a_replay_even_after_a_restart(world: World) -> None:
    old = world.kos.deliver(bundle(epoch=1), 1)
    world.desk.take(world.kos.deliver(bundle(epoch=2), 2))
    refused(world, old, "replayed")
    world.desk = world.make()
    refused(world, old, "replayed")


def test_networks_have_numbers_of_their_own(world: World) -> None:
    world.desk.take(world.kos.deliver(bundle("green"), 7))
    assert world.desk.take(world.kos.deliver(bundle("blue"), 5)).ack.installed


def test_an_earlier_generation_is_refused_and_a_later_one_counts_anew(world: World) -> None:
    old = world.kos.deliver(bundle(), 9)
    world.kos.generation = 2
    assert world.desk.take(world.kos.deliver(bundle(), 1)).ack.installed
    refused(world, old, "earlier generation")


def test_a_delivery_of_another_service_is_refused(world: World) -> None:
    forger = Kos(world.kos.recipient)
    refused(world, forger.deliver(bundle(), 1), "not signed")


def test_a_changed_payload_is_refused(world: World) -> None:
    delivery = world.kos.deliver(bundle(), 1)
    envelope = decode(delivery.envelope, Envelope)
    changed = msgspec.structs.replace(envelope, payload=envelope.payload.replace(b'"number":1', b'"number":2'))
    refused(world, DeliveryEvent(number=2, envelope=encode(changed)), "not signed")


def test_a_delivery_for_another_node_is_refused(world: World) -> None:
    world.kos.node_id = "cd" * 32
    refused(world, world.kos.deliver(bundle(), 1), "another node")


def test_a_relabelled_delivery_does_not_open(world: World) -> None:
    """Signed by the right service, but sealed for another number or network: the HPKE context says so."""
    refused(world, world.kos.deliver(bundle(), 1, network="green"), "this context")
    foreign = Kos(world.kos.recipient, node_id="cd" * 32, key=world.kos.key)
    refused(world, foreign.deliver(bundle(), 1, node_id=NODE), "this context")


def test_a_delivery_under_another_number_is_refused(world: World) -> None:
    delivery = world.kos.deliver(bundle(), 1)
    refused(world, DeliveryEvent(number=2, envelope=delivery.envelope), "another number")


def test_an_expired_delivery_is_refused(world: World) -> None:
    refused(world, world.kos.deliver(bundle(expires_at=999.0), 1), "expired")


@pytest.mark.parametrize("garbage", [b"", b"{}", b"\xff\xfe", b'{"payload":"AA","signature":"AA"}', b"[" * 5000])
def test_garbage_is_refused(world: World, garbage: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        world.desk.take(DeliveryEvent(number=1, envelope=garbage))


def test_a_point_off_the_curve_is_refused(world: World) -> None:
    refused(world, world.kos.deliver(bundle(), 1, enc=b"\x04" + bytes(64)), "P-256")


def test_another_tpm_does_not_open_it(
    world: World, state: StateDirectory, other_tpm: object, gate: EnclaveGate
) -> None:
    delivery = world.kos.deliver(bundle(), 1)
    foreign = EnclaveGate(state, other_tpm.open, gate.clock)
    own = world.desk
    other = DeliveryDesk(own._identity, state, foreign, [world.sink], lambda: 1000.0)
    with pytest.raises(Exception, match=r".") as failure:
        other.take(delivery)
    assert type(failure.value).__name__ in {"AuthorisationFailed", "ProtocolViolation"}
    assert world.sink.bundles == {}
    assert own.take(delivery).ack.installed


def test_a_bundle_without_keys_empties_the_sinks(world: World) -> None:
    world.desk.take(world.kos.deliver(bundle(), 1))
    receipt = world.desk.take(world.kos.deliver(bundle(version=None), 2))
    assert receipt.ack.installed
    assert world.sink.bundles == {}


def test_isolation_empties_the_sinks_whatever_else_the_bundle_says(world: World) -> None:
    world.desk.take(world.kos.deliver(bundle(), 1))
    isolated = msgspec.structs.replace(bundle(), access=Access.ISOLATED)
    world.desk.take(world.kos.deliver(isolated, 2))
    assert world.sink.bundles == {}


def test_the_sinks_are_emptied_when_the_lease_passes(world: World) -> None:
    world.desk.take(world.kos.deliver(bundle(expires_at=1500.0), 1))
    assert world.desk.next_expiry() == 1500.0
    assert world.desk.expire() == []
    assert "blue" in world.sink.bundles
    world.time[0] = 1500.0
    assert world.desk.expire() == ["blue"]
    assert world.sink.bundles == {}
    assert world.desk.next_expiry() is None


def test_a_lease_that_passed_while_the_agent_was_down_ends_at_its_start(world: World) -> None:
    world.desk.take(world.kos.deliver(bundle(expires_at=1500.0), 1))
    world.time[0] = 1600.0
    assert world.make().reconcile() is None
    assert world.sink.bundles == {}


def test_keys_that_a_sink_lost_are_asked_for_again(world: World) -> None:
    delivery = world.kos.deliver(bundle(), 3)
    world.desk.take(delivery)
    world.desk.stop()
    restarted = world.make()
    assert restarted.reconcile() == 2
    assert restarted.take(delivery).ack.installed
    assert "blue" in world.sink.bundles
    assert restarted.reconcile() is None


def test_a_full_disk_keeps_the_old_keys_and_the_old_number(world: World, state: StateDirectory) -> None:
    world.desk.take(world.kos.deliver(bundle(epoch=1), 1))
    before = state.deliveries.read_bytes()
    # A directory in the place of the new file makes the write fail as a full disk does.
    (state.root / ".deliveries.json.new").mkdir()
    with pytest.raises(StateError):
        world.desk.take(world.kos.deliver(bundle(epoch=2), 2))
    assert state.deliveries.read_bytes() == before
    assert world.sink.bundles["blue"].epoch == 1


def test_a_clock_that_was_set_back_does_not_prolong_a_lease(world: World) -> None:
    """Whoever feeds the node false time would otherwise keep its keys alive."""
    world.desk.take(world.kos.deliver(bundle(expires_at=1500.0), 1))
    world.time[0] = 10.0
    world.boot[0] += 499.0
    assert world.desk.expire() == []
    world.boot[0] += 1.0
    assert world.desk.expire() == ["blue"]
    assert world.sink.bundles == {}


def test_an_enclave_that_hangs_keeps_no_lease_alive(world: World) -> None:
    """Opening a delivery waits for the enclave; the end of another network's lease must not wait for both."""
    world.desk.take(world.kos.deliver(bundle(expires_at=1500.0), 1))
    entered, answer = threading.Event(), threading.Event()

    def hang() -> object:
        entered.set()
        answer.wait(20)
        raise Busy("the enclave hung")

    own = world.desk._gate
    world.desk._gate = replace(own, opener=hang)  # type: ignore[arg-type]
    refusals: list[Busy] = []

    def take() -> None:
        try:
            world.desk.take(world.kos.deliver(bundle("green"), 2))
        except Busy as refusal:
            refusals.append(refusal)

    taking = threading.Thread(target=take)
    taking.start()
    assert entered.wait(10)
    world.time[0] = 1500.0
    expired: list[str] = []
    expiring = threading.Thread(target=lambda: expired.extend(world.desk.expire()), daemon=True)
    expiring.start()
    expiring.join(5)
    assert expired == ["blue"]
    answer.set()
    taking.join(10)
    assert refusals


def test_nothing_is_installed_after_the_sinks_were_stopped(world: World) -> None:
    """A delivery that was being opened when the agent ends would leave keys that nobody removes."""
    world.desk.stop()
    delivery = world.kos.deliver(bundle(), 1)
    with pytest.raises(AgentError, match="stops"):
        world.desk.take(delivery)
    assert world.sink.bundles == {}
    assert world.make().take(delivery).ack.installed


def test_a_full_disk_keeps_no_other_lease_from_ending(world: World, state: StateDirectory) -> None:
    world.desk.take(world.kos.deliver(bundle("blue", expires_at=1500.0), 1))
    world.desk.take(world.kos.deliver(bundle("green", expires_at=1500.0), 2))
    world.time[0] = 1500.0
    blocked = state.root / ".deliveries.json.new"
    blocked.mkdir()
    assert world.desk.expire() == []
    assert world.sink.bundles == {}
    blocked.rmdir()
    assert sorted(world.desk.expire()) == ["blue", "green"]


def test_the_numbers_of_another_service_do_not_bind_and_its_keys_end(world: World, state: StateDirectory) -> None:
    """A node that joined another authority: same TPM, so the same node id, and numbers that begin anew."""
    world.desk.take(world.kos.deliver(bundle("blue"), 9))
    world.desk.take(world.kos.deliver(bundle("green"), 10))
    elsewhere = Kos(world.kos.recipient)
    own = world.desk
    there = identity(elsewhere, own._identity.delivery_key.certified())
    desk = DeliveryDesk(there, state, own._gate, [world.sink], lambda: 1000.0)
    assert desk.take(elsewhere.deliver(bundle("blue"), 1)).ack.installed
    assert set(world.sink.bundles) == {"blue", "green"}
    desk.expire()
    assert set(world.sink.bundles) == {"blue"}


def test_a_damaged_key_of_the_service_is_named_at_the_start(world: World, state: StateDirectory) -> None:
    """And not found out by every delivery anew, as an exception of the library."""
    own = world.desk
    for damaged in (b"", b"junk", own._identity.delivery_key.public):
        changed = msgspec.structs.replace(own._identity, kos_public=damaged)
        with pytest.raises(StateError, match="damaged"):
            DeliveryDesk(changed, state, own._gate, [world.sink], lambda: 1000.0)


@pytest.mark.parametrize("changes", [{"generation": 2**64}, {"generation": -1}, {"issued_at": 1e300}])
def test_numbers_that_no_one_counts_to_are_refused(world: World, changes: dict[str, object]) -> None:
    delivery = world.kos.deliver(bundle(), 1, **changes)
    with pytest.raises(ProtocolViolation, match="SealedDelivery"):
        world.desk.take(delivery)


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(32) + b"\x01" * 32])
def test_a_signature_of_impossible_numbers_is_refused(world: World, signature: bytes) -> None:
    envelope = decode(world.kos.deliver(bundle(), 1).envelope, Envelope)
    forged = encode(msgspec.structs.replace(envelope, signature=signature))
    refused(world, DeliveryEvent(number=1, envelope=forged), "not signed")


def outbound(bundle: KeyBundle) -> list[bytes]:
    return [each.key for each in bundle.associations if each.direction is Direction.OUTBOUND]


def inbound(bundle: KeyBundle) -> list[bytes]:
    return [each.key for each in bundle.associations if each.direction is Direction.INBOUND]


def test_keys_that_a_sink_lost_are_never_sent_under_again(world: World) -> None:
    """A machine that starts anew counts its packets from zero: under the same key that would repeat nonces."""
    sent = bundle()
    delivery = world.kos.deliver(sent, 3)
    assert not world.desk.take(delivery).ack.lost
    world.sink.bundles.clear()
    restarted = world.make()
    restarted.reconcile()
    assert restarted.take(delivery).ack.lost
    assert outbound(world.sink.bundles["blue"]) == []
    assert inbound(world.sink.bundles["blue"]) == inbound(sent)
    assert [number for number, ack in restarted.lacking() if ack.lost] == [3]
    renewed = msgspec.structs.replace(sent, expires_at=3000.0)
    assert world.make().take(world.kos.deliver(renewed, 4)).ack.lost
    assert outbound(world.sink.bundles["blue"]) == []
    fresh = bundle(epoch=2)
    assert not restarted.take(world.kos.deliver(fresh, 5)).ack.lost
    assert outbound(world.sink.bundles["blue"]) == outbound(fresh)
    assert restarted.lacking() == []


def test_keys_that_are_still_there_after_a_start_are_left_alone(world: World) -> None:
    delivery = world.kos.deliver(bundle(), 3)
    world.desk.take(delivery)
    restarted = world.make()
    assert restarted.reconcile() is None
    assert not restarted.take(delivery).ack.lost
    assert world.sink.installs == 1


def test_only_the_sink_that_lost_them_goes_without(world: World) -> None:
    kept, lost = MemorySink("kept"), MemorySink("lost")
    delivery = world.kos.deliver(bundle(), 3)
    world.make(kept, lost).take(delivery)
    lost.bundles.clear()
    restarted = world.make(kept, lost)
    restarted.reconcile()
    assert restarted.take(delivery).ack.lost
    assert outbound(kept.bundles["blue"])
    assert outbound(lost.bundles["blue"]) == []


def test_keys_that_ended_with_their_lease_are_not_sent_under_again(world: World) -> None:
    sent = bundle(expires_at=1500.0)
    world.desk.take(world.kos.deliver(sent, 1))
    world.time[0] = 1600.0
    world.desk.expire()
    renewed = msgspec.structs.replace(sent, expires_at=3000.0)
    assert world.desk.take(world.kos.deliver(renewed, 2)).ack.lost
    assert outbound(world.sink.bundles["blue"]) == []


def test_an_installation_that_failed_is_tried_again_in_whole(world: World) -> None:
    delivery = world.kos.deliver(bundle(), 1)
    world.sink.broken = True
    world.desk.take(delivery)
    world.sink.broken = False
    assert world.desk.reconcile() == 0
    assert not world.desk.take(delivery).ack.lost
    assert outbound(world.sink.bundles["blue"])


def ahead(*starts: float) -> KeyBundle:
    """A bundle with a key to send under from each of these times on, for one peer, epochs ascending."""
    first = bundle()
    one = next(each for each in first.associations if each.direction is Direction.OUTBOUND)
    keys = [
        msgspec.structs.replace(one, epoch=epoch, spi=4096 + epoch, key=bytes([epoch]) * 32, not_before=start)
        for epoch, start in enumerate(starts, 1)
    ]
    return msgspec.structs.replace(first, associations=keys, expires_at=5000.0)


def test_of_keys_held_ahead_the_one_in_force_is_installed_and_the_next_at_its_time(world: World) -> None:
    world.desk.take(world.kos.deliver(ahead(0.0, 1100.0, 1200.0), 1))
    assert outbound(world.sink.bundles["blue"]) == [b"\x01" * 32]
    assert world.desk.next_expiry() == 1100.0
    assert world.desk.switch() == []
    world.time[0] = 1100.0
    assert world.desk.switch() == ["blue"]
    assert outbound(world.sink.bundles["blue"]) == [b"\x02" * 32]
    assert world.desk.next_expiry() == 1200.0


def test_a_clock_that_was_set_back_brings_no_key_back(world: World) -> None:
    delivery = world.kos.deliver(ahead(0.0, 1100.0), 1)
    world.time[0] = 1150.0
    world.desk.take(delivery)
    world.time[0] = 1050.0
    world.desk.take(world.kos.deliver(ahead(0.0, 1100.0), 2))
    assert outbound(world.sink.bundles["blue"]) == [b"\x02" * 32]


def test_a_machine_that_starts_anew_without_the_authority_goes_on_under_a_key_it_never_used(world: World) -> None:
    world.desk.take(world.kos.deliver(ahead(0.0, 1100.0), 1))
    world.sink.bundles.clear()
    restarted = world.make()
    assert restarted.restore() == ["blue"]
    assert outbound(world.sink.bundles["blue"]) == [b"\x02" * 32]
    assert [ack.lost for _, ack in restarted.lacking()] == [True]
    world.sink.bundles.clear()
    again = world.make()
    again.restore()
    assert outbound(world.sink.bundles["blue"]) == []


def test_an_agent_whose_sinks_kept_their_keys_changes_over_in_time(world: World) -> None:
    world.desk.take(world.kos.deliver(ahead(0.0, 1100.0), 1))
    restarted = world.make()
    assert restarted.restore() == []
    world.time[0] = 1100.0
    assert restarted.switch() == ["blue"]
    assert outbound(world.sink.bundles["blue"]) == [b"\x02" * 32]


def test_what_is_kept_for_an_outage_is_sealed_and_private(world: World, state: StateDirectory) -> None:
    sent = ahead(0.0)
    world.desk.take(world.kos.deliver(sent, 1))
    [kept] = state.bundles.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert not any(key in kept.read_bytes() for key in outbound(sent))
    world.time[0] = 5000.0
    world.desk.expire()
    assert [*state.bundles.iterdir()] == []
    assert world.make().restore() == []


def test_what_was_changed_on_disk_is_not_restored(world: World, state: StateDirectory) -> None:
    world.desk.take(world.kos.deliver(bundle(), 1))
    [kept] = state.bundles.iterdir()
    kept.write_bytes(world.kos.deliver(bundle(), 1).envelope)
    world.sink.bundles.clear()
    assert world.make().restore() == []
    assert world.sink.bundles == {}


@dataclass
class ChoosySink(MemorySink):
    """Takes one network, and is told of isolation."""

    name: str = "choosy"
    isolated: list[str] = field(default_factory=list)

    def serves(self, network: str) -> bool:
        return network == "blue"

    def isolate(self, network: str) -> None:
        self.isolated.append(network)
        self.bundles.pop(network, None)


def test_a_sink_gets_its_own_networks_and_learns_that_the_node_is_isolated(
    gate: EnclaveGate, state: StateDirectory
) -> None:
    key = gate.run(delivery_key)
    kos, sink = kos_for(key), ChoosySink()
    desk = DeliveryDesk(identity(kos, key), state, gate, [sink], lambda: 1000.0, lambda: 7.0)
    desk.take(kos.deliver(bundle("blue"), 1))
    desk.take(kos.deliver(bundle("green"), 2))
    assert {*sink.bundles} == {"blue"}
    assert desk.reconcile() is None
    desk.take(kos.deliver(bundle("blue", version=None), 3))
    assert (sink.bundles, sink.isolated) == ({}, [])
    desk.take(kos.deliver(msgspec.structs.replace(bundle("blue", version=None), isolated=True), 4))
    assert sink.isolated == ["blue"]


def test_keys_that_the_system_lost_are_told_of_and_all_others_installed(world: World) -> None:
    """As the kernel's ESP does after a reboot: what was sent under before is not given back."""
    install = world.sink.install

    def without_some(bundle: KeyBundle) -> None:
        install(bundle)
        raise KeysLost("the kernel lost a key that was sent under")

    world.sink.install = without_some  # type: ignore[method-assign]
    ack = world.desk.take(world.kos.deliver(bundle(), 1)).ack
    assert (ack.installed, ack.lost, ack.error) == (True, True, "")
    world.sink.install = install  # type: ignore[method-assign]
    ack = world.desk.take(world.kos.deliver(bundle(epoch=2), 2)).ack
    assert (ack.installed, ack.lost) == (True, False)
