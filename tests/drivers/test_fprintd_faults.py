"""What goes wrong at fprintd and around it: the right error in time, and a usable reader afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from drivers.fprintd import FprintdDriver, FprintdReader
from drivers.fprintd._errors import POLICY
from hal import (
    Busy,
    Deadline,
    DeviceError,
    Disconnected,
    Finger,
    NotFound,
    PermissionDenied,
    ProtocolError,
    Reopening,
    TimedOut,
)
from simulators.devices.dbus import BusService, Call, PrivateBus, Refusal, Reply
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.libfprint_reader import SERVICE, VirtualFprintd
from tests.drivers.system_bus import members, needs_bus, needs_fprintd, refused, soon

pytestmark = needs_bus
DEVICE_PATH, DEVICE = "/net/reactivated/Fprint/Device/0", "net.reactivated.Fprint.Device"


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as bus:
        yield bus


@pytest.fixture
def daemon(bus: PrivateBus) -> Iterator[VirtualFprintd]:
    with VirtualFprintd(bus) as daemon:
        yield daemon


def opened(bus: PrivateBus, deadline: Deadline | None = None) -> FprintdReader:
    return FprintdDriver().open({"bus": bus.address}, deadline or soon())


def enrol(reader: FprintdReader, daemon: VirtualFprintd) -> None:
    reader.enrol(Finger.LEFT_THUMB, soon(), lambda stage: stage.passed < stage.stages and daemon.scan("alice"))


def enrolled(bus: PrivateBus, daemon: VirtualFprintd) -> FprintdReader:
    reader = opened(bus)
    enrol(reader, daemon)
    return reader


def assert_usable(bus: PrivateBus, daemon: VirtualFprintd) -> None:
    with opened(bus) as reader:
        enrol(reader, daemon)
        assert reader.verify(soon(), lambda: daemon.scan("alice")).matched


AT_OPENING: dict[Fault, type[DeviceError]] = {
    Fault.STALL: TimedOut,
    Fault.SERVER_DEATH: NotFound,
    Fault.BUSY: Busy,
    Fault.PERMISSION_DENIED: PermissionDenied,
    Fault.SLOW: TimedOut,
}
IN_USE: dict[Fault, type[DeviceError]] = {
    Fault.STALL: TimedOut,
    Fault.SERVER_DEATH: Disconnected,
    Fault.UNPLUG: Disconnected,
    Fault.PERMISSION_DENIED: PermissionDenied,
}


@needs_fprintd
@pytest.mark.parametrize("fault", AT_OPENING)
def test_a_fault_at_opening(bus: PrivateBus, daemon: VirtualFprintd, fault: Fault) -> None:
    before = members(bus)
    daemon.inject(FaultOrder(fault, seconds=30 if fault is Fault.SLOW else 0))
    refused(AT_OPENING[fault], lambda deadline: opened(bus, deadline), 0.5)
    daemon.mend()
    assert_usable(bus, daemon)
    assert len(members(bus)) == len(before)


@needs_fprintd
@pytest.mark.parametrize("fault", IN_USE)
def test_a_fault_before_a_scan(bus: PrivateBus, daemon: VirtualFprintd, fault: Fault) -> None:
    with enrolled(bus, daemon) as reader:
        daemon.inject(FaultOrder(fault))
        # libfprint's virtual reader notices that it was unplugged after half a second.
        refused(IN_USE[fault], reader.verify, 1.5 if fault is Fault.UNPLUG else 0.5)
    daemon.mend()
    assert_usable(bus, daemon)


@needs_fprintd
@pytest.mark.parametrize("fault", [Fault.STALL, Fault.SERVER_DEATH, Fault.UNPLUG])
@pytest.mark.parametrize("action", ["verify", "enrol"])
def test_a_fault_during_a_scan(bus: PrivateBus, daemon: VirtualFprintd, fault: Fault, action: str) -> None:
    order = FaultOrder(fault)
    works: dict[str, Callable[[FprintdReader, Deadline], Any]] = {
        "verify": lambda reader, deadline: reader.verify(deadline, lambda: daemon.inject(order)),
        "enrol": lambda reader, deadline: reader.enrol(Finger.LEFT_RING, deadline, lambda _: daemon.inject(order)),
    }
    with enrolled(bus, daemon) as reader:
        refused(IN_USE[fault], lambda deadline: works[action](reader, deadline), 1.5)
    daemon.mend()
    assert_usable(bus, daemon)


@needs_fprintd
def test_no_fault_no_error(bus: PrivateBus, daemon: VirtualFprintd) -> None:
    """The negative control of the faults: mending alone disturbs nothing."""
    daemon.mend()
    assert_usable(bus, daemon)


@needs_fprintd
def test_a_slow_daemon_is_waited_for(bus: PrivateBus, daemon: VirtualFprintd) -> None:
    daemon.inject(FaultOrder(Fault.SLOW, seconds=0.1))
    with opened(bus) as reader:
        assert reader.enrolled(soon()) == ()


@needs_fprintd
def test_a_reader_that_fails_is_claimed_afresh(bus: PrivateBus, daemon: VirtualFprintd) -> None:
    with enrolled(bus, daemon) as reader:
        error = refused(DeviceError, lambda deadline: reader.verify(deadline, lambda: daemon.command("ERROR 4")))
        assert "journalctl" in error.remedy
        assert not isinstance(error, Disconnected)
        assert reader.verify(soon(), lambda: daemon.scan("alice")).matched


@needs_fprintd
def test_a_reader_is_opened_again_when_its_daemon_comes_back(bus: PrivateBus, daemon: VirtualFprintd) -> None:
    died: list[bool] = []

    def scan() -> None:
        if died:
            daemon.scan("alice")
            return
        died.append(True)
        daemon.inject(FaultOrder(Fault.SERVER_DEATH))
        daemon.mend()

    enrolled(bus, daemon).close()
    with Reopening(lambda deadline: opened(bus, deadline)) as held:
        assert held.run(lambda reader: reader.verify(soon(), scan), soon()).matched
    assert died


@needs_fprintd
def test_what_polkit_refuses_names_the_rule(bus: PrivateBus, daemon: VirtualFprintd) -> None:
    with enrolled(bus, daemon) as reader:
        daemon.polkit.refused = frozenset({"net.reactivated.fprint.device.enroll"})
        assert refused(PermissionDenied, lambda deadline: reader.enrol(Finger.LEFT_RING, deadline)).remedy == POLICY
        assert reader.verify(soon(), lambda: daemon.scan("alice")).matched


def test_without_fprintd_the_package_is_named(bus: PrivateBus) -> None:
    assert "apt-get install fprintd" in refused(NotFound, lambda deadline: opened(bus, deadline)).remedy
    with pytest.raises(NotFound, match=SERVICE):
        FprintdDriver().list({"bus": bus.address})


@dataclass
class Cheat:
    """A member of the bus that sends the driver a match, although it is not fprintd."""

    bus: PrivateBus
    target: str
    status: Reply = field(default_factory=lambda: Reply("sb", ("verify-match", True)))

    def send(self) -> None:
        with BusService(self.bus, "example.mallory.Cheat") as mallory:
            mallory.emit(DEVICE_PATH, DEVICE, "VerifyStatus", self.status, destination=self.target)
            mallory.emit(DEVICE_PATH, DEVICE, "VerifyStatus", self.status)


@needs_fprintd
def test_a_match_that_another_member_of_the_bus_sends_does_not_count(bus: PrivateBus, daemon: VirtualFprintd) -> None:
    before = members(bus)
    with enrolled(bus, daemon) as reader:
        (target,) = members(bus) - before
        cheat = Cheat(bus, target)
        refused(TimedOut, lambda deadline: reader.verify(deadline, cheat.send), 0.5)

        def cheat_then_scan() -> None:
            cheat.send()
            daemon.scan("mallory")

        assert not reader.verify(soon(), cheat_then_scan).matched


class ScriptedFprintd(BusService):
    """Owns fprintd's name, grants everything, and answers a scan by the signals of its script."""

    def __init__(self, bus: PrivateBus, *script: Reply, name: Any = ("s", "Scripted reader"), claim: str = "") -> None:
        self.script = script
        self.stops: list[str] = []
        self._name = name
        self._claim = claim
        super().__init__(bus, SERVICE)

    def answer(self, call: Call) -> Reply:
        if call.member == "GetDevices":
            return Reply("ao", ([DEVICE_PATH],))
        if call.member == "GetAll":
            return Reply("a{sv}", ({"name": self._name, "num-enroll-stages": ("i", 3)},))
        if call.member == "Claim" and self._claim:
            raise Refusal(self._claim, "no")
        if call.member in {"VerifyStart", "EnrollStart"}:
            threading.Thread(target=self._play, args=(call.member.removesuffix("Start"), call.sender)).start()
        elif call.member.endswith("Stop"):
            self.stops.append(call.member)
        return Reply()

    def _play(self, action: str, to: str) -> None:
        for reply in self.script:
            self.emit(DEVICE_PATH, DEVICE, f"{action}Status", reply, destination=to)


