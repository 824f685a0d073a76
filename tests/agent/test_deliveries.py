"""What the delivery desk takes, and what it refuses."""

from __future__ import annotations

import json

import msgspec
import pytest

from agent.deliveries import DeliveryDesk
from agent.enclave import EnclaveGate
from agent.errors import StateError
from agent.state import StateDirectory
from protocol.codec import ProtocolViolation, decode, encode
from protocol.delivery import Envelope
from protocol.messages import DeliveryEvent
from tests.agent.delivery_world import World, make_world
from tests.agent.world import NODE, Kos, bundle, identity


@pytest.fixture
def world(gate: EnclaveGate, state: StateDirectory) -> World:
    return make_world(gate, state)


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


def test_a_full_disk_keeps_the_old_keys_and_the_old_number(world: World, state: StateDirectory) -> None:
    world.desk.take(world.kos.deliver(bundle(epoch=1), 1))
    before = state.deliveries.read_bytes()
    # A directory in the place of the new file makes the write fail as a full disk does.
    (state.root / ".deliveries.json.new").mkdir()
    with pytest.raises(StateError):
        world.desk.take(world.kos.deliver(bundle(epoch=2), 2))
    assert state.deliveries.read_bytes() == before
    assert world.sink.bundles["blue"].epoch == 1


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
