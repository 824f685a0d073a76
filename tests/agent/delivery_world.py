"""One node's delivery desk with a sink in memory, and the service that delivers to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.deliveries import DeliveryDesk
from agent.enclave import EnclaveGate
from agent.errors import SinkFailed
from agent.sinks import HeldKeys
from agent.state import StateDirectory
from protocol.delivery import KeyBundle
from tests.agent.world import Kos, delivery_key, identity, kos_for


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


def make_world(gate: EnclaveGate, state: StateDirectory) -> World:
    """A desk with one sink, at a time and a boot of its own."""
    key = gate.run(delivery_key)
    kos, sink, time, boot = kos_for(key), MemorySink(), [1000.0], [7.0]

    def make(*others: MemorySink) -> DeliveryDesk:
        sinks = [*others] or [sink]
        return DeliveryDesk(identity(kos, key), state, gate, sinks, lambda: time[0], lambda: boot[0])

    return World(kos, sink, make(), make, time, boot)
