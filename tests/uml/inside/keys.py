"""Bundles as the authority would make them, and pairs that rotate make-before-break."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from protocol.delivery import Association, Direction, KeyBundle, Peer
from protocol.key_schedule import pair_spi
from protocol.levels import Access, ResourceClass, Rotation, Tier
from tests.uml.inside.net import Place

LEASE_S = 3600.0
Epochs = Mapping[tuple[int, int], Sequence[int]]
"""By source and destination."""


def pair_key(source: Place, destination: Place, epoch: int) -> bytes:
    """A key of its own for every ordered pair and epoch."""
    return hashlib.sha256(f"{source.name} {destination.name} {epoch}".encode()).digest()


def bundle(
    places: Sequence[Place],
    own: int,
    sending: Epochs,
    receiving: Epochs,
    network: str = "blue",
    at: float | None = None,
) -> KeyBundle:
    """What node `own` shall hold: epochs by ordered pair, of those that it is the source of, then the destination."""
    associations = [
        _association(places, pair, epoch, own)
        for pairs in (sending, receiving)
        for pair, epochs in pairs.items()
        for epoch in epochs
    ]
    peers = [
        Peer(other.name, other.name, other.address, other.endpoint) for other in places if other is not places[own]
    ]
    return KeyBundle(
        network=network,
        tier=Tier.HIGH,
        access=Access.FULL,
        rotation=Rotation.STANDARD,
        version=1,
        epoch=1,
        rotate_s=60.0,
        expires_at=(time.time() if at is None else at) + LEASE_S,
        associations=associations,
        address=places[own].address,
        endpoint=places[own].endpoint,
        peers=peers,
    )


def _association(places: Sequence[Place], pair: tuple[int, int], epoch: int, own: int) -> Association:
    source, destination = places[pair[0]], places[pair[1]]
    outbound = pair[0] == own
    other = destination if outbound else source
    return Association(
        peer=other.name,
        peer_name=other.name,
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        version=1,
        epoch=epoch,
        resource_class=ResourceClass.NORMAL,
        key=pair_key(source, destination, epoch),
        spi=pair_spi(pair[0] + 1, epoch),
    )


class Phase(IntEnum):
    """Of a rotation of one ordered pair."""

    STEADY = 0
    PREPARE = 1
    SWITCH = 2
    DRAIN = 3
    RETIRE = 4


@dataclass
class Pair:
    """One ordered pair under rotation."""

    epoch: int = 1
    phase: Phase = Phase.STEADY
    entered: int = 0
    drain_until: float = 0.0
    rotations: int = 0

    @property
    def sending(self) -> list[int]:
        return [self.epoch + 1 if self.phase >= Phase.SWITCH else self.epoch]

    @property
    def receiving(self) -> list[int]:
        if self.phase is Phase.STEADY:
            return [self.epoch]
        return [self.epoch + 1] if self.phase is Phase.RETIRE else [self.epoch, self.epoch + 1]


class Rotator:
    """Drives every ordered pair by itself: it goes on when the end whose turn it is has installed what it shall hold.

    A node of `stragglers` installs a turn later than it is told.
    """

    def __init__(
        self,
        places: Sequence[Place],
        install: Callable[[int, KeyBundle], None],
        stragglers: Collection[int] = (),
        drain_s: float = 0.05,
    ) -> None:
        self._places, self._install, self._stragglers, self._drain_s = places, install, stragglers, drain_s
        nodes = range(len(places))
        self.pairs = {(one, other): Pair() for one in nodes for other in nodes if one != other}
        self.spans: list[float] = []
        self._turn = 0
        self._done = dict.fromkeys(nodes, 0)
        self._late: dict[int, tuple[int, KeyBundle]] = {}
        self._told = set(nodes)
        for node in nodes:
            install(node, self.bundle(node))

    def bundle(self, node: int) -> KeyBundle:
        """What a node shall hold now."""
        sending = {pair: state.sending for pair, state in self.pairs.items() if pair[0] == node}
        receiving = {pair: state.receiving for pair, state in self.pairs.items() if pair[1] == node}
        return bundle(self._places, node, sending, receiving)

    def begin(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Begin a rotation of the steady ones among `pairs`."""
        for pair in pairs:
            state = self.pairs[pair]
            if state.phase is Phase.STEADY:
                state.phase, state.entered = Phase.PREPARE, self._turn + 1
                self._told |= {pair[1]}

    def step(self) -> None:
        """One turn."""
        self._turn += 1
        now = time.monotonic()
        for pair, state in self.pairs.items():
            self._advance(pair, state, now)
        for node in list(self._late):
            self._do(node, *self._late.pop(node))
        for node in self._told:
            news = (self._turn, self.bundle(node))
            if node in self._stragglers:
                self._late[node] = news
            else:
                self._do(node, *news)
        self._told = set()

    def settle(self) -> None:
        """Turn until every pair is steady."""
        while self._late or self._told or any(state.phase is not Phase.STEADY for state in self.pairs.values()):
            self.step()
            time.sleep(0.002)

    def _do(self, node: int, turn: int, news: KeyBundle) -> None:
        started = time.monotonic()
        self._install(node, news)
        self.spans.append(time.monotonic() - started)
        self._done[node] = turn

    def _advance(self, pair: tuple[int, int], state: Pair, now: float) -> None:
        source, destination = pair
        if state.phase is Phase.PREPARE and self._done[destination] >= state.entered:
            state.phase = Phase.SWITCH
            self._told |= {source}
        elif state.phase is Phase.SWITCH and self._done[source] >= state.entered:
            state.phase, state.drain_until = Phase.DRAIN, now + self._drain_s
        elif state.phase is Phase.DRAIN and now >= state.drain_until:
            state.phase = Phase.RETIRE
            self._told |= {destination}
        elif state.phase is Phase.RETIRE and self._done[destination] >= state.entered:
            state.epoch, state.phase, state.rotations = state.epoch + 1, Phase.STEADY, state.rotations + 1
            return
        else:
            return
        state.entered = self._turn
