"""Pairs that were given up because one of their ends held their rotation up for too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from sqlalchemy import Connection, bindparam, delete, exists, insert, select

from authority import audit
from authority.alerts import raise_alert
from authority.store import schema

_AUTHORITY = "authority"
_IS_AT_FAULT = select(exists().where(schema.evicted_pair.c.node_id == bindparam("node")))


def given_up(conn: Connection, network: str) -> set[tuple[int, int]]:
    """Source and destination (slots) of every pair that is given up."""
    row = schema.evicted_pair
    found = conn.execute(select(row.c.source, row.c.destination).where(row.c.network == network))
    return {(source, destination) for source, destination in found}


def give_up(conn: Connection, network: str, pairs: Collection[tuple[int, int, str]], now: float) -> None:
    """Note pairs (source, destination, id of the node at fault); whoever is at fault is told of once."""
    if not pairs:
        return
    row = schema.evicted_pair
    known = {*conn.scalars(select(row.c.node_id).where(row.c.network == network))}
    columns = ("source", "destination", "node_id")
    more = {"network": network, "since": now}
    conn.execute(insert(row), [dict(zip(columns, pair, strict=True)) | more for pair in pairs])
    for node_id, count in sorted(Counter(node_id for *_, node_id in pairs).items()):
        detail = {"network": network, "pairs": count}
        audit.append(conn, "rotation-overdue", _AUTHORITY, node_id, detail, now)
        if node_id not in known:
            name = conn.scalar(select(schema.node.c.name).where(schema.node.c.id == node_id))
            text = f"{name} holds up the rotation of {network}: {count} of its associations were taken away"
            raise_alert(conn, "warning", "rotation-overdue", node_id, text, detail, now)


def forgive(conn: Connection, network: str, node_id: str, now: float) -> bool:
    """The node has caught up: its pairs may be again, with new epochs; whether there were any."""
    row = schema.evicted_pair
    ended = conn.execute(delete(row).where((row.c.network == network) & (row.c.node_id == node_id))).rowcount
    if ended:
        audit.append(conn, "rotation-caught-up", _AUTHORITY, node_id, {"network": network, "pairs": ended}, now)
    return ended > 0


def is_straggler(conn: Connection, node_id: str) -> bool:
    """Whether pairs are given up because of the node, in any network."""
    return bool(conn.scalar(_IS_AT_FAULT, {"node": node_id}))


def forget(conn: Connection, network: str, slot: int) -> None:
    """The membership ends."""
    row = schema.evicted_pair
    conn.execute(delete(row).where((row.c.network == network) & ((row.c.source == slot) | (row.c.destination == slot))))
