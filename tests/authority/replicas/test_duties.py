"""A duty is one replica's at a time, ends with its holder, and goes to nobody whose clock is wrong."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from authority.replicas.duties import (
    ALIVE_S,
    CLOCK_SLACK_S,
    LEASE_S,
    SharedDuties,
    SoleDuties,
    database_clock,
    others,
    report_alive,
)
from authority.store import Store, schema
from tests.authority.replicas.pair import at_once

A, B = SharedDuties("a"), SharedDuties("b")


def hold(conn: Connection, duties: SharedDuties, name: str = "beat", off: float = 0.0) -> bool:
    return duties.hold(conn, name, database_clock(conn) + off)


def lapse(conn: Connection) -> None:
    """As if the holder had said nothing for longer than a lease lasts."""
    conn.execute(update(schema.lease).values(until=schema.lease.c.until - LEASE_S - 1))


def term(conn: Connection) -> int:
    return conn.execute(select(schema.lease.c.term)).scalar_one()


def test_a_duty_stays_with_its_holder_until_the_lease_ends(stores: tuple[Store, Store]):
    one, two = stores
    assert one.run(lambda conn: hold(conn, A))
    assert not two.run(lambda conn: hold(conn, B))
    assert one.run(lambda conn: hold(conn, A))
    assert one.run(term) == 1
    one.run(lapse)
    assert two.run(lambda conn: hold(conn, B))
    assert not one.run(lambda conn: hold(conn, A))
    assert one.run(term) == 2


def test_only_one_of_two_takes_a_free_duty(stores: tuple[Store, Store]):
    one, two = stores
    found = at_once(lambda: one.run(lambda conn: hold(conn, A)), lambda: two.run(lambda conn: hold(conn, B)))
    assert sorted(found) == [False, True]


def test_duties_are_apart(stores: tuple[Store, Store]):
    assert stores[0].run(lambda conn: hold(conn, A, "alerts/siem"))
    assert stores[1].run(lambda conn: hold(conn, B, "alerts/mail"))


def test_a_wrong_clock_gets_no_duty_and_keeps_none(stores: tuple[Store, Store]):
    one, two = stores
    for off in (CLOCK_SLACK_S + 0.5, -CLOCK_SLACK_S - 0.5):
        assert not one.run(lambda conn, off=off: hold(conn, A, off=off))
    assert one.run(lambda conn: hold(conn, A))
    assert not one.run(lambda conn: hold(conn, A, off=60))
    one.run(lapse)
    assert two.run(lambda conn: hold(conn, B))


def test_who_stops_hands_on_at_once(stores: tuple[Store, Store]):
    one, two = stores
    one.run(lambda conn: (report_alive(conn, "a", "host-a"), hold(conn, A)))
    assert two.run(lambda conn: others(conn, "b")) == ["host-a"]
    one.run(A.release)
    assert two.run(lambda conn: others(conn, "b")) == []
    assert two.run(lambda conn: hold(conn, B))


def test_a_replica_that_says_nothing_is_not_alive(stores: tuple[Store, Store]):
    one, two = stores
    one.run(lambda conn: report_alive(conn, "a", "host-a"))
    assert two.run(lambda conn: report_alive(conn, "b", "host-b")) == {"a", "b"}
    row = schema.replica
    one.run(lambda conn: conn.execute(update(row).where(row.c.id == "a").values(seen_at=row.c.seen_at - ALIVE_S - 1)))
    assert two.run(lambda conn: report_alive(conn, "b", "host-b")) == {"b"}


def test_alone_everything_is_ones_own():
    assert SoleDuties().hold(None, "beat", 0.0)  # type: ignore[arg-type]
