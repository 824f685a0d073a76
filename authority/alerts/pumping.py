"""Moves what lies in a queue to its receivers, each at its own pace: alerts to destinations, results to subscribers."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Row, Select, select, update

from authority.alerts import ledger
from authority.alerts.ledger import Queue
from authority.alerts.sinks import AlertSink, MessageRefused, SinkError
from authority.store import StoreUnavailable, schema

T = TypeVar("T")
BATCH = 100
AT_ONCE = 20
WITHIN_S = 0.2
"""How many messages are sent before that is remembered, and within what time: so many may come twice after a crash."""
LONGEST_PAUSE_S = 60.0
_log = logging.getLogger(__name__)


def all_are_ours(_conn: Connection, _name: str) -> bool:
    """Of a process that serves alone."""
    return True


@dataclass
class _Offered:
    """Messages that a receiver was sent or did not want, up to the id `last`, and what became of the next one."""

    passed: int = 0
    sent: int = 0
    last: int = 0
    refused: int = 0
    refusal: Exception | None = None


class RunTransaction(Protocol):
    """Runs a function in one transaction (`Store.run`)."""

    def __call__(self, action: Callable[[Connection], T], /) -> T:
        """What `action` gives."""


class Receiver(Protocol):
    """Who is sent what lies in a queue. `backlog` is none where nothing is ever given up."""

    @property
    def name(self) -> str:
        """Name among the others; how far it came is remembered under it."""

    @property
    def sink(self) -> AlertSink:
        """What takes one message at a time."""

    @property
    def backlog(self) -> int | None:
        """How many may wait."""


To = TypeVar("To", bound=Receiver)


class Pump(ABC, Generic[To]):
    """One thread per receiver reads the queue, sends, and remembers how far it came; a slow one delays nobody.

    A message is sent once to each, and again only when the process ended between sending and remembering, which is done
    for a few at a time: under the same key. `ours` tells, in a transaction, whether a receiver is this process's to
    send to, of several that share the queue. `held` selects ids that some receiver lacks however far it has come.
    """

    held: Select[Any] | None = None

    def __init__(
        self,
        run: RunTransaction,
        receivers: Sequence[To],
        queue: Queue,
        now: Callable[[], float],
        *,
        pause_s: float,
        ours: Callable[[Connection, str], bool] = all_are_ours,
    ) -> None:
        self._run, self._destinations, self._queue, self._now = run, tuple(receivers), queue, now
        self._pause_s = pause_s
        self._ours = ours
        self._passed = Counter[str]()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def _set_aside(self, _conn: Connection, _to: To, _item: int, _cause: str) -> bool:
        """Whether a message that was refused for what it is is not tried again; none is where nobody says so."""
        return False

    def _passed_by(self, _conn: Connection, _to: To, _last: int) -> None:
        """Called when a receiver has come to `_last`."""

    @abstractmethod
    def _message(self, to: To, row: Row[Any]) -> tuple[bytes, str] | None:
        """What is sent for a row, and the key that it has at every try; none where `to` does not want it."""

    def start(self) -> None:
        """Begin to pump in the background."""
        for each in self._destinations:
            name = f"{self._queue.items.name} {each.name}"
            thread = threading.Thread(target=self._work, args=(each,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Send what can be sent at once, then end the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def pump(self, to: To) -> int:
        """Send what `to` has not got yet; gives the number sent.

        Raises `SinkError` when it refuses one, and whatever else keeps one from being sent. Nothing is sent where the
        receiver is another replica's duty, or becomes that meanwhile.
        """
        sent, more = 0, True
        while more:
            rows = self._run(lambda conn: self._begin(conn, to))
            more = len(rows) == BATCH and not self._stop.is_set()
            while rows:
                offered = self._offer(to, rows)
                if not self._run(partial(self._remember, to=to, offered=offered)):
                    return sent
                sent += offered.sent
                self._passed[to.name] += offered.passed
                if offered.refusal is not None:
                    raise offered.refusal
                rows = rows[offered.passed :]
        return sent

    def _begin(self, conn: Connection, to: To) -> Sequence[Row[Any]]:
        if not self._ours(conn, to.name):
            return []
        ledger.give_up(conn, to.name, to.backlog, self._queue)
        return self._waiting(conn, to.name)

    def _waiting(self, conn: Connection, name: str) -> Sequence[Row[Any]]:
        item, node = self._queue.items, schema.node
        query = select(item, node.c.name.label("node_name")).outerjoin(node, node.c.id == item.c.node_id)
        above = item.c.id > ledger.cursor(conn, name, self._queue)
        return conn.execute(query.where(above).order_by(item.c.id).limit(BATCH)).all()

    def _offer(self, to: To, rows: Sequence[Row[Any]]) -> _Offered:
        """Send the first of `rows`, as many as are then remembered at once."""
        offered, begun = _Offered(), self._now()
        for row in rows[:AT_ONCE]:
            if not 0 <= self._now() - begun < WITHIN_S:
                break
            try:
                if (message := self._written(to, row)) is not None:
                    to.sink.send(*message)
                    offered.sent += 1
            except Exception as error:  # noqa: BLE001 - what went before is remembered whatever ails this one
                offered.refusal, offered.refused = error, row.id
                break
            offered.passed += 1
            offered.last = row.id
        return offered

    def _written(self, to: To, row: Row[Any]) -> tuple[bytes, str] | None:
        try:
            return self._message(to, row)
        except Exception as error:
            _log.exception("a message cannot be written", extra={"sink": to.name, "item": row.id})
            raise MessageRefused(f"it cannot be written: {type(error).__name__}") from error

    def _remember(self, conn: Connection, to: To, offered: _Offered) -> bool:
        """Whether the receiver is still ours; what another replica noted since is not undone."""
        if not self._ours(conn, to.name):
            return False
        if offered.passed:
            ledger.count_sent(conn, to.name, offered.last, offered.sent, self._now(), self._queue)
            self._passed_by(conn, to, offered.last)
            everywhere = min(ledger.cursor(conn, each.name, self._queue) for each in self._destinations)
            row = self._queue.items
            waiting = row.c.delivered_at.is_(None) & (row.c.id <= everywhere)
            if self.held is not None:
                waiting &= row.c.id.not_in(self.held)
            conn.execute(update(row).where(waiting).values(delivered_at=self._now()))
        if offered.refusal is not None:
            cause = str(offered.refusal) if isinstance(offered.refusal, SinkError) else type(offered.refusal).__name__
            ledger.count_failure(conn, to.name, offered.refused, cause, self._now(), self._queue)
            self._go_by(conn, to, offered, cause)
        return True

    def _go_by(self, conn: Connection, to: To, offered: _Offered, cause: str) -> None:
        """Leave a message behind that is set aside: what comes after it goes on at once."""
        refused = isinstance(offered.refusal, MessageRefused)
        if refused and self._set_aside(conn, to, offered.refused, cause):
            ledger.count_sent(conn, to.name, offered.refused, 0, self._now(), self._queue)
            offered.passed, offered.refusal = offered.passed + 1, None

    def _work(self, to: To) -> None:
        pause_s = self._pause_s
        while True:
            stopping = self._stop.wait(pause_s)
            pause_s = self._attempt(to, pause_s)
            if stopping:
                to.sink.close()
                return

    def _attempt(self, to: To, pause_s: float) -> float:
        """Pump once; gives the pause until the next try, which doubles while the sink takes nothing."""
        passed = self._passed[to.name]
        try:
            self.pump(to)
        except SinkError as error:
            if pause_s == self._pause_s:
                _log.warning("a receiver is unavailable", extra={"sink": to.name, "cause": str(error)})
            took_some = self._passed[to.name] > passed
            return min(2 * (self._pause_s if took_some else pause_s), LONGEST_PAUSE_S)
        except StoreUnavailable as error:
            _log.error("a queue cannot be read", extra={"sink": to.name, "cause": str(error)})
            return min(2 * pause_s, LONGEST_PAUSE_S)
        except Exception:  # noqa: BLE001 - whatever ails the store must not end the pump
            _log.exception("a queue cannot be read", extra={"sink": to.name})
            return min(2 * pause_s, LONGEST_PAUSE_S)
        return self._pause_s
