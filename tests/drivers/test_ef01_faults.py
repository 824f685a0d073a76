"""Every fault of a serial line: the right error with its remedy, by the deadline, and the reader usable afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hal import (
    Busy,
    Deadline,
    DeviceError,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    Reopening,
    TimedOut,
)
from simulators.devices.fault_orders import OrderInForce
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.serial_faults import played
from simulators.devices.serial_wire import Message
from tests.drivers.ef01_rig import Ef01Station, ef01_station, grey_noise
from tests.on_time import on_time

NOBODY = 65_534
FINGER_ONLY = 1
"""Messages of a capture before its image: the answer to GenImg."""


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Ef01Station]:
    with ef01_station(tmp_path, packet_bytes=256) as made:
        made.place(grey_noise())
        yield made


def refused(error: type[DeviceError], seconds: float, work: Callable[[Deadline], object]) -> DeviceError:
    """The error of `work`, which must come by the deadline and a tenth."""
    with on_time(seconds), pytest.raises(error) as raised:
        work(Deadline.after(seconds))
    assert raised.value.remedy
    return raised.value


def works_again(station: Ef01Station) -> None:
    station.line.mend()
    with station.open() as reader:
        np.testing.assert_array_equal(reader.capture(Deadline.after(30)).pixels, grey_noise())


def test_every_fault_of_the_line_is_tested_here(station: Ef01Station) -> None:
    tested = {Fault(name) for name in ("unplug", "stall", "short-read", "corrupt", "busy", "permission-denied", "slow")}
    assert station.line.faults == tested
    with pytest.raises(ValueError, match="cannot play"):
        station.line.inject(FaultOrder(Fault.LOCKOUT))


@pytest.mark.parametrize("after", [0, 1, 40])
def test_unplugged(station: Ef01Station, after: int) -> None:
    """At once, between the finger and its image, and in the middle of the image."""
    with station.open() as reader:
        station.line.inject(FaultOrder(Fault.UNPLUG, after=after))
        refused(Disconnected, 5, reader.capture)
    error = refused(NotFound, 5, station.open)
    assert "Plug" in error.remedy
    works_again(station)


def test_a_reader_that_comes_back_is_opened_again(station: Ef01Station) -> None:
    with Reopening(station.open) as held:
        station.line.inject(FaultOrder(Fault.UNPLUG, after=40, seconds=0.3))
        image = held.run(lambda reader: reader.capture(Deadline.after(30)), Deadline.after(30))
    np.testing.assert_array_equal(image.pixels, grey_noise())


@pytest.mark.parametrize("after", [0, FINGER_ONLY, 40])
def test_stalled(station: Ef01Station, after: int) -> None:
    with station.open() as reader:
        station.line.inject(FaultOrder(Fault.STALL, after=after))
        refused(TimedOut, 0.3, reader.capture)
        station.line.mend()
        np.testing.assert_array_equal(reader.capture(Deadline.after(30)).pixels, grey_noise())


def test_stalled_for_good_is_noticed_before_a_generous_deadline(station: Ef01Station) -> None:
    with station.open() as reader:
        station.line.inject(FaultOrder(Fault.STALL, after=FINGER_ONLY))
        error = refused(TimedOut, 20, reader.capture)
    assert "does not answer" in str(error)
    works_again(station)


def test_stalled_while_opening(station: Ef01Station) -> None:
    station.line.inject(FaultOrder(Fault.STALL))
    refused(TimedOut, 0.3, station.open)
    works_again(station)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(Fault.STALL, TimedOut, marks=pytest.mark.slow),
        pytest.param(Fault.SHORT_READ, ProtocolError, marks=pytest.mark.slow),
        (Fault.CORRUPT, ProtocolError),
    ],
)
def test_no_rate_helps(station: Ef01Station, fault: Fault, error: type[DeviceError]) -> None:
    """With all the time it wants, opening tries every rate before it says what is wrong."""
    station.line.inject(FaultOrder(fault))
    raised = refused(error, 15, station.open)
    assert "any rate" in str(raised)
    assert "wiring" in raised.remedy
    works_again(station)


@pytest.mark.parametrize("fault", [Fault.SHORT_READ, Fault.CORRUPT])
def test_nothing_but_damage(station: Ef01Station, fault: Fault) -> None:
    with station.open() as reader:
        station.line.inject(FaultOrder(fault, after=FINGER_ONLY))
        error = refused(ProtocolError, 20, reader.capture)
    assert "cable" in error.remedy
    works_again(station)


@pytest.mark.parametrize("order", [FaultOrder(Fault.SHORT_READ, rate=0.05), FaultOrder(Fault.CORRUPT, rate=0.001)])
def test_some_damage_is_overcome(station: Ef01Station, order: FaultOrder) -> None:
    with station.open() as reader:
        station.line.inject(order)
        np.testing.assert_array_equal(reader.capture(Deadline.after(30)).pixels, grey_noise())


def test_held_by_another_program(station: Ef01Station) -> None:
    station.line.inject(FaultOrder(Fault.BUSY))
    assert "other program" in refused(Busy, 5, station.open).remedy
    works_again(station)


@pytest.fixture
def unprivileged(station: Ef01Station) -> Iterator[dict[str, str]]:
    """The port's own node as an option, without the superuser's rights, whom no permission binds."""
    node = {"port": str(station.line.node)}
    if os.geteuid() != 0:
        yield node
        return
    os.chown(node["port"], NOBODY, -1)
    os.seteuid(NOBODY)
    yield node
    os.seteuid(0)


def test_not_permitted(station: Ef01Station, unprivileged: dict[str, str]) -> None:
    station.open(**unprivileged).close()
    station.line.inject(FaultOrder(Fault.PERMISSION_DENIED))
    error = refused(PermissionDenied, 5, lambda deadline: station.open(deadline, **unprivileged))
    assert "dialout" in error.remedy
    station.line.mend()
    station.open(**unprivileged).close()


def test_slow(station: Ef01Station) -> None:
    with station.open() as reader:
        station.line.inject(FaultOrder(Fault.SLOW, seconds=0.2))
        np.testing.assert_array_equal(reader.capture(Deadline.after(30)).pixels, grey_noise())
        station.line.inject(FaultOrder(Fault.SLOW, seconds=2))
        refused(TimedOut, 0.3, reader.capture)
        station.line.mend()
        np.testing.assert_array_equal(reader.capture(Deadline.after(30)).pixels, grey_noise())


def test_a_fault_that_passes_by_itself(station: Ef01Station) -> None:
    with station.open() as reader:
        station.line.inject(FaultOrder(Fault.STALL, seconds=0.5))
        np.testing.assert_array_equal(reader.capture(Deadline.after(30)).pixels, grey_noise())


def test_the_same_seed_spoils_the_same_bytes() -> None:
    def spoilt(seed: int) -> list[Message]:
        order = OrderInForce(FaultOrder(Fault.CORRUPT, rate=0.05, seed=seed))
        return played(order, [Message(bytes(200), 57_600)])

    assert spoilt(1) == spoilt(1)
    assert spoilt(1) != spoilt(2)
