"""Results are rows first: written with the decision that they tell of, and kept for `Runtime.results_kept_s`."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from authority import ear
from authority.alerts.ledger import Queue
from authority.runtime import Runtime
from authority.store import schema

QUEUE = Queue(schema.attestation_result, schema.result_subscriber)
_ROW: Table = schema.attestation_result
View = dict[str, Any]


class Cause(StrEnum):
    """Why a result was issued: evidence was appraised, or the node's state or tier changed."""

    VERDICT = "verdict"
    STANDING = "standing"


def publish(conn: Connection, rt: Runtime, node_id: str, cause: Cause, now: float, signed: str = "") -> None:
    """Issue a result about a node as it is now; `signed` is one that was just made.

    Nothing where results are not kept, or this authority has no key for them.
    """
    if rt.results_kept_s <= 0 or rt.ear_key is None:
        return
    text = signed or ear.signed(conn, rt, node_id, now)
    conn.execute(insert(_ROW).values(at=now, node_id=node_id, cause=cause.value, ear=text, attempts=0))


def listing(
    conn: Connection, after: int, limit: int, node_id: str | None = None, since: float | None = None
) -> list[View]:
    """Results with an id above `after`, oldest first; of one node, or issued at `since` (POSIX seconds) or later."""
    node = schema.node
    query = select(_ROW, node.c.name.label("node")).outerjoin(node, node.c.id == _ROW.c.node_id)
    query = query.where(_ROW.c.id > after)
    if node_id is not None:
        query = query.where(_ROW.c.node_id == node_id)
    if since is not None:
        query = query.where(_ROW.c.at >= since)
    names = ("id", "at", "node_id", "cause", "ear")
    rows = conn.execute(query.order_by(_ROW.c.id).limit(limit))
    return [{**{name: getattr(row, name) for name in names}, "node": row.node or ""} for row in rows]


def forget(conn: Connection, rt: Runtime, now: float) -> int:
    """Let go of results that are older than they are kept, and count them where they were not sent yet; how many."""
    old = _ROW.c.at < now - rt.results_kept_s
    if conn.scalar(select(_ROW.c.id).where(old).limit(1)) is None:
        return 0
    receiver = schema.result_subscriber
    for each in conn.execute(select(receiver)).all():
        unsent = select(func.count()).select_from(_ROW).where(old & (_ROW.c.id > each.cursor))
        lost = receiver.c.dropped + (conn.scalar(unsent) or 0)
        conn.execute(update(receiver).where(receiver.c.name == each.name).values(dropped=lost))
    return conn.execute(delete(_ROW).where(old)).rowcount
