"""What became of alerts at each destination: how far it came, how many it took, refused and never got.

The same for attestation results at each subscriber: a `Queue` says of which of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, func, insert, select, update

from authority.store import schema

_CAUSE = 300
STUCK_S = 300.0
"""A destination that an alert has waited for longer than this is stuck."""


@dataclass(frozen=True)
class Queue:
    """A table of what is to be sent, in the order of its ids, and the one of who is to get it."""

    items: Table
    receivers: Table


ALERTS = Queue(schema.alert, schema.alert_destination)


def cursor(conn: Connection, name: str, queue: Queue = ALERTS) -> int:
    """The id up to which a destination has got its alerts; a new one begins after what all others have."""
    row = queue.receivers
    known = conn.scalar(select(row.c.cursor).where(row.c.name == name))
    if known is not None:
        return int(known)
    items = queue.items
    sent_everywhere = select(func.max(items.c.id)).where(items.c.delivered_at.is_not(None))
    return conn.scalar(sent_everywhere) or 0


def begin(conn: Connection, name: str, queue: Queue) -> None:
    """Let a receiver that is new begin behind everything that lies there now."""
    if entry(conn, name, queue) is None:
        newest = conn.scalar(select(func.max(queue.items.c.id))) or 0
        conn.execute(insert(queue.receivers).values(name=name, cursor=newest))


def waiting(conn: Connection, name: str, queue: Queue = ALERTS) -> int:
    """How many alerts lie above a destination's cursor."""
    items = queue.items
    above = items.c.id > cursor(conn, name, queue)
    return conn.execute(select(func.count(items.c.id)).where(above)).scalar_one()


def waiting_since(conn: Connection, name: str, queue: Queue = ALERTS) -> float | None:
    """When the oldest alert that waits for a destination was raised; none where none waits."""
    items = queue.items
    above = items.c.id > cursor(conn, name, queue)
    return conn.scalar(select(items.c.at).where(above).order_by(items.c.id).limit(1))


def stuck(conn: Connection, name: str, now: float, queue: Queue = ALERTS) -> bool:
    """Whether alerts have waited for a destination for longer than `STUCK_S`."""
    oldest = waiting_since(conn, name, queue)
    return oldest is not None and oldest <= now - STUCK_S


def count_sent(conn: Connection, name: str, alert_id: int, sent: int, at: float, queue: Queue = ALERTS) -> None:
    """The destination has got everything up to `alert_id` that it wants, of which `sent` just now."""
    values: dict[Any, Any] = {"cursor": alert_id}
    if sent:
        values |= {"sent": queue.receivers.c.sent + sent, "last_sent_at": at}
    _change(conn, name, values, queue)


def count_failure(conn: Connection, name: str, alert_id: int, cause: str, at: float, queue: Queue = ALERTS) -> None:
    """The destination did not take an alert."""
    failed = queue.receivers.c.failed + 1
    _change(conn, name, {"failed": failed, "last_error": cause[:_CAUSE], "last_error_at": at}, queue)
    row = queue.items
    conn.execute(update(row).where(row.c.id == alert_id).values(attempts=row.c.attempts + 1))


def count_again(conn: Connection, name: str, *, sent: int = 0, dropped: int = 0, now: float | None = None) -> None:
    """What an operator had sent again, or let go, of what lies behind a destination's cursor."""
    row = schema.alert_destination
    values: dict[Any, Any] = {"sent": row.c.sent + sent, "dropped": row.c.dropped + dropped}
    _change(conn, name, values | ({"last_sent_at": now} if now is not None else {}), ALERTS)


def give_up(conn: Connection, name: str, backlog: int | None, queue: Queue = ALERTS) -> int:
    """Let go of the oldest alerts above `backlog` that wait, if there is such a bound; how many."""
    excess = 0 if backlog is None else waiting(conn, name, queue) - backlog
    if excess <= 0:
        return 0
    row = queue.items
    above = row.c.id > cursor(conn, name, queue)
    oldest = select(row.c.id).where(above).order_by(row.c.id).offset(excess - 1).limit(1)
    dropped = queue.receivers.c.dropped + excess
    _change(conn, name, {"cursor": conn.execute(oldest).scalar_one(), "dropped": dropped}, queue)
    return excess


def entry(conn: Connection, name: str, queue: Queue = ALERTS) -> Row[Any] | None:
    """The row of a destination, none before its first alert."""
    return conn.execute(select(queue.receivers).where(queue.receivers.c.name == name)).first()


def _change(conn: Connection, name: str, values: dict[Any, Any], queue: Queue) -> None:
    row = queue.receivers
    if entry(conn, name, queue) is None:
        conn.execute(insert(row).values(name=name, cursor=cursor(conn, name, queue)))
    conn.execute(update(row).where(row.c.name == name).values(values))
