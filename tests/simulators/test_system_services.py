"""The private bus, the services on it, and the button: each behaves without any driver of ours."""

from __future__ import annotations

import os
import select
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jeepney import DBusAddress, DBusErrorResponse, Properties, new_method_call
from jeepney.wrappers import unwrap_msg

from hal import DeviceError
from simulators.devices.dbus import BusService, PrivateBus
from simulators.devices.evdev_button import KEY, EvdevButton
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.libfprint_reader import VirtualFprintd
from simulators.devices.logind_service import SERVICE, LogindService, SeatSession
from simulators.devices.polkit_service import AUTHORITY, PolkitAuthority

needs_bus = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs apt-get install dbus")
needs_fprintd = pytest.mark.skipif(shutil.which("fprintd-list") is None, reason="needs apt-get install fprintd")
MANAGER = DBusAddress("/org/freedesktop/login1", SERVICE, f"{SERVICE}.Manager")


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as bus:
        yield bus


@needs_bus
def test_a_bus_ends_and_leaves_nothing() -> None:
    with PrivateBus() as bus:
        bus.connect().close()
        folder = bus.folder
    assert not folder.exists()
    bus.close()


@needs_bus
def test_a_suspended_bus_ends_too() -> None:
    with PrivateBus() as bus:
        bus.suspend()
    assert not bus.folder.exists()


@needs_bus
def test_a_name_has_one_owner(bus: PrivateBus) -> None:
    with BusService(bus, "example.Name"), pytest.raises(DeviceError, match="owns"):
        BusService(bus, "example.Name")
    with BusService(bus, "example.Name") as again, pytest.raises(ValueError, match="cannot play"):
        again.inject(FaultOrder(Fault.UNPLUG))


@needs_bus
def test_a_process_that_ends_before_it_has_its_name(bus: PrivateBus) -> None:
    with pytest.raises(DeviceError, match="ended"):
        bus.await_name("example.Name", subprocess.Popen(["true"]))


@needs_bus
def test_polkit_refuses_what_it_was_told_to(bus: PrivateBus) -> None:
    subject = ("system-bus-name", {"name": ("s", ":1.1")})
    authority = DBusAddress("/org/freedesktop/PolicyKit1/Authority", AUTHORITY, f"{AUTHORITY}.Authority")
    with PolkitAuthority(bus) as polkit, bus.connect() as client:
        polkit.refused = frozenset({"example.refused"})
        for action in ("example.allowed", "example.refused"):
            body = (subject, action, {}, 0, "")
            call = new_method_call(authority, "CheckAuthorization", "(sa{sv})sa{ss}us", body)
            ((permitted, challenge, _),) = unwrap_msg(client.send_and_get_reply(call, timeout=5))
            assert (permitted, challenge) == (action == "example.allowed", False)
        assert polkit.asked == ["example.allowed", "example.refused"]


def ask_logind(bus: PrivateBus, member: str, signature: str = "", *body: object) -> tuple[object, ...]:
    with bus.connect() as client:
        call = new_method_call(MANAGER, member, signature or None, body)
        return unwrap_msg(client.send_and_get_reply(call, timeout=5))


@needs_bus
def test_logind_knows_who_is_where(bus: PrivateBus) -> None:
    with LogindService(bus) as logind:
        logind.log_in(SeatSession("2"))
        logind.log_in(SeatSession("c1", user="gdm", kind="greeter"))
        (rows,) = ask_logind(bus, "ListSessions")
        assert [row[0] for row in rows] == ["2", "c1"]  # type: ignore[attr-defined]
        logind.run_in(os.getpid(), "2")
        assert ask_logind(bus, "GetSessionByPID", "u", 0) == ("/org/freedesktop/login1/session/_32",)
        assert ask_logind(bus, "GetSessionByPID", "u", os.getpid()) == ("/org/freedesktop/login1/session/_32",)
        logind.log_out("2")
        with pytest.raises(DBusErrorResponse, match="NoSessionForPID"):
            ask_logind(bus, "GetSessionByPID", "u", 0)
        with pytest.raises(DBusErrorResponse, match="NoSuchSeat"):
            ask_logind(bus, "GetSeat", "s", "seat9")


@needs_bus
def test_one_session_of_a_seat_is_active(bus: PrivateBus) -> None:
    def active(path: str) -> bool:
        session = DBusAddress(path, SERVICE, f"{SERVICE}.Session")
        with bus.connect() as client:
            (found,) = unwrap_msg(client.send_and_get_reply(Properties(session).get_all(), timeout=5))
        return bool(found["Active"][1])

    first, second, remote = SeatSession("2"), SeatSession("3", user="bob"), SeatSession("4", seat="", remote=True)
    with LogindService(bus) as logind:
        for session in (first, second, remote):
            logind.log_in(session)
        assert [active(session.path) for session in (first, second, remote)] == [False, True, True]
        logind.switch_to("2")
        assert [active(session.path) for session in (first, second, remote)] == [True, False, True]


@needs_bus
@needs_fprintd
def test_the_packages_own_client_sees_the_virtual_reader(bus: PrivateBus) -> None:
    with VirtualFprintd(bus):
        environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        done = subprocess.run(
            ["fprintd-list", "root"], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
    assert "found 1 devices" in done.stdout
    assert "Virtual device" in done.stdout


@needs_bus
@needs_fprintd
def test_a_fault_of_the_daemon_has_no_messages_to_count(bus: PrivateBus) -> None:
    with VirtualFprintd(bus) as daemon:
        with pytest.raises(ValueError, match="after"):
            daemon.inject(FaultOrder(Fault.STALL, after=1))
        with pytest.raises(ValueError, match="cannot play"):
            daemon.inject(FaultOrder(Fault.LOCKOUT))


def test_a_press_is_what_the_kernel_reports() -> None:
    with EvdevButton(bounce=0.01) as button:
        node = os.open(button.device, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            button.hold()
            pressed = _events(node, 2)
            button.repeat()
            repeated = _events(node, 2)
            button.release()
            assert [*pressed, *repeated, *_events(node, 2)] == [
                (1, KEY, 1),
                (0, 0, 0),
                (1, KEY, 2),
                (0, 0, 0),
                (1, KEY, 0),
                (0, 0, 0),
            ]
            started = time.monotonic()
            button.press()
            assert time.monotonic() - started >= 0.01
        finally:
            os.close(node)


def test_a_button_that_is_unplugged_takes_its_node_along() -> None:
    with EvdevButton(instant=True) as button:
        first = Path(os.path.realpath(button.device))
        node = os.open(button.device, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        button.inject(FaultOrder(Fault.UNPLUG))
        assert not button.device.exists()
        button.press()
        assert _read(node) == b""
        os.close(node)
        button.mend()
        assert button.device.is_char_device()
        assert first.name.isdecimal()
        with pytest.raises(ValueError, match="cannot play"):
            button.inject(FaultOrder(Fault.NV_FULL))


def _read(node: int) -> bytes:
    try:
        return os.read(node, 4096)
    except OSError:
        return b""


def _events(node: int, count: int) -> list[tuple[int, int, int]]:
    """The next events of the node, without their times."""
    event = struct.Struct("llHHi")
    assert select.select([node], [], [], 10)[0]
    return [fields[2:] for fields in event.iter_unpack(os.read(node, count * event.size))]  # type: ignore[misc]
