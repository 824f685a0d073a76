"""The audit log: any record changed, removed, inserted or cut off is found, and so is a changed tree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update

from authority import audit
from authority.store import schema
from protocol.merkle import EMPTY_ROOT, completed, leaf_hash, root
from tests.authority.world import open_world
from tests.protocol.test_merkle import naive_root

ROW, NODE = schema.audit, schema.log_node


@pytest.fixture
def conn() -> Iterator[Connection]:
    with open_world() as world:
        for index in range(5):
            audit.append(world.conn, "presentation", "authority", f"n{index}", {"index": index}, 100.5 + index)
        yield world.conn


def checkpoint(conn: Connection, size: int) -> None:
    """As if one had been given out: only the root is looked at here."""
    value = root(size, audit.stored_nodes(conn))
    conn.execute(insert(schema.log_checkpoint).values(size=size, root=value, note="", at=1.0))


def test_an_untouched_log_holds(conn: Connection) -> None:
    checkpoint(conn, 3)
    report = audit.verify_log(conn)
    assert report.intact
    assert (report.length, report.checkpoints) == (5, 1)
    records = [audit.record_bytes(row) for row in conn.execute(select(ROW).order_by(ROW.c.seq))]
    assert report.root == naive_root(records).hex()


def test_an_empty_log_holds() -> None:
    with open_world() as world:
        assert audit.verify_log(world.conn) == audit.LogReport(0, EMPTY_ROOT.hex())


@given(st.integers(1, 130), st.data())
@settings(max_examples=12, deadline=None)
def test_the_stored_tree_is_that_of_the_definition(count: int, data: st.DataObject) -> None:
    with open_world() as world:
        for index in range(count):
            audit.append(world.conn, "x", "authority", None, {"index": index}, float(index))
        rows = world.conn.execute(select(ROW).order_by(ROW.c.seq)).all()
        size = data.draw(st.integers(0, count))
        wanted = naive_root([audit.record_bytes(row) for row in rows[:size]])
        assert root(size, audit.stored_nodes(world.conn)) == wanted
        assert audit.verify_log(world.conn).length == count


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", 1.0),
        ("kind", "ban"),
        ("actor", "someone"),
        ("node_id", "n9"),
        ("node_id", None),
        ("data", '{"index":9}'),
    ],
)
@pytest.mark.parametrize("seq", [1, 3, 5])
def test_a_changed_record_is_found(conn: Connection, column: str, value: object, seq: int) -> None:
    conn.execute(update(ROW).where(ROW.c.seq == seq).values({column: value}))
    report = audit.verify_log(conn)
    assert report.broken_at == seq
    assert report.reason


@pytest.mark.parametrize("seq", [1, 2, 5])
def test_a_removed_record_is_found(conn: Connection, seq: int) -> None:
    conn.execute(delete(ROW).where(ROW.c.seq == seq))
    assert audit.verify_log(conn).broken_at == seq


def test_a_cut_off_end_is_found_even_after_the_log_went_on(conn: Connection) -> None:
    conn.execute(delete(ROW).where(ROW.c.seq >= 4))
    assert audit.verify_log(conn).broken_at == 4
    audit.append(conn, "x", "y", None, {}, 1.0)
    assert audit.verify_log(conn).broken_at == 4


def test_a_record_put_in_at_the_end_is_found(conn: Connection) -> None:
    conn.execute(insert(ROW).values(seq=6, at=1.0, kind="x", actor="y", data="{}"))
    assert audit.verify_log(conn).broken_at == 6


def test_swapped_records_are_found(conn: Connection) -> None:
    two, three = (conn.execute(select(ROW).where(ROW.c.seq == seq)).one() for seq in (2, 3))
    conn.execute(update(ROW).where(ROW.c.seq == 2).values(data=three.data))
    conn.execute(update(ROW).where(ROW.c.seq == 3).values(data=two.data))
    assert not audit.verify_log(conn).intact


@pytest.mark.parametrize(("level", "position"), [(0, 0), (0, 4), (1, 0), (1, 1), (2, 0)])
def test_a_changed_or_removed_node_is_found(conn: Connection, level: int, position: int) -> None:
    mine = (NODE.c.level == level) & (NODE.c.position == position)
    conn.execute(update(NODE).where(mine).values(hash=bytes(32)))
    assert audit.verify_log(conn).broken_at == ((position + 1) << level)
    conn.execute(delete(NODE).where(mine))
    assert not audit.verify_log(conn).intact


def forge(conn: Connection, seq: int) -> None:
    """Rewrite a record and the whole tree over it, as somebody who owns the database can."""
    conn.execute(update(ROW).where(ROW.c.seq == seq).values(data='{"forged":true}'))
    conn.execute(delete(NODE))
    for row in conn.execute(select(ROW).order_by(ROW.c.seq)).all():
        leaf = leaf_hash(audit.record_bytes(row))
        for level, position, value in completed(row.seq - 1, leaf, audit.stored_nodes(conn)):
            conn.execute(insert(NODE).values(level=level, position=position, hash=value))


def test_a_log_rewritten_as_a_whole_contradicts_its_checkpoints(conn: Connection) -> None:
    checkpoint(conn, 4)
    forge(conn, 5)
    assert audit.verify_log(conn).intact
    forge(conn, 2)
    report = audit.verify_log(conn)
    assert report.broken_at == 4
    assert "checkpoint" in report.reason


def test_a_log_cut_off_as_a_whole_contradicts_its_checkpoints(conn: Connection) -> None:
    checkpoint(conn, 5)
    conn.execute(delete(ROW).where(ROW.c.seq == 5))
    conn.execute(delete(NODE).where((NODE.c.level == 0) & (NODE.c.position == 4)))
    report = audit.verify_log(conn)
    assert not report.intact
    assert "more records" in report.reason


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
        assert audit.verify_log(world.conn) == audit.LogReport(0, EMPTY_ROOT.hex())
