"""What a rotation left at every node, against the authority's book; and every key that was seen on the way there."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from agent.durable import read_struct
from agent.sinks.file import KeyFile
from agent.sinks.wireguard._uapi import UapiDevice
from protocol.delivery import Direction, KeyBundle
from protocol.key_schedule import pair_spi
from protocol.wireguard import wireguard_psk
from simulators.lab.network.run import Member, NetworkLab
from simulators.lab.world import NETWORK

Pair = tuple[str, str]
"""Node ids of source and destination."""
LOOK_S = 0.01


@dataclass(frozen=True)
class Held:
    """One key at one end: what it is of, and its digest."""

    version: int
    epoch: int
    spi: int
    digest: str


@dataclass
class Sight:
    """Keys by pair and epoch, and the epochs that each pair was sent under in order."""

    keys: dict[tuple[Pair, int], set[str]] = field(default_factory=dict)
    sent: dict[Pair, list[int]] = field(default_factory=dict)

    def note(self, node_id: str, bundle: KeyBundle) -> None:
        """A node holds this now."""
        for direction, pair, held in _ends(node_id, bundle):
            self.keys.setdefault((pair, held.epoch), set()).add(held.digest)
            if direction is Direction.OUTBOUND:
                epochs = self.sent.setdefault(pair, [])
                if epochs[-1:] != [held.epoch]:
                    epochs.append(held.epoch)


class Witness:
    """A thread that reads every node's file of keys whenever that is another one; a context manager."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._known: dict[str, tuple[int, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)
        self.sight = Sight()

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            for node_id, file in self._files.items():
                self._look(node_id, file)

    def _look(self, node_id: str, file: Path) -> None:
        now = file.stat()
        if self._known.get(node_id) != (now.st_ino, now.st_mtime_ns):
            self._known[node_id] = (now.st_ino, now.st_mtime_ns)
            self.sight.note(node_id, bundle_in(file))


def bundle_in(file: Path) -> KeyBundle:
    """What a node's file of keys holds of the lab's network."""
    content = read_struct(file, KeyFile)
    assert content is not None
    return content.networks[NETWORK]


def key_file(member: Member) -> Path:
    """Where a node's keys lie."""
    return member.machine.folder / "keys.json"


def held(lab: NetworkLab) -> dict[tuple[Direction, Pair], list[Held]]:
    """What both ends of every pair hold in their files."""
    found: dict[tuple[Direction, Pair], list[Held]] = {}
    for member in lab.members:
        for direction, pair, each in _ends(member.machine.identity.node_id, bundle_in(key_file(member))):
            found.setdefault((direction, pair), []).append(each)
    return found


def _ends(node_id: str, bundle: KeyBundle) -> Iterator[tuple[Direction, Pair, Held]]:
    for each in bundle.associations:
        pair = (node_id, each.peer) if each.direction is Direction.OUTBOUND else (each.peer, node_id)
        digest = hashlib.sha256(each.key).hexdigest()
        yield each.direction, pair, Held(each.version, each.epoch, each.spi, digest)


@dataclass(frozen=True)
class Book:
    """The authority's: version, epoch and SPI of every ordered pair; how many of its deliveries are not answered."""

    pairs: dict[Pair, tuple[int, int, int]]
    epochs: dict[str, int]
    owing: int
    pending: bool

    def settled(self, before: Mapping[str, int]) -> bool:
        """Whether every node has a newer epoch than `before`, and nothing is still to come."""
        return not (self.owing or self.pending) and all(self.epochs[each] > epoch for each, epoch in before.items())


def read_book(state: Path) -> Book:
    """As it lies in the authority's database."""
    with closing(sqlite3.connect(f"file:{state / 'authority.db'}?mode=ro", uri=True, timeout=5)) as conn:
        (pending,) = conn.execute("SELECT pending FROM network WHERE name = ?", (NETWORK,)).fetchone()
        owing = "SELECT count(*) FROM delivery WHERE network = ? AND ended_at IS NULL AND acked_at IS NULL"
        (count,) = conn.execute(owing, (NETWORK,)).fetchone()
        newest = """SELECT m.node_id, m.slot, e.version, max(e.epoch) FROM member m JOIN member_epoch e
                    ON e.network = m.network AND e.node_id = m.node_id WHERE m.network = ? GROUP BY m.node_id"""
        sources = conn.execute(newest, (NETWORK,)).fetchall()
    ids = [node_id for node_id, *_ in sources]
    pairs = {
        (node_id, other): (version, epoch, pair_spi(slot, epoch))
        for node_id, slot, version, epoch in sources
        for other in ids
        if other != node_id
    }
    return Book(pairs, {node_id: epoch for node_id, _, _, epoch in sources}, count, bool(pending))


def check_files_hold_what_the_book_says(book: Book, found: Mapping[tuple[Direction, Pair], list[Held]]) -> None:
    """Both ends of each pair hold one key, the same, of the newest epoch of its source; and nothing else is held."""
    assert {pair for _, pair in found} == {*book.pairs}
    for pair, expected in book.pairs.items():
        ends = [found[direction, pair] for direction in (Direction.OUTBOUND, Direction.INBOUND)]
        assert [[(one.version, one.epoch, one.spi) for one in end] for end in ends] == [[expected], [expected]], pair
        assert ends[0] == ends[1], pair


def check_tunnels_hold_what_files_hold(lab: NetworkLab) -> None:
    """Every node's WireGuard has exactly its peers, each with the preshared key of the pair."""
    public = {one.machine.identity.node_id: _public(lab, one) for one in lab.members}
    for member in lab.members:
        own, bundle = member.machine.identity.node_id, bundle_in(key_file(member))
        wanted = {
            public[each.peer]: wireguard_psk(each.key, NETWORK)
            for each in bundle.associations
            if (each.direction is Direction.OUTBOUND) == (public[own] < public[each.peer])
        }
        peers = UapiDevice(member.port.interface).read().peers
        assert {key: hashlib.sha256(one.psk).hexdigest() for key, one in peers.items()} == {
            key: hashlib.sha256(psk).hexdigest() for key, psk in wanted.items()
        }, member.name


def _public(lab: NetworkLab, member: Member) -> bytes:
    return next(
        peer.wireguard_public
        for other in lab.members
        if other is not member
        for peer in bundle_in(key_file(other)).peers
        if peer.node_id == member.machine.identity.node_id
    )


def check_no_key_comes_back(sight: Sight) -> None:
    """No epoch of a pair had two keys, no two had the same, and nobody sent under an epoch that it had left."""
    assert all(len(digests) == 1 for digests in sight.keys.values())
    assert len({digest for digests in sight.keys.values() for digest in digests}) == len(sight.keys)
    for pair, epochs in sight.sent.items():
        assert epochs == sorted({*epochs}), pair
