"""The databases that tests of the authority open: SQLite files, or PostgreSQL where the environment says so.

`KEYVIGIL_TEST_DATABASE=postgresql` runs the suites on a server of their own, which ends with the process, or on the
one of loopback's port `KEYVIGIL_TEST_PORT`, which trusts whoever reaches it.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

from authority.store import Store, postgresql, schema
from simulators.lab.postgres import PostgresServer, binaries
from simulators.lab.processes import LabError

ON_POSTGRESQL = os.environ.get("KEYVIGIL_TEST_DATABASE") == "postgresql"
HAS_POSTGRESQL = binaries() is not None
of_sqlite = pytest.mark.skipif(ON_POSTGRESQL, reason="asks what only SQLite tells")
"""Marks tests that need SQLite itself whatever database the suite runs on."""
_KEPT = 12
_MEMORY = Path("/dev/shm")
_COUNT_ANEW = "SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'"
_numbers = itertools.count(1)
_made: dict[Path, str] = {}
_names: list[str] = []


@cache
def server() -> PostgresServer:
    """The server of this process, with a database `migrated` that new ones are copies of."""
    running = os.environ.get("KEYVIGIL_TEST_PORT")
    if running:
        return _prepared(PostgresServer(Path(os.devnull), port=int(running)))
    folder = Path(tempfile.mkdtemp(prefix="kv-postgres-", dir=_MEMORY if _MEMORY.is_dir() else None))
    folder.chmod(0o755)
    made = PostgresServer(folder / "server", durable=False).create().start()
    atexit.register(_remove, made, folder)
    return _prepared(made)


def _prepared(made: PostgresServer) -> PostgresServer:
    if made.sql("SELECT 1 FROM pg_database WHERE datname = 'migrated'") != "1":
        made.sql("CREATE DATABASE migrated")
    Store(made.url("migrated")).close()
    return made


def _remove(made: PostgresServer, folder: Path) -> None:
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        made.kill()
    shutil.rmtree(folder, ignore_errors=True)


def new_database(template: str = "migrated", *, stays: bool = False) -> str:
    """The address of a new database on the server; one made long before goes, if it is not used and need not stay."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    server().sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    if not stays:
        _names.append(name)
    if len(_names) > _KEPT:
        with suppress(LabError):
            server().sql(f"DROP DATABASE {_names.pop(0)}")
    return server().url(name)


def database_url(path: Path) -> str:
    """The address of the database that stands for a file at `path`."""
    if not ON_POSTGRESQL:
        return f"sqlite:///{path}"
    if path not in _made:
        _made[path] = new_database()
    return _made[path]


def empty_engine(path: Path) -> Engine:
    """An engine of the database that stands for a file at `path`, which has no tables when it is new."""
    if not ON_POSTGRESQL:
        return create_engine(f"sqlite:///{path}")
    if path not in _made:
        _made[path] = new_database("template0")
    return postgresql.engine(_made[path])


def count_on(conn: Connection) -> None:
    """Have numbers that the database gives go on above those that were given by hand, as SQLite does by itself."""
    if ON_POSTGRESQL:
        conn.exec_driver_sql("SELECT setval(oid, 1000) FROM pg_class WHERE relkind = 'S'")


def copy_database(source: Path, target: Path) -> None:
    """Make the database at `target` one like that at `source`, which nobody uses now and which stays."""
    if ON_POSTGRESQL:
        template = _made[source].rsplit("/", 1)[1]
        with suppress(ValueError):
            _names.remove(template)
        _made[target] = new_database(template)
    else:
        shutil.copyfile(source, target)


@contextmanager
def uncommitted() -> Iterator[Connection]:
    """One open transaction on an empty database, which nothing of it is kept of; threads may take turns with it."""
    engine = postgresql.engine(_common()) if ON_POSTGRESQL else _in_memory()
    with engine.connect() as conn:
        if ON_POSTGRESQL:
            _empty(conn)
            conn.exec_driver_sql(_COUNT_ANEW)
        else:
            schema.metadata.create_all(conn)
            conn.commit()
            conn.exec_driver_sql("PRAGMA foreign_keys=ON")
            conn.commit()
        yield conn
    engine.dispose()


def _in_memory() -> Engine:
    return create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})


def _empty(conn: Connection) -> None:
    """Remove what a test before committed after all."""
    tables = [table.name for table in schema.metadata.sorted_tables]
    if any(conn.exec_driver_sql(f'SELECT EXISTS (SELECT 1 FROM "{name}")').scalar() for name in tables):
        conn.exec_driver_sql("TRUNCATE " + ", ".join(f'"{name}"' for name in tables))
        conn.commit()


@cache
def _common() -> str:
    return new_database(stays=True)


def memory_url() -> str:
    """The address of a database that need not last."""
    return new_database() if ON_POSTGRESQL else "sqlite://"
