"""The epochs of the sources of a network: what their keys depend on besides the version secret."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, insert, select, update

from authority.runtime import Runtime
from authority.store import schema
from protocol.key_schedule import EPOCH_BITS, FRESH_BYTES

_RESTORED_STEP = 1 << (EPOCH_BITS - 1)
"""A restored authority does not know how far its nodes had come: it starts where their SPIs are other ones."""


@dataclass(frozen=True)
class Epoch:
    """One epoch of a source: under `version`, with the 16 fresh bytes drawn for it; sent under from `not_before`."""

    number: int
    version: int
    fresh: bytes = field(repr=False)
    created_at: float
    not_before: float = 0.0


@dataclass
class Alive:
    """A source's epochs, ascending; `number` is the highest that it ever had."""

    number: int
    epochs: list[Epoch] = field(default_factory=list)
    at_once: bool = False

    @property
    def newest(self) -> Epoch | None:
        """The last one."""
        return self.epochs[-1] if self.epochs else None

    def numbers(self) -> tuple[int, ...]:
        """Their numbers, ascending."""
        return tuple(each.number for each in self.epochs)

    def target(self, now: float) -> int:
        """The newest whose time has come."""
        return max((each.number for each in self.epochs if each.not_before <= now), default=self.epochs[0].number)

    def find(self, number: int) -> Epoch:
        """The epoch of this number."""
        return next(each for each in self.epochs if each.number == number)


class EpochBook:
    """The epochs of one network, by node id; changes are written together by `save`."""

    def __init__(self, conn: Connection, rt: Runtime, network: str) -> None:
        self._rt = rt
        self._network = network
        self._alive: dict[str, Alive] = {}
        self._added: list[dict[str, object]] = []
        self._stale: set[str] = set()
        self._read(conn)

    def of(self, node_id: str) -> Alive:
        """The epochs of a source."""
        return self._alive[node_id]

    def versions(self) -> set[int]:
        """The versions that epochs are under."""
        return {each.version for alive in self._alive.values() for each in alive.epochs}

    def add(self, node_id: str, version: int, now: float, not_before: float = 0.0) -> Epoch:
        """One more epoch for a source."""
        alive = self._alive[node_id]
        alive.number += _RESTORED_STEP if node_id in self._stale else 1
        self._stale.discard(node_id)
        epoch = Epoch(alive.number, version, self._rt.random(FRESH_BYTES), now, not_before)
        alive.epochs.append(epoch)
        values = {"network": self._network, "node_id": node_id, "epoch": epoch.number, "version": version}
        values |= {"generation": self._rt.generation, "fresh": epoch.fresh}
        self._added.append(values | {"created_at": now, "not_before": not_before})
        return epoch

    def keep(self, node_id: str, numbers: Iterable[int]) -> None:
        """Forget every epoch of a source but these."""
        wanted, alive = {*numbers}, self._alive[node_id]
        alive.epochs = [each for each in alive.epochs if each.number in wanted]

    def save(self, conn: Connection) -> None:
        """Write what was added, and forget what nobody holds any more."""
        row, kept = schema.member_epoch, {node: {*alive.numbers()} for node, alive in self._alive.items()}
        mine = row.c.network == self._network
        for node_id, number in self._stored:
            if number not in kept.get(node_id, ()):
                conn.execute(delete(row).where(mine & (row.c.node_id == node_id) & (row.c.epoch == number)))
        added = [each for each in self._added if each["epoch"] in kept[str(each["node_id"])]]
        if added:
            conn.execute(insert(row), added)
        self._save_numbers(conn, {str(each["node_id"]) for each in self._added})

    def _save_numbers(self, conn: Connection, nodes: Iterable[str]) -> None:
        for node_id in nodes:
            mine = (schema.member.c.network == self._network) & (schema.member.c.node_id == node_id)
            conn.execute(update(schema.member).where(mine).values(epoch=self._alive[node_id].number))

    def _read(self, conn: Connection) -> None:
        member, row = schema.member, schema.member_epoch
        numbers = select(member.c.node_id, member.c.epoch).where(member.c.network == self._network)
        self._alive = {node_id: Alive(number) for node_id, number in conn.execute(numbers)}
        found = conn.execute(select(row).where(row.c.network == self._network).order_by(row.c.node_id, row.c.epoch))
        self._stored = []
        for each in found.all():
            self._stored.append((each.node_id, each.epoch))
            if each.node_id not in self._alive:
                continue
            if each.generation != self._rt.generation:
                self._stale.add(each.node_id)
                continue
            epoch = Epoch(each.epoch, each.version, each.fresh, each.created_at, each.not_before)
            self._alive[each.node_id].epochs.append(epoch)
