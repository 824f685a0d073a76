"""PostgreSQL as the store's database: shared by replicas, of which one at a time is within a transaction.

Every transaction takes one advisory lock first, as it takes SQLite's write lock there: what is read then is what the
last one left, and no decision of the authority meets another half-way (docs/decisions/0061-one-writer-at-a-time.md).
"""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event, types
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler, PGTypeCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.pool import QueuePool

from authority.store.unavailable import StoreUnavailable

SCHEMES = ("postgresql://", "postgres://")
WRITER_LOCK = 0x4B65_7976_6967_696C
"""Key of the advisory lock that a transaction holds: "Keyvigil" without its last two letters' case."""
LOCK_WAIT_S = 10
IDLE_S = 10
"""For how long the server keeps the lock for a replica that went silent within a transaction."""
_TIMEOUTS = {
    "connect_timeout": "5",
    "tcp_user_timeout": "5000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}
_SESSION = (
    f"SET lock_timeout = '{LOCK_WAIT_S}s'",
    f"SET idle_in_transaction_session_timeout = '{IDLE_S}s'",
    "SET statement_timeout = '60s'",
    "SET tcp_keepalives_idle = 5",
    "SET tcp_keepalives_interval = 2",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 5000",
    "SET client_connection_check_interval = '2s'",
    "SET default_transaction_isolation = 'read committed'",
)
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN %s"
_LESS_THAN_DURABLE = "('off', 'local', 'remote_write')"
_PLACE = "keyvigil.place"
_LISTEN_S = 1.0
_FORM = "postgresql://USER@HOST/NAME"


class _WideInteger(types.BigInteger):
    """Whole numbers have up to 63 bits, as in SQLite: a TPM's clock needs more than 31. The driver fits each value."""

    render_bind_cast = False


class _Text(types.String):
    """Text without the character that PostgreSQL has no room for; all else is bounded where it comes in."""

    render_bind_cast = True

    def bind_processor(self, dialect: Any) -> Any:
        """Replaces NUL by the sign for what cannot be shown."""
        del dialect
        return lambda value: value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


class _Types(PGTypeCompiler):
    def visit_INTEGER(self, type_: Any, **kw: Any) -> str:  # noqa: N802 - the compiler's own name
        del type_, kw
        return "BIGINT"

    def visit_VARCHAR(self, type_: Any, **kw: Any) -> str:  # noqa: N802 - the compiler's own name
        del type_, kw
        return "VARCHAR"


class _Tables(PGDDLCompiler):
    def get_column_specification(self, column: Any, **kwargs: Any) -> str:
        made = str(super().get_column_specification(column, **kwargs))  # type: ignore[no-untyped-call]
        return made.replace(" SERIAL", " BIGSERIAL", 1)


class Dialect(PGDialect_psycopg):
    """PostgreSQL by psycopg, with SQLite's ranges: 63-bit integers, and text of any length."""

    driver = "keyvigil"
    supports_statement_cache = True
    type_compiler_cls = _Types
    ddl_compiler = _Tables
    colspecs = {**PGDialect_psycopg.colspecs, types.Integer: _WideInteger, types.String: _Text}  # noqa: RUF012


registry.register("postgresql.keyvigil", __name__, "Dialect")


def is_postgresql(database: str) -> bool:
    """Whether a configured database is one of PostgreSQL rather than a file."""
    return database.startswith(SCHEMES)


def engine(url: str, password: str | None = None) -> Engine:
    """An engine of one connection to `url`, a libpq URI that may name several hosts; raises `StoreUnavailable`."""
    made = _engine(connection_settings(url), password)
    event.listen(made, "connect", _configure)
    event.listen(made, "begin", _take_turn)
    return made


def reader(url: str, password: str | None = None) -> Engine:
    """As `engine`, for looking only: it writes nothing, and waits for nobody."""
    settings = {**connection_settings(url), "options": "-c default_transaction_read_only=on"}
    return _engine({**settings, "target_session_attrs": "any"}, password)


def _engine(settings: Mapping[str, Any], password: str | None) -> Engine:
    psycopg = _psycopg()
    secret = {} if password is None else {"password": password}

    def connect() -> Any:
        return psycopg.connect(**settings, **secret)

    one: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
    return create_engine("postgresql+keyvigil://", creator=connect, hide_parameters=True, **one)


def connection_settings(url: str) -> dict[str, Any]:
    """The parameters of a connection (libpq), for writing and with time limits; raises `StoreUnavailable`.

    Refused are a password within the address, and a network's server without `sslmode=verify-full`.
    """
    psycopg = _psycopg()
    try:
        given = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise StoreUnavailable(
            "its address cannot be read", "Give `database` as postgresql://USER@HOST/NAME."
        ) from None
    if "password" in given:
        raise StoreUnavailable(
            "its address holds a password", "Move the password to a file, and name that as `database_password_file`."
        )
    if given.get("sslmode") != "verify-full" and not all(map(_is_local, _hosts(given))):
        raise StoreUnavailable(
            "its server is reached over a network without being verified",
            "Append sslmode=verify-full and sslrootcert=FILE to the address.",
        )
    return {**_TIMEOUTS, "target_session_attrs": "read-write", "application_name": "keyvigil-authority", **given}


def _hosts(given: Mapping[str, Any]) -> list[str]:
    """Where the connection goes, by the address or, where that is silent, by libpq's environment or service file."""
    places = [given.get("host") or os.environ.get("PGHOST"), given.get("hostaddr") or os.environ.get("PGHOSTADDR")]
    if "service" in given or "PGSERVICE" in os.environ:
        places.append("a service")
    return [host for place in places for host in (place or "").split(",") if host]


def _is_local(host: str) -> bool:
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def prepare_migration(conn: Connection) -> None:
    """Give a migration all the time that it takes; raises `StoreUnavailable` as `check_server` does."""
    check_server(conn)
    for limit in ("idle_in_transaction_session_timeout", "statement_timeout"):
        conn.exec_driver_sql(f"SET LOCAL {limit} = 0")


def check_server(conn: Connection) -> None:
    """Raise `StoreUnavailable` for a database that would sort or write text in another way than we do."""
    query = (
        "SELECT pg_encoding_to_char(encoding), datcollate, datlocprovider FROM pg_database"
        " WHERE datname = current_database()"
    )
    encoding, collation, provider = conn.exec_driver_sql(query).one()
    collation = "an ICU locale" if provider in {"i", b"i"} else collation
    if encoding != "UTF8" or collation.upper().replace("-", "") not in {"C", "POSIX", "C.UTF8"}:
        raise StoreUnavailable(
            f"it has the encoding {encoding} and the collation {collation}",
            "Create it anew: CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'.",
        )


def _configure(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        for setting in _SESSION:
            cursor.execute(setting)
        cursor.execute(_DURABLE % _LESS_THAN_DURABLE)
    connection.commit()


def _take_turn(conn: Connection) -> None:
    conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise StoreUnavailable("psycopg is missing", "Install it: pip install 'keyvigil[postgres]'.") from None
    return psycopg


@dataclass(frozen=True)
class Place:
    """Which server answers: its timeline, another after each promotion, and whether a standby has every commit."""

    timeline: str
    synchronous: bool


def place_of(conn: Connection) -> Place:
    """Where this connection leads; asked once per connection."""
    known = conn.info.get(_PLACE)
    if known is None:
        query = (
            "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),"
            " current_setting('synchronous_standby_names') <> ''"
        )
        known = conn.info[_PLACE] = Place(*conn.exec_driver_sql(query).one())
    return cast(Place, known)


def listen(url: str, password: str | None, channel: str, hint: Callable[[], None], stop: threading.Event) -> None:
    """Call `hint` whenever somebody notifies `channel`, until `stop`; a broken connection is made anew."""
    psycopg, settings = _psycopg(), connection_settings(url)
    settings |= {} if password is None else {"password": password}
    while not stop.is_set():
        try:
            with psycopg.connect(**settings, autocommit=True) as conn:
                conn.execute(f'LISTEN "{channel}"')
                while not stop.is_set():
                    for _ in conn.notifies(timeout=_LISTEN_S, stop_after=1):
                        hint()
        except psycopg.Error:
            stop.wait(_LISTEN_S)
