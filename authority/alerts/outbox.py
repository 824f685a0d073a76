"""Alerts are rows first: they are written with the decision and leave through the pump."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from authority import audit
from authority.alerts.rfc5424 import Severity
from authority.store import schema

QUIET_S = 60.0
_REPEATABLE = {
    "evidence-refused",
    "attestation-failed",
    "re-registration-refused",
    "delivery-failed",
    "authority-fault",
    "break-glass-refused",
}


def raise_alert(
    conn: Connection,
    severity: Severity | str,
    kind: str,
    node_id: str | None,
    text: str,
    data: Mapping[str, Any],
    now: float,
) -> None:
    """Queue one alert in this transaction; `kind` has up to 32 characters, `data` is JSON and carries no secret.

    Kinds that whoever knocks can cause as often as they like are told once in `QUIET_S`: the same again of the same
    node is counted in the first one's row.
    """
    severity, told = Severity(severity).value, json.dumps(data, sort_keys=True)
    if kind in _REPEATABLE and _repeated(conn, kind, node_id, severity, now):
        return
    values = {"at": now, "severity": severity, "kind": kind, "node_id": node_id, "text": text}
    conn.execute(insert(schema.alert).values(**values, data=told, attempts=0))


def _repeated(conn: Connection, kind: str, node_id: str | None, severity: str, now: float) -> bool:
    row = schema.alert
    same = (row.c.kind == kind) & (row.c.node_id == node_id) & (row.c.severity == severity)
    recent = same & (row.c.at > now - QUIET_S) & (row.c.at <= now) & row.c.acknowledged_at.is_(None)
    found = conn.scalar(select(func.max(row.c.id)).where(recent))
    if found is None:
        return False
    conn.execute(update(row).where(row.c.id == found).values(repeats=row.c.repeats + 1, last_at=now))
    return True


def acknowledge(conn: Connection, alert_id: int, operator: str, reason: str, now: float) -> bool:
    """Note who looked at an alert, when, and what they found; false where there is none, or somebody did before."""
    row = schema.alert
    fresh = (row.c.id == alert_id) & row.c.acknowledged_at.is_(None)
    values = {"acknowledged_at": now, "acknowledged_by": operator, "acknowledgement": reason}
    done = conn.execute(update(row).where(fresh).values(**values)).rowcount == 1
    if done:
        audit.append(conn, "alert-acknowledged", operator, None, {"alert": alert_id, "reason": reason}, now)
    return done
