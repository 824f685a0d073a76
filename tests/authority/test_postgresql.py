"""PostgreSQL under the store: what its address may say, what its tables hold, and the suites of the authority on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select

from authority import audit
from authority.refusal import Refused
from authority.replaying import reading
from authority.store import Store, StoreUnavailable, postgresql, schema
from protocol.problems import ErrorCode
from tests.conftest import ROOT
from tests.databases import HAS_POSTGRESQL, new_database, server

pytest.importorskip("psycopg", reason="no driver: pip install 'keyvigil[postgres]'")
needs_server = pytest.mark.skipif(not HAS_POSTGRESQL, reason="no PostgreSQL server: apt-get install postgresql")
SECRET = "c0rrect-h0rse"


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(new_database())
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"postgresql://keyvigil:{SECRET}@localhost/keyvigil", "holds a password"),
        (f"postgresql://keyvigil@localhost/keyvigil?password={SECRET}", "holds a password"),
        ("postgresql://keyvigil@db.example/keyvigil", "verified"),
        ("postgresql://keyvigil@localhost,db.example/keyvigil", "verified"),
        ("postgresql://keyvigil@db.example/keyvigil?sslmode=require", "verified"),
        ("postgresql://keyvigil@localhost/keyvigil?hostaddr=192.0.2.7", "verified"),
        (f"postgresql://keyvigil@localhost/keyvigil?colour={SECRET}", "cannot be read"),
    ],
)
def test_an_unsafe_address_is_refused_and_no_secret_told(url: str, words: str):
    with pytest.raises(StoreUnavailable, match=words) as caught:
        Store(url)
    assert SECRET not in str(caught.value) + caught.value.remedy


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://keyvigil@localhost/keyvigil",
        "postgresql://keyvigil@127.0.0.1,[::1]/keyvigil",
        "postgresql:///keyvigil?host=/run/postgresql",
        "postgresql://keyvigil@db1.example,db2.example/keyvigil?sslmode=verify-full",
    ],
)
def test_a_safe_address_is_taken_and_asks_for_the_primary(url: str):
    assert postgresql.connection_settings(url)["target_session_attrs"] == "read-write"


def test_a_server_that_is_not_there_is_named_with_a_remedy():
    with pytest.raises(StoreUnavailable) as caught:
        Store("postgresql://keyvigil@127.0.0.1:1/keyvigil", SECRET)
    assert SECRET not in str(caught.value)
    assert "authority.toml" in caught.value.remedy


@needs_server
def test_the_migrations_make_exactly_the_schema(store: Store):
    def differences(conn: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), schema.metadata)

    assert store.run(differences) == []
    store.run(lambda conn: conn.exec_driver_sql("ALTER TABLE node DROP COLUMN reason"))
    assert len(store.run(differences)) == 1


@needs_server
def test_numbers_and_text_have_the_ranges_that_they_have_in_a_file(store: Store):
    """A TPM's clock has 64 bits and text comes without an end; a NUL is shown for what it is."""
    long, large = "x" * 5000, 2**63 - 1

    def write(conn: Connection) -> None:
        values = {"level": large, "position": -large, "hash": bytes(range(256))}
        conn.execute(insert(schema.log_node).values(**values))
        conn.execute(insert(schema.meta).values(key=long, value="a\x00b"))

    store.run(write)
    row = schema.log_node
    assert store.run(lambda conn: conn.execute(select(row)).one()) == (large, -large, bytes(range(256)))
    assert (
        store.run(lambda conn: conn.execute(select(schema.meta.c.value)).scalar_one()) == "a\N{REPLACEMENT CHARACTER}b"
    )


@needs_server
def test_another_collation_is_refused():
    """Text would be in another order than in a file, and an index could break with an update of the C library."""
    server().sql("CREATE DATABASE sorted TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        with pytest.raises(StoreUnavailable, match="LATIN1") as caught:
            Store(server().url("sorted"))
        assert "LOCALE 'C'" in caught.value.remedy
    finally:
        server().sql("DROP DATABASE sorted")


@needs_server
def test_a_refusal_keeps_its_audit_row_and_an_error_nothing(store: Store):
    def refuse(conn: Connection) -> None:
        audit.append(conn, "refused", "anonymous", None, {}, 0.0)
        raise Refused(ErrorCode.TOKEN_INVALID, 403, "no")

    def fail(conn: Connection) -> None:
        audit.append(conn, "lost", "anonymous", None, {}, 0.0)
        raise ValueError

    with pytest.raises(Refused):
        store.run(refuse)
    with pytest.raises(ValueError):
        store.run(fail)
    assert store.run(lambda conn: [*conn.scalars(select(schema.audit.c.kind))]) == ["refused"]


@needs_server
def test_a_connection_that_broke_meanwhile_is_made_anew(store: Store):
    pid = store.run(lambda conn: conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    server().sql(f"SELECT pg_terminate_backend({pid})")
    assert store.run(lambda conn: conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()) != pid


@needs_server
def test_who_only_reads_waits_for_nobody_and_writes_nothing(store: Store):
    url = str(store.run(lambda conn: conn.exec_driver_sql("SELECT current_database()").scalar_one()))

    def beside(conn: Connection) -> None:
        with reading(postgresql.reader(server().url(url))) as other:
            assert other.scalar(select(schema.meta.c.key).limit(1)) is None
            with pytest.raises(Exception, match="read-only"):
                other.execute(insert(schema.meta).values(key="k", value="v"))

    store.run(beside)


@needs_server
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("suite", ["authority/keys", "authority/challenges", "authority", "security/test_upgrade.py"])
def test_the_suites_of_the_authority_hold_on_postgresql(suite: str):
    """As they stand: what needs a file (a copy of one, a full disk) goes on using a file."""
    folder = Path("tests") / suite
    others = [] if suite != "authority" else ["--ignore=tests/authority/keys", "--ignore=tests/authority/challenges"]
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        *others,
        os.fspath(folder),
    ]
    env = {**os.environ, "KEYVIGIL_TEST_DATABASE": "postgresql"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
