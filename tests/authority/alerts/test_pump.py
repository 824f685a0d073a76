"""The outbox and the pump: nothing lost, nothing twice, nobody waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from sqlalchemy import Connection, select

from authority.alerts import MessageRefused, Origin, Severity, SinkError, acknowledge, ledger, raise_alert
from authority.alerts.destinations import Destination
from authority.alerts.pump import AT_ONCE, AlertPump
from authority.store import schema
from tests.authority.world import World, open_world

T = TypeVar("T")
ORIGIN = Origin("ta1")


class Collector:
    """A sink that keeps what it gets and refuses on demand."""

    def __init__(self, name: str = "a") -> None:
        self.name, self.got, self.keys, self.refuses = name, [], [], False
        self.taken = threading.Event()

    def send(self, record: bytes, key: str = "") -> None:
        if self.refuses:
            raise SinkError("away")
        self.got.append(record)
        self.keys.append(key)
        self.taken.set()

    def close(self) -> None:
        pass


class Pump(AlertPump):
    """A pump that is told of destinations by their sinks."""

    def pump(self, to: Destination | Collector) -> int:
        found = [each for each in self._destinations if to in (each, each.sink)]
        return super().pump(found[0])


class Outbox:
    """`run` over the one connection of the test, one caller at a time as on a writer thread."""

    def __init__(self, world: World) -> None:
        self.world, self.lock = world, threading.Lock()

    def run(self, action: Callable[[Connection], T], /) -> T:
        with self.lock:
            return action(self.world.conn)

    def alert(self, text: str) -> None:
        self.run(lambda conn: raise_alert(conn, "error", "tier-low", None, text, {"score": 1}, self.world.clock))

    def pump(self, *sinks: Collector, **options: object) -> Pump:
        made = [Destination(sink.name, sink, **options) for sink in sinks]
        return Pump(self.run, made, ORIGIN, lambda: self.world.clock, pause_s=0.01)

    def rows(self) -> list[tuple[float | None, int]]:
        row = schema.alert
        return [
            tuple(each)
            for each in self.world.conn.execute(select(row.c.delivered_at, row.c.attempts).order_by(row.c.id))
        ]


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with open_world() as world:
        yield Outbox(world)


def test_what_was_raised_is_sent_once_and_marked(outbox: Outbox) -> None:
    sink = Collector()
    pump = outbox.pump(sink)
    outbox.alert("one")
    outbox.alert("two")
    assert (pump.pump(sink), pump.pump(sink)) == (2, 0)
    assert [record[-3:] for record in sink.got] == [b"one", b"two"]
    assert b'[keyvigil@32473 id="1" kind="tier-low" score="1"]' in sink.got[0]
    assert outbox.rows() == [(outbox.world.clock, 0)] * 2


def test_an_alert_names_its_node(outbox: Outbox) -> None:
    sink, node = Collector(), outbox.world.node("n1")
    raise_alert(outbox.world.conn, "error", "tier-low", node, "low", {}, 0.0)
    outbox.pump(sink).pump(sink)
    assert f'node="n1" nodeId="{node}"'.encode() in sink.got[0]


def test_a_refused_record_is_counted_and_sent_later_in_order(outbox: Outbox) -> None:
    sink = Collector()
    pump = outbox.pump(sink)
    outbox.alert("one")
    outbox.alert("two")
    sink.refuses = True
    for _ in range(3):
        with pytest.raises(SinkError):
            pump.pump(sink)
    assert outbox.rows() == [(None, 3), (None, 0)]
    sink.refuses = False
    assert pump.pump(sink) == 2
    assert [record[-3:] for record in sink.got] == [b"one", b"two"]


def test_a_sink_that_is_away_delays_no_other_and_nothing_comes_twice(outbox: Outbox) -> None:
    well, away = Collector("well"), Collector("away")
    away.refuses = True
    pump = outbox.pump(well, away)
    outbox.alert("one")
    assert pump.pump(well) == 1
    with pytest.raises(SinkError):
        pump.pump(away)
    assert outbox.rows() == [(None, 1)]
    away.refuses = False
    assert (pump.pump(well), pump.pump(away)) == (0, 1)
    assert outbox.rows()[0][0] is not None
    assert (len(well.got), len(away.got)) == (1, 1)


def test_a_restart_repeats_nothing_that_was_remembered(outbox: Outbox) -> None:
    well, away = Collector("well"), Collector("away")
    away.refuses = True
    outbox.alert("one")
    outbox.pump(well, away).pump(well)
    assert outbox.pump(well, away).pump(well) == 0


def test_a_sink_that_took_something_before_it_refused_is_tried_again_soon(outbox: Outbox) -> None:
    sink, left = Collector(), iter([False, True])

    def send(_record: bytes, _key: str) -> None:
        if next(left, True):
            raise SinkError("away")

    sink.send = send  # type: ignore[method-assign]
    pump = outbox.pump(sink)
    (to,) = pump._destinations
    outbox.alert("one")
    outbox.alert("two")
    assert pump._attempt(to, 30.0) == 0.02
    assert pump._attempt(to, 20.0) == 40.0
    assert pump._attempt(to, 40.0) == 60.0


def test_one_that_cannot_be_written_makes_none_before_it_come_again(outbox: Outbox) -> None:
    sink = Collector()
    pump = outbox.pump(sink)
    for text in ("one", "two", "three"):
        outbox.alert(text)
    row = schema.alert
    outbox.run(lambda conn: conn.execute(row.update().where(row.c.id == 3).values(data="no JSON")))
    for _ in range(3):
        with pytest.raises(MessageRefused):
            pump.pump(sink)
    assert sink.keys == ["alert-1", "alert-2"]
    assert [attempts for _, attempts in outbox.rows()] == [0, 0, 3]
    entry = outbox.run(lambda conn: ledger.entry(conn, sink.name))
    assert entry is not None
    assert entry.last_error == "it cannot be written: JSONDecodeError"


def test_what_a_crash_let_be_forgotten_comes_again_and_is_little(outbox: Outbox) -> None:
    sink, count = Collector(), 3 * AT_ONCE
    pump = outbox.pump(sink)
    for number in range(count):
        outbox.alert(f"number {number}")
    remember = pump._remember
    crashes = iter([False, True])

    def crashing(*given: object, **named: object) -> bool:
        if next(crashes, False):
            raise KeyboardInterrupt
        return remember(*given, **named)

    pump._remember = crashing
    with pytest.raises(KeyboardInterrupt):
        pump.pump(sink)
    assert outbox.pump(sink).pump(sink) == count - AT_ONCE
    assert sink.keys[: 2 * AT_ONCE] == [f"alert-{number}" for number in range(1, 2 * AT_ONCE + 1)]
    assert sink.keys[2 * AT_ONCE :] == [f"alert-{number}" for number in range(AT_ONCE + 1, count + 1)]


def test_a_sink_added_later_gets_no_old_alerts(outbox: Outbox) -> None:
    first, second = Collector("first"), Collector("second")
    outbox.alert("old")
    outbox.pump(first).pump(first)
    outbox.alert("new")
    pump = outbox.pump(first, second)
    pump.pump(first)
    assert pump.pump(second) == 1
    assert second.got[0].endswith(b"new")


def test_threads_deliver_past_a_sink_that_hangs(outbox: Outbox) -> None:
    well, hanging, freed = Collector("well"), Collector("hanging"), threading.Event()
    hanging.send = lambda record, key: (freed.wait(30), None)[1]
    pump = outbox.pump(hanging, well)
    outbox.alert("one")
    pump.start()
    assert well.taken.wait(20)
    outbox.alert("written while a sink hangs")
    freed.set()
    pump.stop(20)
    assert [each[0] is not None for each in outbox.rows()] == [True, True]


def test_the_same_alert_has_the_same_key_at_every_try(outbox: Outbox) -> None:
    sink = Collector()
    outbox.alert("one")
    outbox.pump(sink).pump(sink)
    outbox.world.conn.execute(schema.alert_destination.delete())
    outbox.world.conn.execute(schema.alert.update().values(delivered_at=None))
    outbox.pump(sink).pump(sink)
    assert sink.keys == ["alert-1", "alert-1"]


def test_what_a_destination_does_not_want_is_passed_over(outbox: Outbox) -> None:
    sink = Collector()
    outbox.alert("an error")
    outbox.run(lambda conn: raise_alert(conn, "critical", "node-isolated", None, "worse", {}, 0.0))
    assert outbox.pump(sink, least=Severity.CRITICAL).pump(sink) == 1
    assert sink.got[0].endswith(b"worse")
    assert outbox.run(lambda conn: ledger.waiting(conn, sink.name)) == 0


def test_a_destination_that_is_not_durable_gives_up_the_oldest(outbox: Outbox) -> None:
    sink, durable = Collector("bounded"), Collector("durable")
    sink.refuses = durable.refuses = True
    for number in range(10):
        outbox.alert(f"number {number}")
    pumps = outbox.pump(sink, backlog=3), outbox.pump(durable)
    for pump, each in zip(pumps, (sink, durable), strict=True):
        with pytest.raises(SinkError):
            pump.pump(each)
        each.refuses = False
    assert (pumps[0].pump(sink), pumps[1].pump(durable)) == (3, 10)
    row = outbox.run(lambda conn: ledger.entry(conn, "bounded"))
    assert (row.sent, row.failed, row.dropped, row.last_error) == (3, 1, 7, "away")


def test_what_anybody_can_cause_is_counted_and_not_told_again(outbox: Outbox) -> None:
    def knock(at: float, node: str | None = None) -> None:
        outbox.run(lambda conn: raise_alert(conn, "error", "evidence-refused", node, "refused", {}, at))

    node = outbox.world.node("n1")
    for at in (100.0, 101.0, 159.0):
        knock(at)
    knock(102.0, node)
    knock(161.0)
    row = schema.alert
    rows = outbox.world.conn.execute(select(row.c.at, row.c.repeats, row.c.last_at).order_by(row.c.id)).all()
    assert [tuple(each) for each in rows] == [(100.0, 2, 159.0), (102.0, 0, None), (161.0, 0, None)]


def test_an_alert_is_acknowledged_once_and_that_is_audited(outbox: Outbox) -> None:
    outbox.alert("one")
    assert outbox.run(lambda conn: acknowledge(conn, 1, "olga", "a known drill", 5.0))
    assert not outbox.run(lambda conn: acknowledge(conn, 1, "otto", "again", 6.0))
    assert not outbox.run(lambda conn: acknowledge(conn, 2, "otto", "nothing", 6.0))
    assert outbox.world.audit_kinds() == ["alert-acknowledged"]