def test_a_genuine_match_of_the_owner_counts(bus: PrivateBus) -> None:
    """The negative control of the cheats: the same signal of the name's owner is taken."""
    with ScriptedFprintd(bus, Reply("sb", ("verify-match", True))) as service, opened(bus) as reader:
        assert reader.verify(soon()).matched
        assert service.stops == ["VerifyStop"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Reply("sb", ("verify-disconnected", True)), Disconnected),
        (Reply("sb", ("verify-unknown-error", True)), DeviceError),
        (Reply("sb", ("verify-match", False)), ProtocolError),
        (Reply("sb", ("verify-retry-scan", True)), ProtocolError),
        (Reply("sb", ("match-verify", True)), ProtocolError),
        (Reply("sb", ("", True)), ProtocolError),
        (Reply("sb", ("\x1b[2J" * 1000, True)), ProtocolError),
        (Reply("bs", (True, "verify-match")), ProtocolError),
        (Reply("s", ("verify-match",)), ProtocolError),
        (Reply("(sb)", (("verify-match", True),)), ProtocolError),
        (Reply("", ()), ProtocolError),
    ],
)
def test_a_status_that_is_no_verdict_ends_the_scan(bus: PrivateBus, status: Reply, kind: type[DeviceError]) -> None:
    with ScriptedFprintd(bus, status) as service, opened(bus) as reader:
        error = refused(kind, reader.verify)
        assert len(str(error)) < 300
        assert service.stops[:1] == ["VerifyStop"]


