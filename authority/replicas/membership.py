"""One serving process as a member of those that serve a database: alone on a file, among others on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, insert, select

from authority import challenges, policies, scheduler
from authority.config import ConfigError
from authority.keys.kek import write_new
from authority.planes.hub import Hub
from authority.replicas.duties import ALERTS, BEAT, RESULTS, Duties, SharedDuties, SoleDuties, others
from authority.replicas.following import Following
from authority.replicas.relay import CHANNEL, RelayedHub, forget_old
from authority.runtime import Runtime
from authority.store import Store, postgresql, schema
from protocol.messages import Event

_SHREDS = "shred_folder"
_MARK = "folder.id"


class Membership:
    """Made once per process, with the runtime as the process's own files have it."""

    def __init__(self, store: Store, rt: Runtime, url: str, password: str | None) -> None:
        self._store, self._rt, self._url, self._password = store, rt, url, password
        self._own_policy = rt.policy
        self.id = rt.random(16).hex()
        self._shared = SharedDuties(self.id) if store.shared else None
        self._following = Following(rt) if store.shared else None
        if self._following is not None:
            store.before = self._following

    @property
    def duties(self) -> Duties:
        """What this process may do, asked in the transaction that does it."""
        return self._shared or SoleDuties()

    def has_beat(self, conn: Connection) -> bool:
        """Whether the scheduler's beat is this process's in this transaction."""
        return self.duties.hold(conn, BEAT, self._rt.now())

    def has_alerts(self, conn: Connection, destination: str) -> bool:
        """Whether alerts to this destination are this process's to send."""
        return self.duties.hold(conn, ALERTS + destination, self._rt.now())

    def has_results(self, conn: Connection, subscriber: str) -> bool:
        """Whether attestation results to this subscriber are this process's to send."""
        return self.duties.hold(conn, RESULTS + subscriber, self._rt.now())

    def others(self, conn: Connection) -> list[str]:
        """Names of the other replicas that serve now."""
        return others(conn, self.id) if self._shared else []

    def begin_policy(self, conn: Connection, now: float) -> None:
        """Put the policy of this process's file in force, unless others serve already: then theirs is."""
        if not self.others(conn):
            self._rt.policy = self._own_policy
            policies.note(conn, self._own_policy, "authority", now)

    def note(self, issued: int) -> None:
        """How much the database has issued by now, so that a failover which loses some is seen."""
        if self._following is not None:
            self._following.note(issued)

    def tidy(self, conn: Connection) -> None:
        """What the holder of the beat removes of the replicas' own rows."""
        if self._shared is not None:
            forget_old(conn)

    def hub(self) -> Hub:
        """Where this process's nodes connect to."""
        if self._shared is None:
            return Hub()
        return RelayedHub(self._store, self.id, socket.gethostname(), self._told, self._cut_off)

    @contextlib.asynccontextmanager
    async def taking_part(self, hub: Hub) -> AsyncIterator[None]:
        """Hear what other replicas have to tell, until the body ends; then hand the duties on."""
        if self._shared is None or not isinstance(hub, RelayedHub):
            yield
            return
        stop, loop = threading.Event(), asyncio.get_running_loop()
        hint = partial(_hint, loop, hub)
        arguments = (self._url, self._password, CHANNEL, hint, stop)
        threading.Thread(target=postgresql.listen, args=arguments, name="hints", daemon=True).start()
        following = asyncio.create_task(hub.follow())
        try:
            yield
        finally:
            stop.set()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self._store.arun(self._shared.release)

    def _told(self, conn: Connection, node_id: str) -> list[Event]:
        return challenges.open_events(conn, self._rt, node_id, self._rt.now())

    def _cut_off(self, conn: Connection) -> None:
        scheduler.note_cut_off(conn, self._rt.now())


def _hint(loop: asyncio.AbstractEventLoop, hub: RelayedHub) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(hub.hint)


def check_shreds(conn: Connection, folder: Path, rt_random: bytes) -> None:
    """Raise `ConfigError` unless the folder of shred keys is the one that all replicas of this database share.

    The first replica marks its folder with `rt_random`, 16 random bytes; the mark is no secret.
    """
    meta, file = schema.meta, folder / _MARK
    wanted = conn.scalar(select(meta.c.value).where(meta.c.key == _SHREDS))
    try:
        found = file.read_text(encoding="ascii") if file.exists() else None
        if wanted is None and found is None:
            found = rt_random.hex()
            write_new(file, found.encode())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be used: {error}", "Check the folder and its permissions.") from None
    if wanted is None:
        conn.execute(insert(meta).values(key=_SHREDS, value=found))
    elif found != wanted:
        raise ConfigError(
            f"{folder} is not the folder of shred keys that this database's replicas share",
            "Mount that folder on this machine, and name it as `shreds` in authority.toml.",
        )
