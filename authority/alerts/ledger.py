"""What became of alerts at each destination: how far it came, how many it took, refused and never got."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from authority.store import schema

_ROW = schema.alert_destination
_CAUSE = 300
STUCK_S = 300.0
"""A destination that an alert has waited for longer than this is stuck."""


def cursor(conn: Connection, name: str) -> int:
    """The id up to which a destination has got its alerts; a new one begins after what all others have."""
    known = conn.scalar(select(_ROW.c.cursor).where(_ROW.c.name == name))
    if known is not None:
        return int(known)
    sent_everywhere = select(func.max(schema.alert.c.id)).where(schema.alert.c.delivered_at.is_not(None))
    return conn.scalar(sent_everywhere) or 0


def waiting(conn: Connection, name: str) -> int:
    """How many alerts lie above a destination's cursor."""
    above = schema.alert.c.id > cursor(conn, name)
    return conn.execute(select(func.count(schema.alert.c.id)).where(above)).scalar_one()


def waiting_since(conn: Connection, name: str) -> float | None:
    """When the oldest alert that waits for a destination was raised; none where none waits."""
    above = schema.alert.c.id > cursor(conn, name)
    return conn.scalar(select(schema.alert.c.at).where(above).order_by(schema.alert.c.id).limit(1))


def stuck(conn: Connection, name: str, now: float) -> bool:
    """Whether alerts have waited for a destination for longer than `STUCK_S`."""
    oldest = waiting_since(conn, name)
    return oldest is not None and oldest <= now - STUCK_S


def count_sent(conn: Connection, name: str, alert_id: int, sent: int, at: float) -> None:
    """The destination has got everything up to `alert_id` that it wants, of which `sent` just now."""
    values: dict[Any, Any] = {"cursor": alert_id}
    if sent:
        values |= {"sent": _ROW.c.sent + sent, "last_sent_at": at}
    _change(conn, name, values)


def count_failure(conn: Connection, name: str, alert_id: int, cause: str, at: float) -> None:
    """The destination did not take an alert."""
    _change(conn, name, {"failed": _ROW.c.failed + 1, "last_error": cause[:_CAUSE], "last_error_at": at})
    row = schema.alert
    conn.execute(update(row).where(row.c.id == alert_id).values(attempts=row.c.attempts + 1))


def give_up(conn: Connection, name: str, backlog: int | None) -> int:
    """Let go of the oldest alerts above `backlog` that wait, if there is such a bound; how many."""
    excess = 0 if backlog is None else waiting(conn, name) - backlog
    if excess <= 0:
        return 0
    row = schema.alert
    oldest = select(row.c.id).where(row.c.id > cursor(conn, name)).order_by(row.c.id).offset(excess - 1).limit(1)
    _change(conn, name, {"cursor": conn.execute(oldest).scalar_one(), "dropped": _ROW.c.dropped + excess})
    return excess


def entry(conn: Connection, name: str) -> Row[Any] | None:
    """The row of a destination, none before its first alert."""
    return conn.execute(select(_ROW).where(_ROW.c.name == name)).first()


def _change(conn: Connection, name: str, values: dict[Any, Any]) -> None:
    if entry(conn, name) is None:
        conn.execute(insert(_ROW).values(name=name, cursor=cursor(conn, name)))
    conn.execute(update(_ROW).where(_ROW.c.name == name).values(values))
