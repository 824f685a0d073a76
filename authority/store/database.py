"""SQLite behind one writer thread (WAL, synchronous=FULL): every action is one transaction, durable when it returns."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from authority.refusal import Refused

T = TypeVar("T")
BUSY_TIMEOUT_MS = 5000
_MIGRATIONS = Path(__file__).parent / "migrations"
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    f"busy_timeout={BUSY_TIMEOUT_MS}",
)
"""Deleted content is overwritten: a destroyed secret is not to be read from a free page."""


class StoreUnavailable(Exception):
    """The database cannot be read or written now; nothing of the action was kept."""

    def __init__(
        self,
        cause: str,
        remedy: str = "Free disk space, or correct the permissions of the authority's state folder.",
    ) -> None:
        super().__init__(f"the authority's database is unavailable: {cause}")
        self.remedy = remedy


def _unobserved(waited_s: float, took_s: float) -> None:
    """Nobody wants to know."""


class Store:
    """A database at `url` (`sqlite:///PATH` or `sqlite://` for memory), migrated to the newest schema when opened.

    Raises `StoreUnavailable` when the file cannot be used, is no database, or is one of a newer version. `observe` is
    told, in the writer's thread, for how long each action waited for it and then took.
    """

    def __init__(self, url: str | URL) -> None:
        path = make_url(url).database
        if path and path != ":memory:":
            _create_private(Path(path))
        self.observe: Callable[[float, float], None] = _unobserved
        thread_shared = {"check_same_thread": False}
        self._engine = create_engine(url, poolclass=StaticPool, connect_args=thread_shared, hide_parameters=True)
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin_immediate)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            self._writer.submit(self._guard, self._migrate).result()
        except BaseException:
            self.close()
            raise

    def run(self, action: Callable[[Connection], T]) -> T:
        """What `action` gives, in one transaction of the writer thread.

        `Refused` commits and is raised again; any other exception rolls back. Raises `StoreUnavailable`.
        """
        done: Future[T] = self._writer.submit(self._guard, self._transact, action, time.perf_counter())
        return done.result()

    async def arun(self, action: Callable[[Connection], T]) -> T:
        """As `run`, without blocking the event loop."""
        done: Future[T] = self._writer.submit(self._guard, self._transact, action, time.perf_counter())
        return await asyncio.wrap_future(done)

    def close(self) -> None:
        """Finish what is queued and close the database."""
        self._writer.shutdown(wait=True)
        self._engine.dispose()

    @staticmethod
    def _guard(work: Callable[..., T], *arguments: Any) -> T:
        try:
            result: T = work(*arguments)
            return result
        except OperationalError as error:
            raise StoreUnavailable(str(error.orig)) from None
        except DatabaseError as error:
            if type(error) is not DatabaseError:
                raise
            raise StoreUnavailable(str(error.orig)) from None

    def _transact(self, action: Callable[[Connection], T], asked_at: float) -> T:
        begun = time.perf_counter()
        try:
            return self._in_transaction(action)
        finally:
            self.observe(begun - asked_at, time.perf_counter() - begun)

    def _in_transaction(self, action: Callable[[Connection], T]) -> T:
        with self._engine.connect() as conn:
            try:
                result = action(conn)
            except Refused:
                conn.commit()
                raise
            conn.commit()
            return result

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        with self._engine.connect() as conn:
            config.attributes["connection"] = conn
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise StoreUnavailable(str(error), "Run the version of Keyvigil that this database is of.") from None
            conn.commit()


def _create_private(path: Path) -> None:
    """SQLite gives a new file the process's umask, and its companions the file's mode: so it is made first (0600)."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from None


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    durable = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
    for pragma in (*durable, "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(conn: Connection) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE")
