"""Which message a fault strikes: orders, seeds, and faults that pass."""

from __future__ import annotations

import pytest

from hal import SystemClock
from simulators.devices.fault_plan import FaultPlan
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
def plan(clock: HandClock) -> FaultPlan:
    return FaultPlan(frozenset(Fault), clock)


def hits(plan: FaultPlan, fault: Fault, count: int) -> list[bool]:
    return [plan.strikes(fault) is not None for _ in range(count)]


def test_no_order_strikes_nothing(plan: FaultPlan) -> None:
    assert not any(hits(plan, Fault.STALL, 5))


def test_messages_before_the_fault_pass(plan: FaultPlan) -> None:
    plan.inject(FaultOrder(Fault.STALL, after=2))
    assert hits(plan, Fault.STALL, 4) == [False, False, True, True]
    assert not any(hits(plan, Fault.BUSY, 4))


def test_the_same_seed_hits_the_same_messages_and_bytes(plan: FaultPlan) -> None:
    def played(seed: int) -> tuple[list[bool], bytes | None]:
        plan.inject(FaultOrder(Fault.SHORT_READ, rate=0.5, seed=seed))
        plan.inject(FaultOrder(Fault.CORRUPT, rate=0.1, seed=seed))
        return hits(plan, Fault.SHORT_READ, 64), plan.corrupted(bytes(1000))

    assert played(1) == played(1) != played(2)
    assert 16 < sum(played(1)[0]) < 48


@pytest.mark.parametrize(("rate", "changed"), [(0.0, 0), (0.1, 100), (1.0, 1000)])
def test_share_of_the_bytes_is_changed(plan: FaultPlan, rate: float, changed: int) -> None:
    plan.inject(FaultOrder(Fault.CORRUPT, rate=rate))
    spoilt = plan.corrupted(bytes(1000))
    assert spoilt is not None
    assert len(spoilt) - spoilt.count(0) == changed


def test_passing_fault_is_over_after_its_time_but_a_delay_is_not(plan: FaultPlan, clock: HandClock) -> None:
    plan.inject(FaultOrder(Fault.STALL, seconds=1))
    plan.inject(FaultOrder(Fault.SLOW, seconds=1))
    clock.now_ns = 999_999_999
    assert plan.strikes(Fault.STALL)
    clock.now_ns = 1_000_000_000
    assert not plan.strikes(Fault.STALL)
    assert plan.strikes(Fault.SLOW)


def test_mending_ends_everything(plan: FaultPlan) -> None:
    plan.inject(FaultOrder(Fault.STALL))
    plan.mend()
    assert plan.ordered(Fault.STALL) is None
