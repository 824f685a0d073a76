"""What one writer kept in order is in order with two connections: the log, numbers, epochs, counters, scores."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Connection, Engine, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from authority import audit, challenges, scheduler
from authority.alerts import Severity, raise_alert
from authority.keys import create_network
from authority.keys.networks import add_member
from authority.store import Store, postgresql, schema
from protocol.messages import Outcome, Verdict
from tests.authority.replicas.pair import Pair, at_once

NOW = 1_700_000_000.0
TURNS = 15


def append(conn: Connection) -> None:
    audit.append(conn, "test", "authority", None, {}, NOW)


def many(store: Store, action: Callable[[Connection], object]) -> None:
    for _ in range(TURNS):
        store.run(action)


def test_the_log_has_every_record_of_both_and_holds(stores: tuple[Store, Store]):
    assert at_once(*(partial(many, store, append) for store in stores)) == [None, None]
    report = stores[0].run(audit.verify_log)
    assert (report.length, report.intact) == (2 * TURNS, True)


def test_without_the_turn_the_log_breaks(url: str):
    """The negative control: the same two writers, without the lock that a transaction begins with."""
    Store(url).close()
    engines, looked = [postgresql.reader(url) for _ in range(2)], threading.Barrier(2)

    def slowly(engine: Engine) -> None:
        with engine.connect() as conn:
            conn.execute(text("SET TRANSACTION READ WRITE"))
            audit.log_size(conn)
            looked.wait()
            append(conn)
            conn.commit()

    found = at_once(*(partial(slowly, each) for each in engines))
    for engine in engines:
        engine.dispose()
    assert [type(each) for each in found if each is not None] == [IntegrityError]


def test_a_counter_loses_no_step(stores: tuple[Store, Store]):
    meta = schema.meta
    stores[0].run(lambda conn: conn.execute(insert(meta).values(key="n", value="0")))

    def step(conn: Connection) -> None:
        was = int(conn.execute(select(meta.c.value).where(meta.c.key == "n")).scalar_one())
        conn.execute(update(meta).where(meta.c.key == "n").values(value=str(was + 1)))

    assert at_once(*(partial(many, store, step) for store in stores)) == [None, None]
    assert stores[1].run(lambda conn: conn.scalar(select(meta.c.value).where(meta.c.key == "n"))) == str(2 * TURNS)


def test_alerts_are_numbered_as_they_were_committed(stores: tuple[Store, Store]):
    def raise_one(conn: Connection, at: float) -> None:
        raise_alert(conn, Severity.INFO, "test", None, "x", {}, at)

    def work(store: Store) -> None:
        for _ in range(TURNS):
            store.run(lambda conn: raise_one(conn, time.monotonic()))

    assert at_once(*(partial(work, store) for store in stores)) == [None, None]
    row = schema.alert
    times = stores[0].run(lambda conn: [*conn.scalars(select(row.c.at).order_by(row.c.id))])
    assert times == sorted(times)
    assert len(times) == 2 * TURNS


def test_one_answer_through_two_replicas_is_entered_once(pair: Pair):
    first, second = pair.sites
    challenge_id = first.summon(pair.node.node_id)
    activation = pair.node.begin(first, challenge_id)
    first.clock = second.clock = first.clock + 5
    evidence = pair.node.evidence(pair.node.claims(activation))
    found = at_once(*(partial(pair.node.submit, site, challenge_id, evidence) for site in pair.sites))
    assert all(isinstance(each, Verdict) and each.outcome is Outcome.ACCEPTED for each in found), found
    assert found[0] == found[1]
    kinds = first.read(lambda conn: [*conn.scalars(select(schema.presentation.c.kind))])
    assert kinds == ["accepted"]


def test_a_challenge_is_issued_once_by_two_replicas_at_once(pair: Pair):
    first, second = pair.sites
    first.clock = second.clock = first.clock + 100_000
    sweeps = [partial(site.run, scheduler.sweep) for site in pair.sites]
    assert all(isinstance(each, list) for each in at_once(*sweeps))
    row = schema.challenge
    epochs = first.read(lambda conn: [*conn.scalars(select(row.c.epoch).where(row.c.node_id == pair.node.node_id))])
    assert len(epochs) == len(set(epochs)) == 1


def test_two_replicas_never_give_one_delivery_number_twice(pair: Pair):
    first, _ = pair.sites
    for name in ("core", "edge"):
        first.run(create_network, name)

    def join(site: object, name: str, address: str) -> object:
        return site.run(add_member, name, pair.node.node_id, address, "normal")  # type: ignore[attr-defined]

    places = zip(pair.sites, ("core", "edge"), ("10.0.0.1", "10.1.0.1"), strict=True)
    found = at_once(*(partial(join, *each) for each in places))
    assert not [each for each in found if isinstance(each, Exception)], found
    row = schema.delivery
    numbers = first.read(lambda conn: [*conn.scalars(select(row.c.number).where(row.c.node_id == pair.node.node_id))])
    told = first.read(lambda conn: challenges.deliveries_after(conn, pair.node.node_id, 0))
    assert sorted(numbers) == [*range(1, len(numbers) + 1)]
    assert len(told) <= len(numbers)
    members = first.read(lambda conn: conn.scalar(select(func.count()).select_from(schema.member)))
    slots = first.read(lambda conn: {*conn.scalars(select(schema.member.c.slot))})
    assert members == len(slots) == 2


@pytest.mark.parametrize("state", ["begin", "commit"])
def test_a_silent_transaction_keeps_nobody_waiting_for_ever(stores: tuple[Store, Store], state: str):
    """What the server is told to do with a replica that holds its turn and says nothing."""
    names = {"begin": "idle_in_transaction_session_timeout", "commit": "lock_timeout"}
    shown = stores[0].run(lambda conn: conn.exec_driver_sql(f"SHOW {names[state]}").scalar_one())
    assert shown == f"{postgresql.IDLE_S}s"
