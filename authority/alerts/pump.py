"""Moves alerts from the outbox to their destinations, each at its own pace."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row

from authority.alerts import refusals
from authority.alerts.destinations import Destination
from authority.alerts.ledger import ALERTS
from authority.alerts.pumping import AT_ONCE, BATCH, Pump, RunTransaction, all_are_ours
from authority.alerts.rfc5424 import Origin, Record, Severity

__all__ = ["AT_ONCE", "BATCH", "AlertPump", "message"]


class AlertPump(Pump[Destination]):
    """As `Pump`: an alert's key is its id."""

    held = refusals.HELD

    def __init__(
        self,
        run: RunTransaction,
        destinations: Sequence[Destination],
        origin: Origin,
        now: Callable[[], float],
        *,
        pause_s: float,
        ours: Callable[[Connection, str], bool] = all_are_ours,
    ) -> None:
        super().__init__(run, destinations, ALERTS, now, pause_s=pause_s, ours=ours)
        self._origin = origin

    def _message(self, to: Destination, row: Row[Any]) -> tuple[bytes, str] | None:
        return message(to, row, self._origin) if to.wants(Severity(row.severity)) else None

    def _set_aside(self, conn: Connection, to: Destination, item: int, cause: str) -> bool:
        return refusals.note(conn, to.name, item, cause, self._now())

    def _passed_by(self, conn: Connection, to: Destination, last: int) -> None:
        refusals.passed(conn, to.name, last)


def message(to: Destination, row: Row[Any], origin: Origin) -> tuple[bytes, str]:
    """An alert in a destination's form, and its key."""
    return to.write(_record(row), origin), f"alert-{row.id}"


def _record(row: Row[Any]) -> Record:
    data = {"id": row.id, "kind": row.kind}
    if row.node_id is not None:
        data |= {"node": row.node_name or "", "nodeId": row.node_id}
    return Record(row.at, Severity(row.severity), row.kind, row.text, {**data, **json.loads(row.data)})
