"""The database that a site's configuration names: a file of its own, or PostgreSQL with the password from a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, select

from authority.config import ConfigError, Site
from authority.store import Store, postgresql, schema

_CREDENTIAL = "credential:"


def open_store(site: Site) -> Store:
    """The site's store; raises `ConfigError` and `StoreUnavailable`."""
    database = site.config.database
    if postgresql.is_postgresql(database):
        return Store(database, database_password(site))
    return Store(URL.create("sqlite", database=os.fspath(site.path(database))))


def refuse_used(site: Site) -> None:
    """Raise `ConfigError` where the database of a new site is that of an authority already."""
    if not postgresql.is_postgresql(site.config.database):
        return
    store = open_store(site)
    try:
        used = store.run(lambda conn: conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == "generation")))
    finally:
        store.close()
    if used is not None:
        raise ConfigError(
            "the database holds an authority already",
            "Name an empty database; or, to make a replica, copy that authority's state folder (docs/scale-out.md).",
        )


def read_only(site: Site) -> Engine:
    """An engine that only reads, beside an authority that may be writing; the caller disposes of it."""
    database = site.config.database
    if postgresql.is_postgresql(database):
        return postgresql.reader(database, database_password(site))
    return create_engine(f"sqlite:///file:{quote(str(site.path(database)))}?mode=ro&uri=true", hide_parameters=True)


def database_password(site: Site) -> str | None:
    """The first line of the file that the configuration names, if it names one; raises `ConfigError`."""
    name = site.config.database_password_file
    if not name:
        return None
    file = _credential(name.removeprefix(_CREDENTIAL)) if name.startswith(_CREDENTIAL) else site.path(name)
    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="utf-8").split("\n", 1)[0]
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"the database's password cannot be read from {file}", "Check the path.") from None
    if stat.S_IMODE(mode) & 0o077 and not name.startswith(_CREDENTIAL):
        raise ConfigError(f"{file} can be read by others", f"Change its permissions: chmod 600 {file}")
    if not text:
        raise ConfigError(f"{file} holds no password", "Write it into the file's first line.")
    return text


def _credential(name: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        raise ConfigError(
            "systemd gives this process no credentials: CREDENTIALS_DIRECTORY is not set",
            f"Run it as a service with LoadCredentialEncrypted={name}:FILE.",
        )
    return Path(folder) / Path(name).name
