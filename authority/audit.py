"""The audit log: decisions, each appended to a Merkle tree (RFC 9162) in the transaction that makes it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from sqlalchemy import Connection, Row, SmallInteger, bindparam, cast, func, insert, select

from authority.store import schema
from protocol.codec import length_prefixed
from protocol.merkle import Nodes, completed, leaf_hash, root

_APPEND, _COMPLETE = insert(schema.audit), insert(schema.log_node)
_NEWEST = select(func.max(schema.log_node.c.position)).where(schema.log_node.c.level == 0)
_HASH = select(schema.log_node.c.hash).where(
    (schema.log_node.c.level == bindparam("wanted_level"))
    & (schema.log_node.c.position == bindparam("wanted_position"))
)
"""Made once, for every decision asks these."""


@dataclass(frozen=True)
class LogReport:
    """What `verify_log` found: number of records, root over them (hexadecimal), checkpoints that hold.

    `broken_at` is the sequence number of the first record that does not hold, or behind which something does not.
    """

    length: int
    root: str
    checkpoints: int = 0
    broken_at: int | None = None
    reason: str = ""

    @property
    def intact(self) -> bool:
        """Whether everything holds."""
        return self.broken_at is None


def append(
    conn: Connection, kind: str, actor: str, node_id: str | None, data: Mapping[str, Any], now: float
) -> tuple[int, str]:
    """Append one record; gives its sequence number and leaf hash.

    `data` must be JSON values and carry no secret. `actor` is an operator's name, a node id, or `authority`.
    """
    index = log_size(conn)
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    values = {"seq": index + 1, "at": now, "kind": kind, "actor": actor, "node_id": node_id, "data": canonical}
    conn.execute(_APPEND, values)
    leaf = leaf_hash(_record(index + 1, now, kind, actor, node_id, canonical))
    for level, position, value in completed(index, leaf, stored_nodes(conn)):
        conn.execute(_COMPLETE, {"level": level, "position": position, "hash": value})
    return index + 1, leaf.hex()


def log_size(conn: Connection) -> int:
    """Number of records that the tree has; those of the table are compared with it by `verify_log`."""
    newest = conn.scalar(_NEWEST)
    return 0 if newest is None else newest + 1


def stored_nodes(conn: Connection) -> Nodes:
    """The tree's nodes; one that is missing raises `LookupError`."""

    def node(level: int, position: int) -> bytes:
        value = conn.scalar(_HASH, {"wanted_level": level, "wanted_position": position})
        if value is None:
            raise LookupError(f"the log's tree lacks node {level}/{position}")
        return bytes(value)

    return node


def record_bytes(row: Row[Any]) -> bytes:
    """What the leaf of an audit row is the hash of."""
    return _record(row.seq, row.at, row.kind, row.actor, row.node_id, row.data)


def verify_log(conn: Connection) -> LogReport:
    """Build the tree anew from the records, and compare every node and every checkpoint that was given out.

    Finds any record changed, removed, inserted or reordered. Whoever can rewrite the whole database and has the log's
    key can rewrite the checkpoints as well: nodes and alert sinks keep them elsewhere to find that.
    """
    built: dict[tuple[int, int], bytes] = {}
    given = {row.size: bytes(row.root) for row in conn.execute(select(schema.log_checkpoint))}
    records, nodes = conn.execute(select(schema.audit).order_by(schema.audit.c.seq)), _nodes_in_order(conn)
    length = held = 0
    for row, stored in zip_longest(records, nodes):
        if row is None:
            return _broken(length, built, "records are missing at the end")
        reason = _flaw(row, stored, length, built)
        if reason:
            return _broken(length, built, reason)
        length += 1
        if length in given:
            if given[length] != root(length, _kept(built)):
                return _broken(length - 1, built, "a checkpoint that was given out says otherwise")
            held += 1
        _forget_inner(built, length)
    if held != len(given):
        return _broken(length, built, "a checkpoint that was given out has more records")
    return LogReport(length, root(length, _kept(built)).hex(), held)


def _broken(length: int, built: dict[tuple[int, int], bytes], reason: str) -> LogReport:
    return LogReport(length, root(length, _kept(built)).hex(), broken_at=length + 1, reason=reason)


def _flaw(row: Row[Any], stored: list[tuple[int, int, bytes]], length: int, built: dict[tuple[int, int], bytes]) -> str:
    """What is wrong with the next record, or with the nodes that it completes; adds these to `built`."""
    if row.seq != length + 1:
        return "a record is missing"
    wanted = [*completed(length, leaf_hash(record_bytes(row)), _kept(built))]
    if stored is None or stored[:1] != wanted[:1]:
        return "the record was changed, or put in"
    if stored != wanted:
        return "the tree behind the record was changed"
    built.update({(level, position): value for level, position, value in wanted})
    return ""


def _nodes_in_order(conn: Connection) -> Iterator[list[tuple[int, int, bytes]]]:
    """The nodes that each record completes, record by record."""
    row = schema.log_node
    end = (row.c.position + 1).op("<<")(cast(row.c.level, SmallInteger))
    group: list[tuple[int, int, bytes]] = []
    for level, position, value in conn.execute(select(row).order_by(end, row.c.level)):
        if level == 0 and group:
            yield group
            group = []
        group.append((level, position, bytes(value)))
    if group:
        yield group


def _forget_inner(built: dict[tuple[int, int], bytes], length: int) -> None:
    """Keep the roots of the full subtrees that `length` is the sum of, which is all that the rest needs."""
    wanted = {(level, (length >> level) - 1) for level in range(length.bit_length()) if length >> level & 1}
    for key in built.keys() - wanted:
        del built[key]


def _kept(built: dict[tuple[int, int], bytes]) -> Nodes:
    return lambda level, position: built[level, position]


def _record(seq: int, at: float, kind: str, actor: str, node_id: str | None, data: str) -> bytes:
    node = b"\x00" if node_id is None else b"\x01" + node_id.encode()
    return length_prefixed("keyvigil/audit/2", seq, struct.pack(">d", at), kind, actor, node, data)
