"""SQLite as the store's database: one file of one process (WAL, synchronous=FULL)."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.pool import StaticPool

from authority.store.unavailable import StoreUnavailable

BUSY_TIMEOUT_MS = 5000
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "secure_delete=ON",
    "foreign_keys=ON",
    f"busy_timeout={BUSY_TIMEOUT_MS}",
)
"""Deleted content is overwritten: a destroyed secret is not to be read from a free page."""


def engine(url: URL) -> Engine:
    """An engine of one connection; a file is made private first. Raises `StoreUnavailable`."""
    if url.database and url.database != ":memory:":
        _create_private(Path(url.database))
    thread_shared = {"check_same_thread": False}
    made = create_engine(url, poolclass=StaticPool, connect_args=thread_shared, hide_parameters=True)
    event.listen(made, "connect", _configure)
    event.listen(made, "begin", _begin_immediate)
    return made


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
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(conn: Connection) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE")
