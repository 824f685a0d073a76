"""What becomes of keys that were delivered: leases that end, keys that a sink lost, keys held ahead."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from agent.deliveries import DeliveryDesk
from agent.enclave import EnclaveGate
from agent.errors import AgentError, KeysLost
from agent.state import StateDirectory
from hal import Busy
from protocol.delivery import Direction, KeyBundle
from protocol.levels import Access
from tests.agent.delivery_world import MemorySink, World, make_world
from tests.agent.world import bundle, delivery_key, identity, kos_for


@pytest.fixture
def world(gate: EnclaveGate, state: StateDirectory) -> World:
    return make_world(gate, state)


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
