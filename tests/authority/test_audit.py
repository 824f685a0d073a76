"""The audit chain: any record changed, removed, inserted or cut off is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from authority import audit
from authority.store import schema
from tests.authority.world import open_world

ROW = schema.audit


@pytest.fixture
def conn() -> Iterator[Connection]:
    with open_world() as world:
        for index in range(5):
            audit.append(world.conn, "presentation", "authority", f"n{index}", {"index": index}, 100.5 + index)
        yield world.conn


def test_an_untouched_chain_holds(conn: Connection) -> None:
    report = audit.verify_chain(conn)
    assert report.intact
    assert report.length == 5
    assert report.head == conn.scalar(select(ROW.c.hash).where(ROW.c.seq == 5))


def test_an_empty_chain_holds() -> None:
    with open_world() as world:
        assert audit.verify_chain(world.conn) == audit.ChainReport(0, audit.GENESIS)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", 1.0),
        ("kind", "ban"),
        ("actor", "someone"),
        ("node_id", "n9"),
        ("node_id", None),
        ("data", '{"index":9}'),
        ("previous", "0" * 64),
        ("hash", "0" * 64),
    ],
)
@pytest.mark.parametrize("seq", [1, 3, 5])
def test_a_changed_record_is_found(conn: Connection, column: str, value: object, seq: int) -> None:
    if column == "previous" and seq == 1:
        value = "1" * 64
    conn.execute(update(ROW).where(ROW.c.seq == seq).values({column: value}))
    report = audit.verify_chain(conn)
    assert report.broken_at == seq
    assert report.reason


@pytest.mark.parametrize("seq", [1, 2, 5])
def test_a_removed_record_is_found(conn: Connection, seq: int) -> None:
    conn.execute(delete(ROW).where(ROW.c.seq == seq))
    assert audit.verify_chain(conn).broken_at == seq


def test_a_cut_off_end_is_found_even_after_the_log_went_on(conn: Connection) -> None:
    conn.execute(delete(ROW).where(ROW.c.seq >= 4))
    assert audit.verify_chain(conn).broken_at == 4


def test_a_record_put_in_at_the_end_is_found(conn: Connection) -> None:
    head = conn.execute(select(ROW).where(ROW.c.seq == 5)).one()
    values = {"seq": 6, "at": 1.0, "kind": "x", "actor": "y", "data": "{}", "previous": head.hash, "hash": "0" * 64}
    conn.execute(insert(ROW).values(**values))
    assert audit.verify_chain(conn).broken_at == 6


def test_swapped_records_are_found(conn: Connection) -> None:
    two, three = (conn.execute(select(ROW).where(ROW.c.seq == seq)).one() for seq in (2, 3))
    conn.execute(update(ROW).where(ROW.c.seq == 2).values(data=three.data, hash=three.hash))
    conn.execute(update(ROW).where(ROW.c.seq == 3).values(data=two.data, hash=two.hash))
    assert not audit.verify_chain(conn).intact


def test_no_node_and_an_empty_node_id_are_different_records() -> None:
    hashes = set()
    for node_id in (None, ""):
        with open_world() as world:
            hashes.add(audit.append(world.conn, "x", "y", node_id, {}, 1.0)[1])
    assert len(hashes) == 2


def test_a_rolled_back_decision_leaves_no_record() -> None:
    with open_world() as world:
        world.conn.commit()
        audit.append(world.conn, "x", "y", None, {}, 1.0)
        world.conn.rollback()
        assert audit.verify_chain(world.conn) == audit.ChainReport(0, audit.GENESIS)
