"""Presence by a local seat, against a logind that behaves, on a bus of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from drivers.logind_seat import LogindSeat, LogindSeatDriver
from hal import (
    Absence,
    Capability,
    Device,
    DeviceError,
    DeviceKind,
    Disconnected,
    NotFound,
    PermissionDenied,
    Presence,
    ProtocolError,
    TimedOut,
    Transport,
)
from simulators.devices.dbus import PrivateBus
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.logind_service import LogindService, SeatSession
from tests.drivers.system_bus import members, needs_bus, refused, soon
from tests.leaks import leaked, open_descriptors

pytestmark = needs_bus
CONSOLE = SeatSession("2")
OVER_SSH = SeatSession("c7", user="mallory", seat="", remote=True)


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as bus:
        yield bus


@pytest.fixture
def logind(bus: PrivateBus) -> Iterator[LogindService]:
    with LogindService(bus) as logind:
        yield logind


@pytest.fixture
def seat(bus: PrivateBus, logind: LogindService) -> Iterator[LogindSeat]:
    with LogindSeatDriver().open({"bus": bus.address}) as seat:
        yield seat


def absence(seat: LogindSeat, reason: str) -> Absence:
    found = seat.confirm(soon())
    assert isinstance(found, Absence)
    assert reason in found.reason
    assert found.remedy
    return found


def test_a_seat_says_what_it_is(bus: PrivateBus, seat: LogindSeat) -> None:
    (listed,) = LogindSeatDriver().list({"bus": bus.address})
    assert isinstance(seat, Device)
    assert seat.info == listed
    assert (listed.kind, listed.transport, listed.port) == (DeviceKind.PRESENCE, Transport.VIRTUAL, "seat0")
    assert listed.capabilities == {Capability.SHARED}


def test_somebody_at_the_console_is_present(logind: LogindService, seat: LogindSeat) -> None:
    logind.log_in(CONSOLE)
    found = seat.confirm(soon(), lambda: pytest.fail("a seat does not wait"))
    assert isinstance(found, Presence)
    assert (found.kind, found.detail) == ("seat", "session 2 of alice at seat0")
    assert seat.confirm(soon()).checked_ns > found.checked_ns  # type: ignore[union-attr]


def test_who_asks_from_the_console_is_present(logind: LogindService, seat: LogindSeat) -> None:
    logind.log_in(CONSOLE)
    logind.run_in(os.getpid(), "2")
    assert isinstance(seat.confirm(soon()), Presence)


def test_an_empty_seat_is_nobody(logind: LogindService, seat: LogindSeat) -> None:
    absence(seat, "nobody is logged in")
    logind.log_in(CONSOLE)
    assert isinstance(seat.confirm(soon()), Presence)
    logind.log_out("2")
    absence(seat, "nobody is logged in")


def test_somebody_over_the_network_is_nobody(logind: LogindService, seat: LogindSeat) -> None:
    logind.log_in(OVER_SSH)
    absence(seat, "nobody is logged in")


def test_who_asks_over_the_network_is_refused_even_when_somebody_else_is_there(
    logind: LogindService, seat: LogindSeat
) -> None:
    logind.log_in(CONSOLE)
    logind.log_in(OVER_SSH)
    assert isinstance(seat.confirm(soon()), Presence)
    logind.run_in(os.getpid(), "c7")
    absence(seat, "is remote")


def test_the_environment_does_not_say_which_session_asks(
    logind: LogindService, seat: LogindSeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    logind.log_in(CONSOLE)
    logind.log_in(OVER_SSH)
    logind.run_in(os.getpid(), "c7")
    for name, value in {"XDG_SESSION_ID": "2", "XDG_SEAT": "seat0", "XDG_SESSION_CLASS": "user"}.items():
        monkeypatch.setenv(name, value)
    absence(seat, "is remote")


def test_a_session_in_the_background_of_its_seat_is_not_the_one(logind: LogindService, seat: LogindSeat) -> None:
    logind.log_in(CONSOLE)
    logind.log_in(SeatSession("5", user="bob"))
    logind.run_in(os.getpid(), "2")
    absence(seat, "is not the active one")
    logind.switch_to("2")
    assert isinstance(seat.confirm(soon()), Presence)


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        (SeatSession("c1", user="gdm", kind="greeter"), "greeter"),
        (SeatSession("c1", kind="lock-screen"), "lock-screen"),
        (SeatSession("c1", kind="background"), "background"),
        (SeatSession("c1", kind="manager"), "manager"),
        (SeatSession("c1", remote=True), "remote"),
    ],
)
def test_what_is_no_local_person_is_nobody(
    logind: LogindService, seat: LogindSeat, session: SeatSession, reason: str
) -> None:
    logind.log_in(session)
    absence(seat, reason)


def test_a_locked_session_is_nobody_until_it_is_unlocked(logind: LogindService, seat: LogindSeat) -> None:
    logind.log_in(CONSOLE)
    logind.lock_screen("2")
    assert absence(seat, "locked").remedy == "Unlock it."
    logind.lock_screen("2", locked=False)
    assert isinstance(seat.confirm(soon()), Presence)


@pytest.mark.parametrize(
    "odd",
    [
        {"Remote": ("s", "no")},
        {"Remote": ("u", 0)},
        {"Active": ("v", ("b", True))},
        {"Seat": ("s", "seat0")},
        {"Class": ("as", ["user"])},
        {"LockedHint": ("i", 0)},
    ],
)
def test_a_property_of_another_type_is_no_presence(
    logind: LogindService, seat: LogindSeat, odd: dict[str, Any]
) -> None:
    logind.log_in(CONSOLE)
    logind.misreport(**odd)
    refused(ProtocolError, seat.confirm)


def test_a_seat_that_there_is_not(bus: PrivateBus, logind: LogindService) -> None:
    options = {"bus": bus.address, "seat": "seat-usb1"}
    assert "loginctl" in refused(NotFound, lambda deadline: LogindSeatDriver().open(options, deadline)).remedy
    assert LogindSeatDriver().list(options) == []


def test_without_logind_nobody_can_be_told(bus: PrivateBus) -> None:
    error = refused(NotFound, lambda deadline: LogindSeatDriver().open({"bus": bus.address}, deadline))
    assert "systemd-logind" in error.remedy
    with pytest.raises(NotFound):
        LogindSeatDriver().list({"bus": bus.address})


FAULTS: dict[Fault, type[DeviceError]] = {
    Fault.STALL: TimedOut,
    Fault.SLOW: TimedOut,
    Fault.CORRUPT: ProtocolError,
    Fault.PERMISSION_DENIED: PermissionDenied,
    Fault.SERVER_DEATH: Disconnected,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("after", range(3))
def test_a_fault_of_logind_is_an_error_and_never_presence(
    bus: PrivateBus, logind: LogindService, fault: Fault, after: int
) -> None:
    logind.log_in(CONSOLE)
    with LogindSeatDriver().open({"bus": bus.address}) as seat:
        logind.inject(FaultOrder(fault, after=after, seconds=30 if fault is Fault.SLOW else 0))
        refused(FAULTS[fault], seat.confirm, 0.5)
    logind.mend()
    with LogindSeatDriver().open({"bus": bus.address}) as seat:
        assert isinstance(seat.confirm(soon()), Presence)


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.CORRUPT, Fault.PERMISSION_DENIED])
def test_a_fault_at_opening_leaves_no_member_behind(bus: PrivateBus, logind: LogindService, fault: Fault) -> None:
    before = members(bus)
    logind.inject(FaultOrder(fault))
    refused(FAULTS[fault], lambda deadline: LogindSeatDriver().open({"bus": bus.address}, deadline), 0.5)
    assert members(bus) == before


def test_two_may_ask_at_once_and_nothing_is_left(bus: PrivateBus, logind: LogindService) -> None:
    logind.log_in(CONSOLE)
    driver, descriptors = LogindSeatDriver(), open_descriptors()
    with driver.open({"bus": bus.address}) as one, driver.open({"bus": bus.address}) as other:
        assert isinstance(one.confirm(soon()), Presence)
        assert isinstance(other.confirm(soon()), Presence)
    for _ in range(20):
        driver.open({"bus": bus.address}).close()
    assert not leaked(descriptors, 20)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seat": 7}, "seat"),
        ({"seat": "../seat0"}, "seat"),
        ({"seat": ""}, "seat"),
        ({"sest": "seat0"}, "sest"),
        ({"bus": 1}, "bus"),
    ],
)
def test_a_malformed_option_is_named(options: dict[str, Any], named: str) -> None:
    for work in (LogindSeatDriver().list, LogindSeatDriver().open):
        with pytest.raises(DeviceError, match=f"'{named}'") as caught:
            work(options)
        assert caught.value.remedy
