"""Key versions: staged ahead, kept as the policy says, held to a floor, and destroyed so that no copy opens."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, select

from authority.keys import (
    FileKek,
    KekError,
    add_member,
    create_network,
    rotate_versions,
    set_floor,
    stage_version,
)
from authority.keys import versions as v
from authority.keys.kek import AesKek
from authority.keys.shredding import ShredKeys
from authority.refusal import Refused
from authority.runtime import Runtime
from authority.store import Store, schema
from authority.trust import parse_policy
from protocol.levels import Access, ResourceClass, VersionState
from tests.authority.world import World, open_world
from tests.databases import of_sqlite

S = VersionState
DAY_S = 86400.0


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as made:
        create_network(made.conn, made.rt, "core", made.clock)
        yield made


def states(world: World) -> dict[int, str]:
    row = schema.key_version
    return {each.version: each.state for each in world.conn.execute(select(row).order_by(row.c.version))}


def rotate(world: World, times: int = 1) -> None:
    for _ in range(times):
        rotate_versions(world.conn, world.rt, "core", "olga", world.clock)


def test_a_staged_version_serves_nobody_until_a_rotation_takes_it_into_force(world: World) -> None:
    member = world.node("a", state="active", score=900)
    add_member(world.conn, world.rt, "core", member, "10.7.0.1", ResourceClass.NORMAL, world.clock)
    assert stage_version(world.conn, world.rt, "core", "olga", world.clock) == 4
    secret = v.open_secret(world.conn, world.rt, "core", 4)
    assert world.conn.scalar(select(schema.member.c.version)) == 3
    with pytest.raises(Refused, match="staged already"):
        stage_version(world.conn, world.rt, "core", "olga", world.clock)
    rotate(world)
    assert states(world) == {1: "destroyed", 2: "outdated", 3: "previous", 4: "latest"}
    assert v.open_secret(world.conn, world.rt, "core", 4) == secret
    assert world.conn.scalar(select(schema.member.c.version)) == 4


def test_as_many_outdated_versions_are_kept_as_the_policy_says(world: World) -> None:
    world.policy = parse_policy('version = "p"\n[versions]\noutdated_kept = 3\n')
    rotate(world, 6)
    outdated = [number for number, state in states(world).items() if state == S.OUTDATED]
    assert outdated == [5, 6, 7]
    assert v.numbers_by_state(world.conn, "core")[S.OUTDATED] == 7


def test_an_outdated_version_goes_when_it_was_replaced_long_enough_ago(world: World) -> None:
    world.policy = parse_policy('version = "p"\n[versions]\noutdated_kept = 9\noutdated_s = 86400\n')
    rotate(world, 2)
    world.clock += DAY_S / 2
    rotate(world)
    assert v.destroy_old(world.conn, world.rt, world.clock + DAY_S / 2) == 2
    assert [number for number, state in states(world).items() if state == S.OUTDATED] == [3, 4]
    assert v.destroy_old(world.conn, world.rt, world.clock + DAY_S) == 1
    assert v.destroy_old(world.conn, world.rt, world.clock + 99 * DAY_S) == 0, "the newest outdated one stays"


def test_below_the_floor_nothing_is_used_and_who_is_left_without_a_version_is_cut_off(world: World) -> None:
    ids = {}
    for number, (name, score) in enumerate([("high", 900), ("medium", 600), ("low", 300)], 1):
        ids[name] = world.node(name, state="active", score=score)
        add_member(world.conn, world.rt, "core", ids[name], f"10.7.0.{number}", ResourceClass.REMEDIATION, world.clock)
    got = world.bundles(set_floor(world.conn, world.rt, "core", 3, "olga", world.clock))
    assert states(world) == {1: "destroyed", 2: "destroyed", 3: "latest"}
    assert (got["high"].version, got["high"].associations) == (3, [])
    for name in ("medium", "low"):
        assert (got[name].version, got[name].access) == (None, Access.ISOLATED)
    assert world.audit_kinds()[-1] == "floor-raised"


def test_a_version_below_the_floor_stays_unused_even_if_it_lives(world: World) -> None:
    set_floor(world.conn, world.rt, "core", 2, "olga", world.clock)
    row = schema.key_version
    world.conn.execute(row.update().where(row.c.version == 1).values(state="previous"))
    assert v.numbers_by_state(world.conn, "core")[S.PREVIOUS] == 2
    world.conn.execute(row.update().where(row.c.version == 2).values(state="outdated"))
    assert S.PREVIOUS not in v.numbers_by_state(world.conn, "core")


@pytest.mark.parametrize(("floor", "words"), [(2, "already"), (1, "already"), (4, "not in force")])
def test_a_floor_is_raised_to_what_is_in_force_and_never_lowered(world: World, floor: int, words: str) -> None:
    set_floor(world.conn, world.rt, "core", 2, "olga", world.clock)
    with pytest.raises(Refused, match=words):
        set_floor(world.conn, world.rt, "core", floor, "olga", world.clock)


class Custody:
    """A database in a file, the key that wraps it, and its shred keys."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kek = folder, FileKek(b"k" * 32)
        self.shreds = ShredKeys(folder / "shreds")
        self.store = Store(f"sqlite:///{folder / 'authority.db'}")
        with open_world() as world:
            self.rt: Runtime = replace(world.rt, kek=self.kek, shreds=self.shreds)
        self.run(create_network, "core")

    def run(self, action, *arguments):
        return self.store.run(lambda conn: action(conn, self.rt, *arguments, 1000.0))

    def rotate(self) -> None:
        self.run(rotate_versions, "core", "olga")

    def backup(self) -> Path:
        """A copy by SQLite's own backup, as an operator would make it."""
        copy = self.folder / "backup.db"
        with sqlite3.connect(self.folder / "authority.db") as source, sqlite3.connect(copy) as target:
            source.backup(target)
        return copy


