"""The database behind one writer thread: every action is one transaction, durable when it returns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError

from authority.refusal import Refused
from authority.store import postgresql, schema, sqlite
from authority.store.unavailable import StoreUnavailable

T = TypeVar("T")
Before = Callable[[Connection], bool]
"""Tells whether it wrote what is to last whatever becomes of the action; it is then called again."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_NOT_NOW = frozenset({"25006", "25P03"})
"""SQLSTATEs of a server that became read-only, and of one that gave a silent transaction up."""
_OF_A_SERVER = "Check `database` in authority.toml, that the server runs, and that it takes writes."


def _unobserved(waited_s: float, took_s: float) -> None:
    """Nobody wants to know."""


class Store:
    """A database at `url`, migrated to the newest schema when opened; a new one of SQLite is made with it.

    `sqlite:///PATH` or `sqlite://` for memory, which is one process's own, or `postgresql://…` (a libpq URI, without a
    password), which is `shared` by replicas. `before` is called first in every transaction of an action. `observe` is
    told, in the writer's thread, for how long each action waited for it and then took. Raises `StoreUnavailable` when
    the database cannot be used, is none, or is one of a newer version.
    """

    def __init__(self, url: str | URL, password: str | None = None) -> None:
        self.shared = isinstance(url, str) and postgresql.is_postgresql(url)
        self.before: Before | None = None
        self.observe: Callable[[float, float], None] = _unobserved
        self._engine = postgresql.engine(str(url), password) if self.shared else sqlite.engine(make_url(url))
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

    @property
    def _remedy(self) -> dict[str, str]:
        return {"remedy": _OF_A_SERVER} if self.shared else {}

    def _guard(self, work: Callable[..., T], *arguments: Any) -> T:
        try:
            result: T = work(*arguments)
            return result
        except (OperationalError, InterfaceError) as error:
            raise StoreUnavailable(_said(error.orig), **self._remedy) from None
        except DatabaseError as error:
            if type(error) is not DatabaseError and getattr(error.orig, "sqlstate", None) not in _NOT_NOW:
                raise
            raise StoreUnavailable(_said(error.orig), **self._remedy) from None

    def _transact(self, action: Callable[[Connection], T], asked_at: float) -> T:
        begun = time.perf_counter()
        try:
            return self._in_transaction(action)
        finally:
            self.observe(begun - asked_at, time.perf_counter() - begun)

    def _in_transaction(self, action: Callable[[Connection], T]) -> T:
        with self._begun() as conn:
            try:
                self._prepare(conn)
                result = action(conn)
            except Refused:
                conn.commit()
                raise
            conn.commit()
            return result

    def _prepare(self, conn: Connection) -> None:
        while self.before is not None and self.before(conn):
            conn.commit()
            conn.begin()

    def _begun(self) -> Connection:
        """A transaction's connection; one that broke while nothing was asked of it is made anew, and nothing lost."""
        try:
            return self._connected()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return self._connected()

    def _connected(self) -> Connection:
        """A connection with a transaction begun; whatever fails, the only one that there is goes back."""
        conn = self._engine.connect()
        try:
            conn.begin()
        except BaseException:
            conn.close()
            raise
        return conn

    def _migrate(self) -> None:
        with self._begun() as conn:
            if self.shared:
                postgresql.prepare_migration(conn)
            context = MigrationContext.configure(conn)
            if not self.shared and not inspect(conn).get_table_names():
                schema.metadata.create_all(conn, checkfirst=False)
                context.stamp(_scripts(), "head")
            elif context.get_current_heads() != (_scripts().get_current_head(),):
                _upgrade(conn)
            conn.commit()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


@cache
def _scripts() -> ScriptDirectory:
    """The migrations, read once: that takes longer than all else about a database which is up to date."""
    scripts = ScriptDirectory.from_config(_config())
    scripts.get_current_head()
    return scripts


def _upgrade(conn: Connection) -> None:
    config = _config()
    config.attributes["connection"] = conn
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreUnavailable(str(error), "Run the version of Keyvigil that this database is of.") from None


def _said(cause: BaseException | None) -> str:
    return " ".join(str(cause).split())
