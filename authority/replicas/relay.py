"""What one replica has to tell a node that is connected to another goes by the database.

Every push is a row; each replica reads on from where it stood, and offers what is new to the nodes that it has. A
notification makes it look sooner. A push is a hint of the state that the database has: where one may have been missed
(a replica ended, or this one was cut off) every connected node is told its state anew, as when it connects.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection as Transaction
from sqlalchemy import delete, func, insert, select

from authority.planes.hub import CloseCode, Connection, Hub
from authority.replicas.duties import database_clock, report_alive
from authority.runtime import Push
from authority.store import Store, StoreUnavailable, schema
from protocol.codec import decode_event, encode
from protocol.messages import Event

CHANNEL = "keyvigil"
POLL_S = 0.5
KEEP_S = 60.0
"""For how long a push is kept; a replica that did not look for half of that tells its nodes everything."""
BATCH = 1000
MOST_UNSENT = 10_000
_CONNECTED = ""
_PUSH = schema.push
_log = logging.getLogger(__name__)
Told = Callable[[Transaction, str], list[Event]]
"""What a node is told when it connects."""
OnLoss = Callable[[Transaction], None]
"""Called in a transaction when a replica was found to be gone."""


@dataclass(frozen=True)
class _News:
    """What a look at the table found: who is alive, up to where it read, and the rows."""

    alive: frozenset[str]
    clock: float
    cursor: int
    rows: list[tuple[str, str]]


class RelayedHub(Hub):
    """A hub that tells the nodes of other replicas too. Used on the event loop's thread only."""

    def __init__(self, store: Store, replica_id: str, name: str, told: Told, on_loss: OnLoss) -> None:
        super().__init__()
        self._store, self._id, self._name, self._told, self._on_loss = store, replica_id, name, told, on_loss
        self._cursor: int | None = None
        self._alive: frozenset[str] = frozenset()
        self._looked_at = 0.0
        self._unsent: list[tuple[str, str]] = []
        self._missed = False
        self._hint = asyncio.Event()
        self._announcing: set[asyncio.Task[None]] = set()

    async def push(self, pushes: Iterable[Push]) -> None:
        """As `Hub.push`, for every replica's nodes."""
        given = [*pushes]
        await super().push(given)
        await self._publish([(node_id, encode(event).decode()) for node_id, event in given])

    @contextlib.contextmanager
    def attached(self, connection: Connection) -> Iterator[None]:
        """As `Hub.attached`; an earlier connection of the node to another replica ends as well."""
        with super().attached(connection):
            task = asyncio.get_running_loop().create_task(self._publish([(connection.node_id, _CONNECTED)]))
            self._announcing.add(task)
            task.add_done_callback(self._announcing.discard)
            yield

    def hint(self) -> None:
        """Have `follow` look now rather than later."""
        self._hint.set()

    async def follow(self) -> None:
        """Take part in what the others tell, until cancelled."""
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                self._missed = True
                _log.error("the store is unavailable", extra={"cause": str(error)})
            except Exception:  # noqa: BLE001 - whatever ails a look must not end the looking
                self._missed = True
                _log.exception("what other replicas have to tell cannot be read")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._hint.wait()
            self._hint.clear()

    async def look(self) -> None:
        """Read what is new, once, and pass it on."""
        await self._publish([])
        news = await self._store.arun(partial(self._read))
        gone = self._alive - news.alive
        if gone:
            await self._store.arun(self._on_loss)
        late = self._cursor is not None and news.clock - self._looked_at > KEEP_S / 2
        for node_id, event in news.rows:
            await self._pass_on(node_id, event)
        self._cursor, self._alive, self._looked_at = news.cursor, news.alive, news.clock
        if gone or late or self._missed:
            self._missed = False
            await self._tell_all()

    async def _publish(self, rows: list[tuple[str, str]]) -> None:
        self._unsent += rows
        if not self._unsent:
            return
        sending, self._unsent = self._unsent, []
        try:
            await self._store.arun(partial(_write, origin=self._id, rows=sending))
        except StoreUnavailable as error:
            self._unsent = [*sending, *self._unsent][-MOST_UNSENT:]
            _log.error("nodes of other replicas are told later", extra={"cause": str(error)})

    def _read(self, conn: Transaction) -> _News:
        alive, clock = report_alive(conn, self._id, self._name), database_clock(conn)
        newest = conn.scalar(select(func.max(_PUSH.c.id))) or 0
        cursor = newest if self._cursor is None else min(self._cursor, newest)
        query = select(_PUSH).where(_PUSH.c.id > cursor).order_by(_PUSH.c.id).limit(BATCH)
        found = conn.execute(query).all()
        rows = [(row.node_id, row.event) for row in found if row.origin != self._id]
        return _News(alive, clock, found[-1].id if found else cursor, rows)

    async def _pass_on(self, node_id: str, event: str) -> None:
        if event == _CONNECTED:
            self._drop(node_id, CloseCode.REPLACED)
        elif node_id in self._connections:
            await super().push([(node_id, decode_event(event.encode(), Event))])

    async def _tell_all(self) -> None:
        for node_id in self.connected():
            events = await self._store.arun(partial(self._state_of, node_id))
            await super().push([(node_id, event) for event in events])

    def _state_of(self, node_id: str, conn: Transaction) -> list[Event]:
        return self._told(conn, node_id)


def forget_old(conn: Transaction) -> None:
    """Remove pushes that everybody had time to read."""
    conn.execute(delete(_PUSH).where(_PUSH.c.at < database_clock(conn) - KEEP_S))


def _write(conn: Transaction, origin: str, rows: list[tuple[str, str]]) -> None:
    at = database_clock(conn)
    conn.execute(insert(_PUSH), [{"origin": origin, "node_id": node, "event": event, "at": at} for node, event in rows])
    conn.execute(select(func.pg_notify(CHANNEL, "")))
