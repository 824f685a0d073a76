"""Moves alerts from the outbox to their destinations, each at its own pace."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Row, select, update

from authority.alerts import ledger
from authority.alerts.destinations import Destination
from authority.alerts.rfc5424 import Origin, Record, Severity
from authority.alerts.sinks import SinkError
from authority.store import StoreUnavailable, schema

T = TypeVar("T")
BATCH = 100
LONGEST_PAUSE_S = 60.0
_log = logging.getLogger(__name__)


def _all_are_ours(_conn: Connection, _name: str) -> bool:
    return True


class RunTransaction(Protocol):
    """Runs a function in one transaction (`Store.run`)."""

    def __call__(self, action: Callable[[Connection], T], /) -> T:
        """What `action` gives."""


class AlertPump:
    """One thread per destination reads the outbox, sends, and remembers how far it came; a slow one delays nobody.

    An alert is sent once to each, and again only when the process ended between sending and remembering: under the same
    key, its id. `ours` tells, in a transaction, whether a destination is this process's to send to, of several that
    share the outbox.
    """

    def __init__(
        self,
        run: RunTransaction,
        destinations: Sequence[Destination],
        origin: Origin,
        now: Callable[[], float],
        *,
        pause_s: float,
        ours: Callable[[Connection, str], bool] = _all_are_ours,
    ) -> None:
        self._run, self._destinations, self._origin, self._now = run, tuple(destinations), origin, now
        self._pause_s = pause_s
        self._ours = ours
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to pump in the background."""
        for each in self._destinations:
            thread = threading.Thread(target=self._work, args=(each,), name=f"alerts {each.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Send what can be sent at once, then end the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def pump(self, to: Destination) -> int:
        """Send what `to` has not got yet; gives the number sent, raises `SinkError` when it refuses one.

        Nothing where the destination is another replica's duty, or becomes that meanwhile.
        """
        sent, more = 0, True
        while more:
            rows = self._run(lambda conn: self._begin(conn, to))
            more = len(rows) == BATCH and not self._stop.is_set()
            for row in rows:
                wanted = to.wants(Severity(row.severity))
                if wanted:
                    self._send(to, row)
                sent += wanted
                if not self._run(partial(self._remember, to=to, alert_id=row.id, sent=wanted)):
                    return sent
        return sent

    def _begin(self, conn: Connection, to: Destination) -> Sequence[Row[Any]]:
        if not self._ours(conn, to.name):
            return []
        ledger.give_up(conn, to.name, to.backlog)
        return _waiting(conn, to.name)

    def _send(self, to: Destination, row: Row[Any]) -> None:
        try:
            to.sink.send(to.write(_record(row), self._origin), f"alert-{row.id}")
        except SinkError as error:
            cause = str(error)
            self._run(lambda conn: ledger.count_failure(conn, to.name, row.id, cause, self._now()))
            raise

    def _remember(self, conn: Connection, to: Destination, alert_id: int, sent: bool) -> bool:
        """Whether the destination is still ours; what another replica noted since is not undone."""
        if not self._ours(conn, to.name):
            return False
        ledger.count_sent(conn, to.name, alert_id, self._now() if sent else None)
        everywhere = min(ledger.cursor(conn, each.name) for each in self._destinations)
        waiting = schema.alert.c.delivered_at.is_(None) & (schema.alert.c.id <= everywhere)
        conn.execute(update(schema.alert).where(waiting).values(delivered_at=self._now()))
        return True

    def _work(self, to: Destination) -> None:
        pause_s = self._pause_s
        while True:
            stopping = self._stop.wait(pause_s)
            pause_s = self._attempt(to, pause_s)
            if stopping:
                to.sink.close()
                return

    def _attempt(self, to: Destination, pause_s: float) -> float:
        """Pump once; gives the pause until the next try, which doubles while the sink refuses."""
        try:
            self.pump(to)
        except SinkError as error:
            if pause_s == self._pause_s:
                _log.warning("alert sink unavailable", extra={"sink": to.name, "cause": str(error)})
            return min(2 * pause_s, LONGEST_PAUSE_S)
        except StoreUnavailable as error:
            _log.error("alerts cannot be read", extra={"sink": to.name, "cause": str(error)})
            return min(2 * pause_s, LONGEST_PAUSE_S)
        except Exception:  # noqa: BLE001 - whatever ails the store must not end the pump
            _log.exception("alerts cannot be read", extra={"sink": to.name})
            return min(2 * pause_s, LONGEST_PAUSE_S)
        return self._pause_s


def _waiting(conn: Connection, name: str) -> Sequence[Row[Any]]:
    query = select(schema.alert, schema.node.c.name.label("node_name")).outerjoin(
        schema.node, schema.node.c.id == schema.alert.c.node_id
    )
    rows = query.where(schema.alert.c.id > ledger.cursor(conn, name)).order_by(schema.alert.c.id).limit(BATCH)
    return conn.execute(rows).all()


def _record(row: Row[Any]) -> Record:
    data = {"id": row.id, "kind": row.kind}
    if row.node_id is not None:
        data |= {"node": row.node_name or "", "nodeId": row.node_id}
    return Record(row.at, Severity(row.severity), row.kind, row.text, {**data, **json.loads(row.data)})
