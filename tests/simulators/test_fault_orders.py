"""Which message a fault strikes: orders, seeds, and faults that pass."""

from __future__ import annotations

import threading

import pytest

from hal import SystemClock
from simulators.devices.fault_orders import OrderInForce, OrdersInForce
from simulators.devices.faults import Fault, FaultOrder


class HandClock(SystemClock):
    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def orders(clock: HandClock) -> OrdersInForce:
    return OrdersInForce(clock)


def hits(orders: OrdersInForce, fault: Fault, count: int) -> list[bool]:
    return [orders.strikes(fault) is not None for _ in range(count)]


def test_no_order_strikes_nothing(orders: OrdersInForce) -> None:
    assert not any(hits(orders, Fault.STALL, 5))


def test_messages_before_the_fault_pass(orders: OrdersInForce) -> None:
    orders.add(FaultOrder(Fault.STALL, after=2))
    assert hits(orders, Fault.STALL, 4) == [False, False, True, True]
    assert not any(hits(orders, Fault.BUSY, 4))


def test_the_same_seed_hits_the_same_messages_and_bytes(orders: OrdersInForce) -> None:
    def played(seed: int) -> tuple[list[bool], bytes | None]:
        orders.clear()
        orders.add(FaultOrder(Fault.SHORT_READ, rate=0.5, seed=seed))
        orders.add(FaultOrder(Fault.CORRUPT, rate=0.1, seed=seed))
        return hits(orders, Fault.SHORT_READ, 64), orders.corrupted(bytes(1000))

    assert played(1) == played(1) != played(2)
    assert 16 < sum(played(1)[0]) < 48


def test_faults_hit_after_some_messages_and_the_same_seed_hits_the_same() -> None:
    def struck(order: FaultOrder) -> list[bool]:
        orders = OrdersInForce()
        orders.add(order)
        return [orders.strikes(Fault.STALL) is not None for _ in range(40)]

    assert struck(FaultOrder(Fault.STALL, after=3)) == [False] * 3 + [True] * 37
    some = struck(FaultOrder(Fault.STALL, rate=0.5, seed=1))
    assert some == struck(FaultOrder(Fault.STALL, rate=0.5, seed=1))
    assert some != struck(FaultOrder(Fault.STALL, rate=0.5, seed=2))
    assert struck(FaultOrder(Fault.STALL, seconds=1e-9))[-1] is False
    assert True not in struck(FaultOrder(Fault.SLOW))


@pytest.mark.parametrize(("rate", "changed"), [(0.0, 0), (0.1, 100), (1.0, 1000)])
def test_share_of_the_bytes_is_changed(orders: OrdersInForce, rate: float, changed: int) -> None:
    orders.add(FaultOrder(Fault.CORRUPT, rate=rate))
    spoilt = orders.corrupted(bytes(1000))
    assert spoilt is not None
    assert len(spoilt) - spoilt.count(0) == changed


def test_a_share_that_is_no_whole_number_of_bytes_is_right_on_the_average() -> None:
    one = OrderInForce(FaultOrder(Fault.CORRUPT, rate=0.0125))
    counts = [20 - one.spoiled(bytes(20)).count(0) for _ in range(2000)]
    assert set(counts) == {0, 1}
    assert 400 < sum(counts) < 600


def test_damage_and_cuts_leave_what_they_are_told_to() -> None:
    one = OrderInForce(FaultOrder(Fault.CORRUPT, rate=0.0))
    assert one.spoiled(bytes(50)) == bytes(50)
    assert one.spoiled(bytes(50), least=3).count(0) == 47
    assert one.spoiled(b"", least=1) == b""
    assert {len(one.cut(b"abc")) for _ in range(50)} == {0, 1, 2}
    assert {len(one.cut(b"abc", keep=1)) for _ in range(50)} == {1, 2}
    assert (one.cut(b""), one.cut(b"a", keep=1)) == (b"", b"a")


def test_damage_hits_every_message_unless_messages_are_damaged_as_a_whole(orders: OrdersInForce) -> None:
    orders.add(FaultOrder(Fault.CORRUPT, rate=0.5))
    assert all(orders.strikes(Fault.CORRUPT) for _ in range(20))
    assert {orders.strikes(Fault.CORRUPT, whole=True) is None for _ in range(20)} == {True, False}


def test_several_orders_are_in_force_at_once_and_each_counts(orders: OrdersInForce) -> None:
    late = FaultOrder(Fault.STALL, after=2)
    orders.add(FaultOrder(Fault.SLOW, seconds=1))
    orders.add(late)
    assert [len(orders.struck()) for _ in range(3)] == [1, 1, 2]
    assert [one.order for one in orders.due(Fault.STALL)] == [late]
    orders.end(late)
    assert orders.plays(Fault.STALL) is None
    assert orders.plays(Fault.SLOW)


def test_passing_fault_is_over_after_its_time_but_a_delay_is_not(orders: OrdersInForce, clock: HandClock) -> None:
    orders.add(FaultOrder(Fault.STALL, seconds=1))
    orders.add(FaultOrder(Fault.SLOW, seconds=1))
    clock.now_ns = 999_999_999
    assert orders.strikes(Fault.STALL)
    clock.now_ns = 1_000_000_000
    assert not orders.strikes(Fault.STALL)
    assert orders.strikes(Fault.SLOW)


def test_mending_ends_a_delay(orders: OrdersInForce) -> None:
    orders.add(FaultOrder(Fault.SLOW, seconds=60))
    waiting = threading.Thread(target=orders.delay, args=(60,))
    waiting.start()
    orders.clear()
    waiting.join(10)
    assert not waiting.is_alive()


def test_mending_ends_everything(orders: OrdersInForce) -> None:
    orders.add(FaultOrder(Fault.STALL))
    orders.clear()
    assert orders.plays(Fault.STALL) is None
