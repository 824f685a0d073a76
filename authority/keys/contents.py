"""What deliveries held, as their rows keep it: without a key, and small where many pairs are alike."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from authority.keys.rotation import NOTHING, Contents, Epochs, Record
from authority.store import schema
from protocol.codec import ProtocolViolation, decode

UNREADABLE = "unreadable"
"""The digest of no bundle: what was sent is not known, so that it is sent again."""

_Groups = list[tuple[list[int], list[int]]]
"""Epochs, and the slots of the nodes that they hold for."""


class _Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: str
    generation: int
    resource_class: str
    inbound: _Groups
    outbound: _Groups


@dataclass(frozen=True)
class Sent:
    """The newest delivery to a member: the digest of all that it was made of, and when it was made."""

    digest: str = ""
    issued_at: float = 0.0


def write_identity(digest: str, generation: int, resource_class: str, contents: Contents) -> str:
    """The text that a delivery's row keeps."""
    identity = _Identity(digest, generation, resource_class, _grouped(contents.inbound), _grouped(contents.outbound))
    return msgspec.json.encode(identity).decode()


@dataclass(frozen=True)
class _Row:
    identity: _Identity | None
    issued_at: float
    acked_at: float | None
    ended_at: float | None


class Deliveries:
    """What the deliveries of a network tell, as far as they still matter: read once, asked by member."""

    def __init__(self, conn: Connection, network: str, generation: int, since: float) -> None:
        """`since`: deliveries that were replaced before then are over."""
        row = schema.delivery
        columns = (row.c.node_id, row.c.identity, row.c.issued_at, row.c.acked_at, row.c.ended_at)
        live = (row.c.network == network) & (row.c.ended_at.is_(None) | (row.c.ended_at > since))
        self._rows: dict[str, list[_Row]] = {}
        for node_id, text, *times in conn.execute(select(*columns).where(live).order_by(row.c.node_id, row.c.number)):
            self._rows.setdefault(node_id, []).append(_Row(_read(text), *times))
        self._generation = generation

    def sent(self, node_id: str) -> Sent:
        """The newest delivery."""
        rows = self._rows.get(node_id)
        if not rows:
            return Sent()
        identity = rows[-1].identity
        return Sent(UNREADABLE if identity is None else identity.digest, rows[-1].issued_at)

    def note(self, node_id: str, now: float) -> None:
        """There is a newer delivery, of `now`."""
        self._rows.setdefault(node_id, []).append(_Row(None, now, None, None))

    def drains(self) -> Iterator[float]:
        """When each delivery that still drains was replaced."""
        return (row.ended_at for rows in self._rows.values() for row in rows if row.ended_at is not None)

    def records(self, members: Sequence[Row[Any]]) -> dict[int, Record]:
        """By slot, from the rows of the members.

        A node whose class has changed since counts as told of no source, and no source as sending to it: the class is
        part of the key.
        """
        moved = {row.slot for row in members if self._class_changed(row)}
        return {row.slot: self._record(row, moved) for row in members if row.node_id in self._rows}

    def _class_changed(self, member: Row[Any]) -> bool:
        rows = self._rows.get(member.node_id, [])
        known = {row.identity.resource_class for row in rows if row.identity is not None}
        return bool(known - {member.resource_class})

    def _record(self, member: Row[Any], moved: Collection[int]) -> Record:
        rows = self._rows[member.node_id]
        held = [self._contents(row.identity, member, moved) for row in rows]
        first = next((index for index, row in enumerate(rows) if row.ended_at is None), len(rows))
        installed = held[first:] if first < len(rows) and rows[first].acked_at is not None else []
        since = member.outstanding_since
        return Record(held[-1], installed, held, math.inf if since is None else since)

    def _contents(self, identity: _Identity | None, member: Row[Any], moved: Collection[int]) -> Contents:
        if identity is None or identity.generation != self._generation:
            return NOTHING
        outbound = _spread(identity.outbound)
        for slot in moved:
            outbound.pop(slot, None)
        stays = identity.resource_class == member.resource_class
        return Contents(_spread(identity.inbound) if stays else {}, outbound)


def _read(text: str) -> _Identity | None:
    try:
        return decode(text, _Identity)
    except ProtocolViolation:
        return None


def _grouped(epochs_by_slot: Mapping[int, Epochs]) -> _Groups:
    groups: dict[Epochs, list[int]] = {}
    for slot, epochs in epochs_by_slot.items():
        groups.setdefault(epochs, []).append(slot)
    return [([*epochs], sorted(slots)) for epochs, slots in sorted(groups.items())]


def _spread(groups: _Groups) -> dict[int, Epochs]:
    found: dict[int, Epochs] = {}
    for epochs, slots in groups:
        found |= dict.fromkeys(slots, tuple(epochs))
    return found