@pytest.fixture
def custody(tmp_path: Path) -> Iterator[Custody]:
    made = Custody(tmp_path)
    yield made
    made.store.close()


def opened_from(copy: Path, custody: Custody) -> set[int]:
    """Which versions whoever has a copy of the database, the KEK and the shred folder can open."""
    engine, found = create_engine(f"sqlite:///{copy}"), set()
    with engine.connect() as conn:
        for number in (1, 2, 3):
            try:
                found.add(len(v.open_secret(conn, custody.rt, "core", number)) and number)
            except KekError:
                continue
    engine.dispose()
    return found


def test_what_was_destroyed_opens_from_no_backup_though_the_kek_is_known(custody: Custody) -> None:
    copy = custody.backup()
    assert opened_from(copy, custody) == {1, 2, 3}
    custody.rotate()
    assert opened_from(copy, custody) == {1, 2, 3}, "control: until its shred key goes, the copy opens"
    assert custody.run(v.shred) == 1
    assert opened_from(copy, custody) == {2, 3}
    [record] = custody.store.run(
        lambda conn: conn.execute(select(schema.audit).where(schema.audit.c.kind == "key-shredded")).all()
    )
    assert '"version":1' in record.data


def test_without_a_shred_key_of_its_own_a_backup_opens_for_ever(custody: Custody) -> None:
    """The control: a version from before shred keys, under the KEK alone."""
    custody.rt.shreds = None
    custody.run(create_network, "old")
    copy = custody.backup()
    custody.run(rotate_versions, "old", "olga")
    custody.rt.shreds = custody.shreds
    custody.run(v.shred)
    engine = create_engine(f"sqlite:///{copy}")
    with engine.connect() as conn:
        assert len(v.open_secret(conn, custody.rt, "old", 1)) == 32
    engine.dispose()


def test_a_shred_key_without_the_kek_opens_nothing(custody: Custody) -> None:
    custody.rt.kek = AesKek(b"j" * 32)
    with pytest.raises(KekError):
        custody.store.run(lambda conn: v.open_secret(conn, custody.rt, "core", 3))


def test_a_rotation_that_is_rolled_back_costs_no_version(custody: Custody) -> None:
    with pytest.raises(ZeroDivisionError):
        custody.store.run(lambda conn: (rotate_versions(conn, custody.rt, "core", "olga", 1.0), 1 / 0))
    assert custody.run(v.shred) == 1, "the key of the version that never came to be"
    for number in (1, 2, 3):
        assert len(custody.store.run(lambda conn, n=number: v.open_secret(conn, custody.rt, "core", n))) == 32
    assert custody.run(v.shred) == 0


def test_a_shredding_that_was_cut_off_is_ended_by_the_next_one(custody: Custody) -> None:
    custody.rotate()
    with pytest.raises(ZeroDivisionError):
        custody.store.run(lambda conn: (v.shred(conn, custody.rt, 1.0), 1 / 0))
    row = schema.key_version
    marked = select(row.c.shredded_at).where(row.c.version == 1)
    assert custody.store.run(lambda conn: conn.scalar(marked)) is None
    assert custody.run(v.shred) == 0
    assert custody.store.run(lambda conn: conn.scalar(marked)) == 1000.0


def test_shred_keys_are_files_of_their_owner_alone_and_overwritten_in_place(custody: Custody) -> None:
    files = [*(custody.folder / "shreds").iterdir()]
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (custody.folder / "shreds").stat().st_mode & 0o777 == 0o700
    before = files[0].read_bytes()
    with files[0].open("rb") as held:
        custody.shreds.destroy(files[0].name)
        assert held.read() == bytes(32) != before
    assert not files[0].exists()
    custody.shreds.destroy(files[0].name)


def test_a_database_that_comes_back_gets_new_versions_for_those_that_were_shredded(custody: Custody) -> None:
    custody.rotate()
    custody.run(v.shred)
    row = schema.key_version
    custody.store.run(  # as the backup had it
        lambda conn: (
            conn.execute(row.update().where(row.c.version == 1).values(state="outdated", wrapped=b"w")) and None
        )
    )
    assert custody.run(v.replace_lost) == ["core"]
    alive = custody.store.run(lambda conn: v.numbers_by_state(conn, "core"))
    assert alive == {S.OUTDATED: 5, S.PREVIOUS: 6, S.LATEST: 7}
    assert custody.run(v.replace_lost) == []


@of_sqlite
def test_thousands_of_destroyed_versions_are_not_looked_through(world: World) -> None:
    rows = [
        {"network": "core", "version": number, "state": "destroyed", "wrapped": b"", "kek_id": "k", "created_at": 0.0}
        for number in range(10, 2010)
    ]
    world.conn.execute(insert(schema.key_version), rows)
    query = select(schema.key_version.c.version).where(v._live("core"))
    compiled = query.compile(world.conn, compile_kwargs={"literal_binds": True})
    plan = " ".join(str(row[-1]) for row in world.conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}"))
    assert "ix_key_version_network_state" in plan
