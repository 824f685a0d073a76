"""Alerts that a destination refuses for what they are: tried for a while, then set aside, so that the others flow.

A destination that is away, or takes nothing, sets nothing aside: only a refusal of the message counts. What was set
aside is kept until an operator has it sent again, or lets it go.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from authority import audit
from authority.alerts import ledger
from authority.alerts.outbox import raise_alert
from authority.alerts.rfc5424 import Severity
from authority.refusal import Refused
from authority.store import schema
from authority.store.schema_record import refused_alert as _row
from protocol.problems import ErrorCode

View = dict[str, Any]
TRIES, WITHIN_S = 5, 300.0
"""An alert is set aside that was refused so often, and for so long."""
SET_ASIDE = "alert-set-aside"
_CAUSE = 300
_ASIDE = _row.c.set_aside_at.is_not(None)
HELD = select(_row.c.alert_id).where(_ASIDE)
"""Alerts that not every destination has, however far all have come."""


def note(conn: Connection, destination: str, alert_id: int, cause: str, now: float) -> bool:
    """Count that a destination refused an alert for what it is; whether it is set aside with that."""
    mine = (_row.c.destination == destination) & (_row.c.alert_id == alert_id)
    known = conn.execute(select(_row).where(mine)).first()
    if known is None:
        values = {"destination": destination, "alert_id": alert_id, "since": now, "tries": 1}
        conn.execute(insert(_row).values(**values, cause=cause[:_CAUSE], last_at=now))
        return False
    aside = bool(known.tries + 1 >= TRIES and now - known.since >= WITHIN_S)
    changed = {"tries": known.tries + 1, "cause": cause[:_CAUSE], "last_at": now}
    conn.execute(update(_row).where(mine).values(**changed, set_aside_at=now if aside else None))
    if aside:
        _tell(conn, destination, alert_id, cause, known.tries + 1, now)
    return aside


def passed(conn: Connection, destination: str, up_to: int) -> None:
    """Forget what the destination took in the end, or does not want any more, of what it had refused."""
    mine = (_row.c.destination == destination) & (_row.c.alert_id <= up_to)
    conn.execute(delete(_row).where(mine & _row.c.set_aside_at.is_(None)))


def set_aside(conn: Connection, destination: str) -> int:
    """How many alerts are set aside at a destination."""
    aside = _ASIDE & (_row.c.destination == destination)
    return conn.execute(select(func.count()).select_from(_row).where(aside)).scalar_one()


def listing(conn: Connection, after: int = 0, limit: int | None = None) -> list[View]:
    """Refused alerts behind the row `after`, oldest refusal first: those set aside, and those that are still tried."""
    alert = schema.alert
    told = (alert.c.kind, alert.c.severity, alert.c.text, alert.c.at.label("raised_at"))
    query = select(_row, *told).join(alert, alert.c.id == _row.c.alert_id)
    rows = conn.execute(query.where(_row.c.id > after).order_by(_row.c.id).limit(limit)).mappings()
    return [dict(row) for row in rows]


def find(conn: Connection, destination: str, alert_id: int) -> Row[Any]:
    """The alert that is set aside there, as a row of `alert` with its node's name; raises `Refused`."""
    alert, node = schema.alert, schema.node
    query = select(alert, node.c.name.label("node_name")).outerjoin(node, node.c.id == alert.c.node_id)
    mine = _ASIDE & (_row.c.destination == destination) & (_row.c.alert_id == alert_id)
    found = conn.execute(query.join(_row, _row.c.alert_id == alert.c.id).where(mine)).first()
    if found is None:
        detail = f"alert {alert_id} is not set aside at {destination[:80]!r}"
        raise Refused(ErrorCode.NOT_FOUND, 404, detail, "See `alert stuck`.")
    return found


def taken(conn: Connection, destination: str, alert_id: int, operator: str, reason: str, now: float) -> None:
    """Note that an alert that was set aside was sent again by order, and taken. Raises `Refused`."""
    _end(conn, "alert-sent-again", destination, alert_id, operator, reason, now)
    ledger.count_again(conn, destination, sent=1, now=now)
    there = (schema.alert.c.id == alert_id) & schema.alert.c.delivered_at.is_(None)
    conn.execute(update(schema.alert).where(there & schema.alert.c.id.not_in(HELD)).values(delivered_at=now))


def discard(conn: Connection, destination: str, alert_id: int, operator: str, reason: str, now: float) -> None:
    """Let an alert that was set aside go; it stays in the list of alerts. Raises `Refused`."""
    _end(conn, "alert-discarded", destination, alert_id, operator, reason, now)
    ledger.count_again(conn, destination, dropped=1)


def _end(conn: Connection, kind: str, destination: str, alert_id: int, operator: str, reason: str, now: float) -> None:
    find(conn, destination, alert_id)
    conn.execute(delete(_row).where((_row.c.destination == destination) & (_row.c.alert_id == alert_id)))
    audit.append(conn, kind, operator, None, {"destination": destination, "alert": alert_id, "reason": reason}, now)


def _tell(conn: Connection, destination: str, alert_id: int, cause: str, tries: int, now: float) -> None:
    """Audited, and an alert of its own, unless the one set aside is of that kind: there would be no end."""
    detail = {"destination": destination, "alert": alert_id, "cause": cause[:_CAUSE], "tries": tries}
    audit.append(conn, SET_ASIDE, "authority", None, detail, now)
    if conn.scalar(select(schema.alert.c.kind).where(schema.alert.c.id == alert_id)) == SET_ASIDE:
        return
    text = f"alert {alert_id} is set aside at {destination}, which refuses it: see `alert stuck`"
    raise_alert(conn, Severity.WARNING, SET_ASIDE, None, text, {"destination": destination, "alert": alert_id}, now)
