"""Moves alerts from the outbox to the sinks, each sink at its own pace."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Row, func, insert, select, update

from authority.alerts.rfc5424 import Origin, Record, Severity, format_record
from authority.alerts.sinks import AlertSink, SinkError
from authority.store import StoreUnavailable, schema

T = TypeVar("T")
BATCH = 100
LONGEST_PAUSE_S = 60.0
_CURSOR = "alert-cursor/"
_log = logging.getLogger(__name__)


class RunTransaction(Protocol):
    """Runs a function in one transaction (`Store.run`)."""

    def __call__(self, action: Callable[[Connection], T], /) -> T:
        """What `action` gives."""


class AlertPump:
    """One thread per sink reads the outbox, sends, and remembers how far it came; a slow sink delays nobody.

    A record is sent once to each sink, and again only when the process ended between sending and remembering.
    """

    def __init__(
        self,
        run: RunTransaction,
        sinks: Sequence[AlertSink],
        origin: Origin,
        now: Callable[[], float],
        *,
        pause_s: float,
    ) -> None:
        self._run, self._sinks, self._origin, self._now = run, tuple(sinks), origin, now
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to pump in the background."""
        for sink in self._sinks:
            thread = threading.Thread(target=self._work, args=(sink,), name=f"alerts {sink.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Send what can be sent at once, then end the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def pump(self, sink: AlertSink) -> int:
        """Send what `sink` has not got yet; gives the number sent, raises `SinkError` when it refuses one."""
        sent = 0
        for row in self._run(lambda conn: _waiting(conn, sink.name)):
            try:
                sink.send(format_record(_record(row), self._origin))
            except SinkError:
                self._run(lambda conn, failed=row.id: _count_attempt(conn, failed))  # type: ignore[misc]
                raise
            self._run(lambda conn, done=row.id: self._remember(conn, sink.name, done))  # type: ignore[misc]
            sent += 1
        return sent

    def _remember(self, conn: Connection, name: str, alert_id: int) -> None:
        _set_cursor(conn, name, alert_id)
        everywhere = min(_cursor(conn, sink.name) for sink in self._sinks)
        waiting = schema.alert.c.delivered_at.is_(None) & (schema.alert.c.id <= everywhere)
        conn.execute(update(schema.alert).where(waiting).values(delivered_at=self._now()))

    def _work(self, sink: AlertSink) -> None:
        pause_s = self._pause_s
        while True:
            stopping = self._stop.wait(pause_s)
            pause_s = self._attempt(sink, pause_s)
            if stopping:
                sink.close()
                return

    def _attempt(self, sink: AlertSink, pause_s: float) -> float:
        """Pump once; gives the pause until the next try, which doubles while the sink refuses."""
        try:
            self.pump(sink)
        except SinkError as error:
            if pause_s == self._pause_s:
                _log.warning("alert sink unavailable", extra={"sink": sink.name, "cause": str(error)})
            return min(2 * pause_s, LONGEST_PAUSE_S)
        except StoreUnavailable as error:
            _log.error("alerts cannot be read", extra={"sink": sink.name, "cause": str(error)})
            return min(2 * pause_s, LONGEST_PAUSE_S)
        except Exception:  # noqa: BLE001 - whatever ails the store must not end the pump
            _log.exception("alerts cannot be read", extra={"sink": sink.name})
            return min(2 * pause_s, LONGEST_PAUSE_S)
        return self._pause_s


def _waiting(conn: Connection, sink: str) -> Sequence[Row[Any]]:
    query = select(schema.alert, schema.node.c.name.label("node_name")).outerjoin(
        schema.node, schema.node.c.id == schema.alert.c.node_id
    )
    rows = query.where(schema.alert.c.id > _cursor(conn, sink)).order_by(schema.alert.c.id).limit(BATCH)
    return conn.execute(rows).all()


def _record(row: Row[Any]) -> Record:
    data = {"id": row.id, "kind": row.kind}
    if row.node_id is not None:
        data |= {"node": row.node_name or "", "nodeId": row.node_id}
    return Record(row.at, Severity(row.severity), row.kind, row.text, {**data, **json.loads(row.data)})


def _cursor(conn: Connection, sink: str) -> int:
    value = conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == _CURSOR + sink))
    if value is not None:
        return int(value)
    sent_everywhere = select(func.max(schema.alert.c.id)).where(schema.alert.c.delivered_at.is_not(None))
    return conn.scalar(sent_everywhere) or 0


def _set_cursor(conn: Connection, sink: str, alert_id: int) -> None:
    changed = conn.execute(update(schema.meta).where(schema.meta.c.key == _CURSOR + sink).values(value=str(alert_id)))
    if changed.rowcount == 0:
        conn.execute(insert(schema.meta).values(key=_CURSOR + sink, value=str(alert_id)))


def _count_attempt(conn: Connection, alert_id: int) -> None:
    row = schema.alert
    conn.execute(update(row).where(row.c.id == alert_id).values(attempts=row.c.attempts + 1))
