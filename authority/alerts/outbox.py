"""Alerts are rows first: they are written with the decision and leave through the pump."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert

from authority.alerts.rfc5424 import Severity
from authority.store import schema


def raise_alert(
    conn: Connection,
    severity: Severity | str,
    kind: str,
    node_id: str | None,
    text: str,
    data: Mapping[str, Any],
    now: float,
) -> None:
    """Queue one alert in this transaction; `kind` has up to 32 characters, `data` is JSON and carries no secret."""
    values = {"at": now, "severity": Severity(severity).value, "kind": kind, "node_id": node_id, "text": text}
    conn.execute(insert(schema.alert).values(**values, data=json.dumps(data, sort_keys=True), attempts=0))
