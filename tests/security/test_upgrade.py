"""CVE-2025-1057: after an upgrade, stricter types could not read the rows of before, and the service was gone.

Every schema that was released, with rows that nobody would write today, is opened by this version and serves on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table

from authority import audit, scheduler, views
from authority.store import Store, schema
from protocol.messages import Outcome
from tests.authority.challenges.answers import answered
from tests.authority.nodes import Machine, Site
from tests.databases import ON_POSTGRESQL, count_on, database_url, empty_engine, of_sqlite
from tests.security.broken import NOTICED

MIGRATIONS = Path(schema.__file__).parent / "migrations"
TEXT = "n\r\n<13>1 forged\x1b[31m'\";--\u202e|\N{PILE OF POO}"
VALID = {
    "node.state": "active",
    "challenge.state": "accepted",
    "profile.state": "active",
    "key_version.state": "destroyed",
    "presentation.models": json.dumps([TEXT]),
    "presentation.modalities": json.dumps([TEXT]),
    "profile.modalities": json.dumps([{"modality": TEXT, "model": TEXT, "parameters": TEXT}]),
    "profile.sensors": json.dumps([TEXT]),
    "delivery.identity": json.dumps({"digest": TEXT, "outbound": [[TEXT, "in"]]}),
    "node.devices": json.dumps([{"kind": TEXT, "driver": TEXT}]),
    "node.reference_pcrs": json.dumps({"0": TEXT}),
    "tier": "low",
    "kind": "accepted",
    "enclave_kind": "tpm2",
    "purpose": "attest",
    "resource_class": "normal",
    "severity": "error",
    "access": "full",
}
"""Closed vocabularies and JSON, which every version wrote by itself; texts of strangers stand within."""
NEVER_READ_AGAIN = {"audit", "meta", "log_node", "log_checkpoint"}
"""The log and the counters beside it are not free text; a damaged log is the business of its own tests."""


def configured(conn: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = conn
    return config


def released() -> list[str]:
    """Every revision, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()][::-1]


@contextmanager
def opened(path: Path) -> Iterator[Connection]:
    engine = empty_engine(path)
    with engine.connect() as conn:
        yield conn
        conn.commit()
    engine.dispose()


def word(table: str, column: str) -> str | None:
    return VALID.get(f"{table}.{column}") or VALID.get(column)


def hostile(table: Table) -> dict[str, Any]:
    """A row of text that breaks lines, empty bytes, numbers at their ends; the same key in every table."""
    made = {}
    for column in table.columns:
        kind = column.type.python_type
        made[column.name] = word(table.name, column.name) or {str: TEXT, bytes: b"", bool: True, float: -1e300}.get(
            kind, 1
        )
    return made


def as_of(path: Path, revision: str) -> dict[str, dict[str, Any]]:
    """A database as that version left it; gives its rows by table."""
    rows = {}
    with opened(path) as conn:
        command.upgrade(configured(conn), revision)
        old = MetaData()
        old.reflect(conn)
        for table in old.sorted_tables:
            if table.name not in NEVER_READ_AGAIN | {"alembic_version"}:
                rows[table.name] = hostile(table)
                conn.execute(table.insert().values(**rows[table.name]))
        count_on(conn)
    return rows


def kept(path: Path, rows: dict[str, dict[str, Any]]) -> bool:
    """Whether every row of before is there with every value that it had."""
    with opened(path) as conn:
        now = MetaData()
        now.reflect(conn)
        found = {name: conn.execute(now.tables[name].select()).mappings().all() for name in rows}
    return all(
        any(all(each[name] == value for name, value in row.items() if name in each) for each in found[table])
        for table, row in rows.items()
    )


def upgrade(path: Path) -> None:
    Store(database_url(path)).close()


def check_an_old_database_is_taken_over(path: Path, revision: str, upgrade: Callable[[Path], None]) -> None:
    rows = as_of(path, revision)
    assert len(rows) > 10
    upgrade(path)
    assert kept(path, rows), "a row of before was changed or lost"


def check_the_others_are_served(path: Path, site: Site, node: Machine) -> None:
    """A node that is sound joins, enrols and answers beside the rows of before; every view shows them."""
    store = Store(database_url(path))
    here = Site(store, site.ca, site.kek, lab_roots=site.lab_roots, clock=site.clock)
    try:
        node.join(here)
        node.enrol(here)
        here.run(scheduler.sweep, first=True)
        assert answered(here, node) is Outcome.ACCEPTED
        assert len(here.read(lambda conn: views.node_list(conn, here.rt))) == 2
        assert here.read(audit.verify_log).intact
    finally:
        store.close()


def some_by_default(revisions: Sequence[str]) -> list[Any]:
    """Every fourth and the newest two; the others are slow together."""
    kept = {*revisions[::4], *revisions[-2:]}
    return [each if each in kept else pytest.param(each, marks=pytest.mark.slow) for each in revisions]


@pytest.mark.parametrize("revision", some_by_default(released()))
def test_an_old_database_is_taken_over(tmp_path: Path, site: Site, other: Machine, revision: str) -> None:
    path = tmp_path / "old.db"
    check_an_old_database_is_taken_over(path, revision, upgrade)
    check_the_others_are_served(path, site, other)


def drops_what_it_cannot_read(path: Path) -> None:
    upgrade(path)
    with opened(path) as conn:
        strange = "name ~ '[^a-z0-9._-]'" if ON_POSTGRESQL else "name GLOB '*[^a-z0-9._-]*'"
        conn.exec_driver_sql(f"DELETE FROM node WHERE {strange}")


def tidies(path: Path) -> None:
    upgrade(path)
    with opened(path) as conn:
        conn.exec_driver_sql("UPDATE profile SET admin = 'unknown'")


@of_sqlite  # a server refuses both: rows that others name stay
@pytest.mark.parametrize("broken", [drops_what_it_cannot_read, tidies])
def test_a_stricter_upgrade_is_noticed(tmp_path: Path, broken: Callable[[Path], None]) -> None:
    with pytest.raises(NOTICED):
        check_an_old_database_is_taken_over(tmp_path / "old.db", released()[0], broken)
