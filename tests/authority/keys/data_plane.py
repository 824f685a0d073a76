"""A reference model of the data plane: what nodes hold is what their sinks were given, and packets need both ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from authority import challenges
from authority.runtime import Push
from protocol.delivery import Direction, KeyBundle
from protocol.messages import DeliveryAck, DeliveryEvent
from tests.authority.world import World


@dataclass
class Sink:
    """One node's keys. `left` are keys that it no longer sends under, and since when; none may come back."""

    inbound: dict[tuple[str, bytes], int] = field(default_factory=dict)
    outbound: dict[str, bytes] = field(default_factory=dict)
    versions: dict[bytes, int] = field(default_factory=dict)
    left: dict[tuple[str, bytes], float] = field(default_factory=dict)
    bundle: KeyBundle | None = None

    def install(self, bundle: KeyBundle, now: float) -> bool:
        """Make the keys those that are in force of the bundle, but for lost ones; whether there were such."""
        self.bundle = bundle
        offered = sorted(
            (each.not_before, each.epoch, each.peer, each.key)
            for each in bundle.associations
            if each.direction is Direction.OUTBOUND
        )
        due: dict[str, bytes] = {}
        barred: set[str] = set()
        for not_before, _, peer, key in offered:
            if (peer, key) in self.left and not_before <= now:
                barred.add(peer)
            elif (peer, key) not in self.left and (not_before <= now or (peer in barred and peer not in due)):
                due[peer] = key
        self._leave(due, now)
        self.inbound = {
            (each.peer, each.key): each.epoch for each in bundle.associations if each.direction is Direction.INBOUND
        }
        self.versions = {each.key: each.version for each in bundle.associations}
        return bool(barred)

    def switch(self, now: float) -> None:
        """Time went by: send under what has come into force."""
        if self.bundle is not None:
            self.install(self.bundle, now)

    def lose(self, now: float) -> None:
        """The machine starts anew."""
        self.bundle = None
        self._leave({}, now)
        self.inbound = {}

    def in_flight(self, now: float, drain_s: float) -> Iterator[tuple[str, bytes]]:
        """Destination and key of packets that may be under way."""
        yield from self.outbound.items()
        yield from (pair for pair, since in self.left.items() if now < since + drain_s)

    def peers(self) -> set[str]:
        """Whoever it shares a key with."""
        return {peer for peer, _ in self.inbound} | {*self.outbound}

    def _leave(self, outbound: dict[str, bytes], now: float) -> None:
        for peer, key in self.outbound.items():
            if outbound.get(peer) != key:
                self.left[peer, key] = now
        self.outbound = outbound


@dataclass
class Node:
    """A node between the authority and its sink: what goes either way may be late, lost or reordered."""

    world: World
    node_id: str
    sink: Sink = field(default_factory=Sink)
    inbox: list[DeliveryEvent] = field(default_factory=list)
    outbox: list[tuple[int, DeliveryAck]] = field(default_factory=list)
    taken: int = 0
    sent: int = 0
    empty: bool = False
    lacking: bool = False

    def post(self, event: DeliveryEvent) -> None:
        """The authority pushes a delivery."""
        self.inbox.append(event)
        self.sent = max(self.sent, event.number)

    def take(self, index: int = 0) -> None:
        """Take one of the deliveries that wait; one that is older than the newest taken is refused."""
        event = self.inbox.pop(index % len(self.inbox))
        if event.number < self.taken:
            return
        self.taken, self.empty = event.number, False
        self.lacking = lost = self.sink.install(self.world.open((self.node_id, event)), self.world.clock)
        self.outbox.append((event.number, DeliveryAck(installed=True, sinks=["model"], lost=lost)))

    def say(self, index: int = 0) -> list[Push]:
        """Send one of the acknowledgements that wait; what the authority does upon it."""
        number, ack = self.outbox.pop(index % len(self.outbox))
        return challenges.acknowledge(self.world.conn, self.world.rt, self.node_id, number, ack, self.world.clock)

    def connect(self) -> None:
        """A new connection: what waited in the old one is gone, and the authority tells what is not acknowledged."""
        self.inbox, self.outbox = [], []
        for event in challenges.open_events(self.world.conn, self.world.rt, self.node_id, self.world.clock):
            if isinstance(event, DeliveryEvent):
                self.post(event)
        if self.empty:
            self._ask_again()
        if self.lacking:
            self.outbox.append((self.taken, DeliveryAck(installed=True, sinks=["model"], lost=True)))

    def start_anew(self) -> None:
        """The machine lost its keys: it asks for its newest delivery, whether it had acknowledged it or not."""
        self.sink.lose(self.world.clock)
        self.inbox, self.outbox, self.empty = [], [], True
        self._ask_again()

    def _ask_again(self) -> None:
        for event in challenges.deliveries_after(self.world.conn, self.node_id, self.taken - 1):
            self.post(event)

    @property
    def up_to_date(self) -> bool:
        """Whether it took the newest that was sent to it, and the authority knows."""
        return self.taken == self.sent and not self.outbox and not self.empty and not self.lacking
