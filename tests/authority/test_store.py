"""The store: durable, private, one transaction an action, and nothing half-written when the disk is full."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Table, create_engine, insert, inspect, select
from sqlalchemy.exc import IntegrityError

from authority import audit
from authority.refusal import Refused
from authority.store import Store, StoreUnavailable, schema
from protocol.problems import ErrorCode

NOW = 1_700_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "authority.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{path}")
    yield opened
    opened.close()


def write(key: str, value: str = "x") -> Callable[[Connection], None]:
    def action(conn: Connection) -> None:
        conn.execute(insert(schema.meta).values(key=key, value=value))

    return action


def keys(conn: Connection) -> set[str]:
    return {*conn.scalars(select(schema.meta.c.key))}


def pragma(store: Store, name: str) -> object:
    return store.run(lambda conn: conn.exec_driver_sql(f"PRAGMA {name}").scalar())


def test_what_an_action_wrote_is_there_when_it_returns(store: Store, path: Path):
    store.run(write("kept"))
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM meta WHERE key = 'kept'").fetchone() == (1,)


def test_what_was_written_survives_closing(store: Store, path: Path):
    store.run(write("kept"))
    store.close()
    again = Store(f"sqlite:///{path}")
    assert "kept" in again.run(keys)
    again.close()


def test_the_database_waits_for_the_disk_and_keeps_references_whole(store: Store):
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    assert {name: pragma(store, name) for name in wanted} == wanted
    with pytest.raises(IntegrityError):
        values = {"epoch": 0, "next_challenge_at": 0.0, "next_attest_at": 0.0}
        store.run(lambda conn: conn.execute(insert(schema.schedule).values(node_id="nobody", **values)))


def test_a_refusal_keeps_its_audit_row(store: Store):
    def refuse(conn: Connection) -> None:
        audit.append(conn, "join-refused", "anonymous", None, {"cause": "test"}, NOW)
        raise Refused(ErrorCode.TOKEN_INVALID, 403, "no")

    with pytest.raises(Refused):
        store.run(refuse)
    kinds = store.run(lambda conn: [*conn.scalars(select(schema.audit.c.kind))])
    assert kinds == ["join-refused"]
    assert store.run(audit.verify_log).intact


@pytest.mark.parametrize("error", [ValueError, KeyError, AssertionError, RuntimeError])
def test_any_other_error_undoes_the_action(store: Store, error: type[Exception]):
    def fail(conn: Connection) -> None:
        write("lost")(conn)
        raise error("x")

    with pytest.raises(error):
        store.run(fail)
    store.run(write("kept"))
    assert {"kept", "lost"} & store.run(keys) == {"kept"}


def test_a_broken_rule_undoes_the_whole_action(store: Store):
    def twice(conn: Connection) -> None:
        write("other")(conn)
        write("same")(conn)
        write("same")(conn)

    with pytest.raises(IntegrityError):
        store.run(twice)
    assert not {"other", "same"} & store.run(keys)


def test_actions_run_one_after_another_on_one_thread(store: Store):
    threads: set[str] = set()

    def count(conn: Connection) -> None:
        threads.add(threading.current_thread().name)
        seen = int(conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == "n")) or 0)
        conn.execute(schema.meta.delete().where(schema.meta.c.key == "n"))
        write("n", str(seen + 1))(conn)

    async def many() -> None:
        await asyncio.gather(*(store.arun(count) for _ in range(50)))

    asyncio.run(many())
    assert store.run(lambda conn: conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == "n"))) == "50"
    assert len(threads) == 1


def test_errors_reach_who_awaits(store: Store):
    def fail(conn: Connection) -> None:
        raise Refused(ErrorCode.CONFLICT, 409, "no")

    with pytest.raises(Refused):
        asyncio.run(store.arun(fail))


def test_the_files_are_the_owners_alone(store: Store, path: Path):
    store.run(write("x"))
    files = [*path.parent.glob("authority.db*")]
    assert len(files) == 3  # the write-ahead log and its index as well
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_lax_umask_changes_nothing(path: Path):
    before = os.umask(0)
    try:
        store = Store(f"sqlite:///{path}")
        store.run(write("x"))
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("authority.db*")}
        store.close()
    finally:
        os.umask(before)
    assert modes == {0o600}


def test_a_database_open_to_others_is_closed_to_them(path: Path):
    Store(f"sqlite:///{path}").close()
    path.chmod(0o644)
    Store(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def fill(conn: Connection) -> None:
    audit.append(conn, "before", "authority", None, {}, NOW)
    for number in range(4000):
        write(f"filler-{number}", "x" * 1000)(conn)


def test_a_full_disk_undoes_the_whole_action(store: Store):
    store.run(write("kept"))
    pages = int(str(pragma(store, "page_count")))
    assert pragma(store, f"max_page_count={pages + 5}") == pages + 5
    with pytest.raises(StoreUnavailable, match="full") as caught:
        store.run(fill)
    assert "disk space" in caught.value.remedy
    assert {key for key in store.run(keys) if key != "kept"} == set()
    assert store.run(lambda conn: conn.execute(select(schema.audit)).all()) == []
    pragma(store, "max_page_count=100000")
    store.run(fill)
    assert len(store.run(keys)) > 4000
    assert store.run(audit.verify_log).intact


def test_a_refusal_whose_audit_row_finds_no_room_is_no_refusal(store: Store):
    """Otherwise a full disk would let somebody try PINs for ever without one being counted."""

    def refuse(conn: Connection) -> None:
        fill(conn)
        raise Refused(ErrorCode.TICKET_INVALID, 403, "no")

    pragma(store, f"max_page_count={int(str(pragma(store, 'page_count'))) + 5}")
    with pytest.raises(StoreUnavailable):
        store.run(refuse)


def test_a_database_that_somebody_else_locks_is_unavailable_and_comes_back(store: Store, path: Path):
    pragma(store, "busy_timeout=20")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.run(write("x"))
    other.execute("ROLLBACK")
    other.close()
    store.run(write("x"))
    assert "x" in store.run(keys)


@pytest.mark.parametrize("content", [b"no database at all " * 400, b"SQLite format 3\0" + bytes(range(256)) * 40])
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes):
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=r"not a database|malformed|unsupported"):
        Store(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_a_damaged_page_is_our_fault_and_not_the_nodes(store: Store, path: Path):
    store.run(fill)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 20 : 4096 * 900] = b"\xff" * (4096 * 880)
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable):
        damaged = Store(f"sqlite:///{path}")
        try:
            damaged.run(lambda conn: conn.execute(select(schema.meta)).all())
        finally:
            damaged.close()


@pytest.mark.parametrize("place", ["missing/authority.db", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str):
    with pytest.raises(StoreUnavailable, match=str(tmp_path)) as caught:
        Store(f"sqlite:///{tmp_path / place}")
    assert caught.value.remedy


def test_a_database_of_a_newer_version_is_left_alone(store: Store, path: Path):
    store.run(lambda conn: conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(StoreUnavailable, match="9999") as caught:
        Store(f"sqlite:///{path}")
    assert "version of Keyvigil" in caught.value.remedy


@pytest.fixture
def migrated(path: Path) -> Iterator[Store]:
    """A store whose database every migration went over, as those of earlier versions."""
    _upgrade(path, "head")
    opened = Store(f"sqlite:///{path}")
    yield opened
    opened.close()


def _upgrade(path: Path, revision: str) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as conn:
        config = Config()
        config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
        config.attributes["connection"] = conn
        command.upgrade(config, revision)
        conn.commit()
    engine.dispose()


def differences(conn: Connection) -> list[object]:
    return compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), schema.metadata)


def test_the_migrations_make_exactly_the_schema(migrated: Store):
    assert migrated.run(differences) == []
    migrated.run(lambda conn: conn.exec_driver_sql("ALTER TABLE node DROP COLUMN reason"))
    migrated.run(lambda conn: conn.exec_driver_sql("DROP INDEX ix_challenge_state_expires"))
    assert len(migrated.run(differences)) == 2


def statements(conn: Connection) -> dict[str, list[str]]:
    """What SQLite keeps of every table and index, by its name: its parts in no order, numbers without quotes."""
    rows = conn.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    told = {name: re.sub(r"'(\d+)'", r"\1", sql.replace('"', "")) for name, sql in rows}
    return {name: sorted(re.split(r",\s*(?![^()]*\))", " ".join(sql.split()))) for name, sql in told.items()}


def test_a_new_database_is_as_the_migrations_make_it(migrated: Store):
    new = Store("sqlite://")
    made, wanted = new.run(statements), migrated.run(statements)
    assert made.keys() == wanted.keys()
    for name in made:
        assert [part.strip("() ") for part in made[name]] == [part.strip("() ") for part in wanted[name]], name
    revision = "SELECT version_num FROM alembic_version"
    told = [each.run(lambda conn: conn.exec_driver_sql(revision).scalars().all()) for each in (new, migrated)]
    assert told[0] == told[1] and len(told[0]) == 1
    new.run(lambda conn: conn.exec_driver_sql("ALTER TABLE node DROP COLUMN reason"))
    assert new.run(statements)["node"] != made["node"], "the control: a difference is seen"
    new.close()


def described(conn: Connection, table: Table) -> str:
    """Keys, uniqueness and nullability, which the comparison above does not look at."""
    found = inspect(conn)
    unique = sorted((entry["name"], *entry["column_names"]) for entry in found.get_unique_constraints(table.name))
    foreign = sorted((*key["constrained_columns"], key["referred_table"]) for key in found.get_foreign_keys(table.name))
    columns = [(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table.name)]
    return json.dumps([found.get_pk_constraint(table.name), unique, foreign, columns])


def test_the_migrations_make_the_same_constraints(migrated: Store):
    engine = create_engine("sqlite://")
    with engine.connect() as wanted:
        schema.metadata.create_all(wanted)
        for table in schema.metadata.sorted_tables:
            assert migrated.run(lambda conn, table=table: described(conn, table)) == described(wanted, table)


def test_nodes_of_the_first_schema_become_tpm_nodes(path: Path):
    """A database as the first version left it, with a node in it, is opened by this one."""
    migrations = Path(schema.__file__).parent / "migrations"
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as conn:
        config = Config()
        config.set_main_option("script_location", str(migrations))
        config.attributes["connection"] = conn
        command.upgrade(config, "0001")
        columns = [column["name"] for column in inspect(conn).get_columns("node")]
        assert "enclave_kind" not in columns
        values = {name: f"'{name}'" for name in columns}
        conn.exec_driver_sql(f"INSERT INTO node ({', '.join(values)}) VALUES ({', '.join(values.values())})")
        conn.commit()
    engine.dispose()
    opened = Store(f"sqlite:///{path}")
    assert opened.run(lambda conn: [*conn.scalars(select(schema.node.c.enclave_kind))]) == ["tpm2"]
    opened.close()


def test_whoever_could_read_the_audit_log_goes_on_doing_so(path: Path):
    """Tokens of before the scope `audit`; one whose scopes cannot be read allows nothing, and stops nothing."""
    migrations = Path(schema.__file__).parent / "migrations"
    engine = create_engine(f"sqlite:///{path}")
    rows = {"reader": '["read","operate"]', "tap": '["signal"]', "torn": '["read', "odd": '{"read": 1}'}
    with engine.connect() as conn:
        config = Config()
        config.set_main_option("script_location", str(migrations))
        config.attributes["connection"] = conn
        command.upgrade(config, "0014")
        for name, scopes in rows.items():
            conn.exec_driver_sql("INSERT INTO operator_token VALUES (?, ?, ?, 0, 1, NULL)", (name, name, scopes))
        conn.commit()
    engine.dispose()
    opened = Store(f"sqlite:///{path}")
    found = opened.run(lambda conn: {row.name: row for row in conn.execute(select(schema.operator_token))})
    assert json.loads(found["reader"].scopes) == ["read", "operate", "audit"] and found["reader"].kind == "token"
    assert {name: found[name].scopes for name in ("tap", "torn", "odd")} == {
        "tap": '["signal"]', "torn": '["read', "odd": '{"read": 1}'
    }  # fmt: skip
    opened.close()


def test_a_store_in_memory_is_migrated_too():
    store = Store("sqlite://")
    store.run(write("x"))
    assert store.run(keys) == {"x"}
    store.close()