@pytest.mark.parametrize(
    ("status", "named"),
    [("enroll-failed", "no template"), ("enroll-data-full", "memory"), ("enroll-duplicate", "already")],
)
def test_an_enrolment_that_fails_says_why(bus: PrivateBus, status: str, named: str) -> None:
    with ScriptedFprintd(bus, Reply("sb", (status, True))) as service, opened(bus) as reader:
        assert named in str(refused(DeviceError, lambda deadline: reader.enrol(Finger.LEFT_THUMB, deadline)))
        assert service.stops == ["EnrollStop"]


def test_the_rest_of_a_scan_does_not_answer_the_next_one(bus: PrivateBus) -> None:
    twice = (Reply("sb", ("verify-no-match", True)), Reply("sb", ("verify-match", True)))
    with ScriptedFprintd(bus, *twice) as service, opened(bus) as reader:
        assert not reader.verify(soon()).matched
        service.script = ()
        refused(TimedOut, reader.verify, 0.5)


@pytest.mark.parametrize("name", [("i", 7), ("as", ["a", "b"]), ("v", ("s", "hidden"))])
def test_a_reader_without_a_proper_name_is_refused(bus: PrivateBus, name: Any) -> None:
    with ScriptedFprintd(bus, name=name):
        refused(ProtocolError, lambda deadline: opened(bus, deadline))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("net.reactivated.Fprint.Error.AlreadyInUse", Busy),
        ("net.reactivated.Fprint.Error.PermissionDenied", PermissionDenied),
        ("net.reactivated.Fprint.Error.NoSuchDevice", NotFound),
        ("net.reactivated.Fprint.Error.Internal", DeviceError),
        ("org.freedesktop.DBus.Error.UnknownObject", Disconnected),
        ("org.freedesktop.DBus.Error.NoReply", TimedOut),
        ("example.Unheard.Of", DeviceError),
    ],
)
def test_an_error_of_the_daemon_has_its_kind(bus: PrivateBus, error: str, kind: type[DeviceError]) -> None:
    before = members(bus)
    with ScriptedFprintd(bus, claim=error):
        refused(kind, lambda deadline: opened(bus, deadline))
    assert members(bus) == before


@pytest.mark.parametrize("fault", [Fault.CORRUPT, Fault.STALL, Fault.PERMISSION_DENIED])
@pytest.mark.parametrize("after", range(4))
def test_a_service_that_fails_half_way(bus: PrivateBus, fault: Fault, after: int) -> None:
    kinds = {
        Fault.CORRUPT: ProtocolError,
        Fault.STALL: TimedOut,
        Fault.PERMISSION_DENIED: PermissionDenied,
    }
    with ScriptedFprintd(bus, Reply("sb", ("verify-match", True))) as service:

        def work(deadline: Deadline) -> None:
            with opened(bus, deadline) as reader:
                reader.verify(deadline)

        service.inject(FaultOrder(fault, after=after))
        before = members(bus)
        refused(kinds[fault], work, 0.5)
        assert members(bus) == before
        service.mend()
        work(soon())


def test_a_daemon_that_was_replaced_is_not_believed(bus: PrivateBus) -> None:
    with ScriptedFprintd(bus) as service, opened(bus) as reader:

        def replace() -> None:
            service.inject(FaultOrder(Fault.SERVER_DEATH))
            service.script = (Reply("sb", ("verify-match", True)),)
            service.mend()

        refused(Disconnected, lambda deadline: reader.verify(deadline, replace))
        refused(Disconnected, reader.verify)
    with ScriptedFprintd(bus, Reply("sb", ("verify-match", True))), opened(bus) as reader:
        assert reader.verify(soon()).matched
