"""The audit log: a hash chain of decisions, each appended in the transaction that makes it."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from authority.store import schema
from protocol.codec import length_prefixed

GENESIS = "0" * 64
"""`previous` of the first record."""
HEAD_KEY = "audit-head"
"""Row of `meta` that names the newest record, so that records cut off the end are missed."""


@dataclass(frozen=True)
class ChainReport:
    """What `verify_chain` found. `broken_at` is the first sequence number that does not hold; `head` the last hash."""

    length: int
    head: str
    broken_at: int | None = None
    reason: str = ""

    @property
    def intact(self) -> bool:
        """Whether every record holds."""
        return self.broken_at is None


def append(
    conn: Connection, kind: str, actor: str, node_id: str | None, data: Mapping[str, Any], now: float
) -> tuple[int, str]:
    """Append one record; gives its sequence number and hash.

    `data` must be JSON values and carry no secret. `actor` is an operator's name, a node id, or `authority`.
    """
    seq, previous = _newest(conn)
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    record_hash = _hash(seq + 1, now, kind, actor, node_id, canonical, previous)
    values = {"seq": seq + 1, "at": now, "kind": kind, "actor": actor, "node_id": node_id, "data": canonical}
    conn.execute(insert(schema.audit).values(**values, previous=previous, hash=record_hash))
    _move_head(conn, f"{seq + 1}:{record_hash}")
    return seq + 1, record_hash


def verify_chain(conn: Connection) -> ChainReport:
    """Walk the chain and compare its end with the head kept beside it.

    Finds any record changed, removed, inserted or reordered. Whoever can rewrite the whole database can rewrite the
    chain as well: keep `head` elsewhere (the alert sinks carry it) to find that.
    """
    previous, length = GENESIS, 0
    for row in conn.execute(select(schema.audit).order_by(schema.audit.c.seq)):
        reason = _flaw(row, length + 1, previous)
        if reason:
            return ChainReport(length, previous, length + 1, reason)
        previous, length = row.hash, length + 1
    kept = _kept_head(conn)
    if kept != (length, previous):
        return ChainReport(length, previous, length + 1, "records are missing at the end")
    return ChainReport(length, previous)


def _flaw(row: Row[Any], expected_seq: int, previous: str) -> str:
    if row.seq != expected_seq:
        return "a record is missing"
    if row.previous != previous:
        return "the record does not follow the one before it"
    wanted = _hash(row.seq, row.at, row.kind, row.actor, row.node_id, row.data, row.previous)
    return "" if row.hash == wanted else "the record was changed"


def _newest(conn: Connection) -> tuple[int, str]:
    row = conn.execute(select(schema.audit.c.seq, schema.audit.c.hash).order_by(schema.audit.c.seq.desc())).first()
    return (0, GENESIS) if row is None else (row.seq, row.hash)


def _kept_head(conn: Connection) -> tuple[int, str]:
    value = conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == HEAD_KEY))
    seq, _, digest = (value or f"0:{GENESIS}").partition(":")
    return (int(seq) if seq.isdecimal() else -1), digest


def _move_head(conn: Connection, value: str) -> None:
    moved = conn.execute(update(schema.meta).where(schema.meta.c.key == HEAD_KEY).values(value=value))
    if moved.rowcount == 0:
        conn.execute(insert(schema.meta).values(key=HEAD_KEY, value=value))


def _hash(seq: int, at: float, kind: str, actor: str, node_id: str | None, data: str, previous: str) -> str:
    node = b"\x00" if node_id is None else b"\x01" + node_id.encode()
    record = length_prefixed("keyvigil/audit/1", seq, struct.pack(">d", at), kind, actor, node, data, previous)
    return hashlib.sha256(record).hexdigest()
