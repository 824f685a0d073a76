"""The fprintd adapter against the real fprintd, whose reader is libfprint's virtual one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.fprintd import FprintdDriver, FprintdReader
from drivers.fprintd._usb import UsbTree
from hal import (
    Busy,
    Capability,
    Deadline,
    Device,
    DeviceError,
    DeviceKind,
    EnrolStage,
    Finger,
    NotFound,
    ScanHint,
    TimedOut,
    Transport,
)
from simulators.devices.dbus import PrivateBus
from simulators.devices.libfprint_reader import VirtualFprintd
from tests.drivers.system_bus import members, needs_bus, needs_fprintd, refused, soon
from tests.leaks import leaked, open_descriptors

pytestmark = [needs_bus, needs_fprintd]
NOBODY = "nobody-of-this-machine"


@pytest.fixture(scope="module")
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as bus:
        yield bus


@pytest.fixture(params=[False, True], ids=["host-templates", "reader-templates"])
def daemon(bus: PrivateBus, request: pytest.FixtureRequest) -> Iterator[VirtualFprintd]:
    with VirtualFprintd(bus, storage=request.param) as daemon:
        yield daemon
        for user in (bus.folder / "fprintd").iterdir():
            # The next test's daemon starts without templates.
            user.rename(bus.folder / f"old-{os.urandom(8).hex()}")


@pytest.fixture
def reader(bus: PrivateBus, daemon: VirtualFprintd) -> Iterator[FprintdReader]:
    with FprintdDriver().open({"bus": bus.address}) as reader:
        yield reader


def enrol(reader: FprintdReader, daemon: VirtualFprintd, finger: Finger, print_id: str) -> list[EnrolStage]:
    """Enrol, laying the finger on the reader whenever it asks."""
    told: list[EnrolStage] = []

    def on_stage(stage: EnrolStage) -> None:
        told.append(stage)
        if stage.passed < stage.stages:
            daemon.scan(print_id)

    reader.enrol(finger, soon(), on_stage)
    return told


def test_a_reader_says_who_it_is_and_that_it_only_matches(bus: PrivateBus, reader: FprintdReader) -> None:
    (listed,) = FprintdDriver().list({"bus": bus.address})
    assert isinstance(reader, Device)
    assert reader.info == listed
    assert (listed.kind, listed.transport) == (DeviceKind.FINGERPRINT, Transport.VIRTUAL)
    assert listed.capabilities == {Capability.MATCH_ONLY}
    assert listed.name.startswith("Virtual device")
    assert not hasattr(reader, "capture")


def test_the_enrolled_finger_matches_and_another_does_not(reader: FprintdReader, daemon: VirtualFprintd) -> None:
    enrol(reader, daemon, Finger.RIGHT_INDEX, "alice")
    right = reader.verify(soon(), lambda: daemon.scan("alice"))
    wrong = reader.verify(soon(), lambda: daemon.scan("mallory"))
    assert (right.matched, right.sequence) == (True, 1)
    assert (wrong.matched, wrong.sequence) == (False, 2)
    assert right.captured_ns < wrong.captured_ns


def test_enrolment_tells_every_stage(reader: FprintdReader, daemon: VirtualFprintd) -> None:
    stages = enrol(reader, daemon, Finger.LEFT_THUMB, "alice")
    assert [stage.passed for stage in stages] == [*range(stages[0].stages + 1)]
    assert {stage.hint for stage in stages} == {None}


@pytest.mark.parametrize(
    ("code", "hint"),
    [(0, ScanHint.AGAIN), (1, ScanHint.TOO_SHORT), (2, ScanHint.NOT_CENTRED), (3, ScanHint.LIFT_FIRST)],
)
def test_a_scan_that_does_not_count_is_hinted_at(
    reader: FprintdReader, daemon: VirtualFprintd, code: int, hint: ScanHint
) -> None:
    enrol(reader, daemon, Finger.LEFT_THUMB, "alice")
    hints: list[ScanHint] = []

    def on_hint(hint: ScanHint) -> None:
        hints.append(hint)
        daemon.scan("alice")

    outcome = reader.verify(soon(), lambda: daemon.command(f"RETRY {code}"), on_hint)
    assert (outcome.matched, hints) == (True, [hint])


def test_a_scan_that_does_not_count_adds_no_stage(reader: FprintdReader, daemon: VirtualFprintd) -> None:
    told: list[EnrolStage] = []

    def on_stage(stage: EnrolStage) -> None:
        told.append(stage)
        if len(told) == 2:
            daemon.command("RETRY 1")
        elif stage.passed < stage.stages:
            daemon.scan("alice")

    reader.enrol(Finger.LEFT_RING, soon(), on_stage)
    assert [(stage.passed, stage.hint) for stage in told[1:4]] == [(1, None), (1, ScanHint.TOO_SHORT), (2, None)]


def test_templates_are_listed_and_forgotten(reader: FprintdReader, daemon: VirtualFprintd) -> None:
    assert reader.enrolled(soon()) == ()
    enrol(reader, daemon, Finger.LEFT_THUMB, "left")
    enrol(reader, daemon, Finger.RIGHT_THUMB, "right")
    assert reader.enrolled(soon()) == (Finger.RIGHT_THUMB, Finger.LEFT_THUMB)
    reader.forget(Finger.RIGHT_THUMB, soon())
    assert reader.enrolled(soon()) == (Finger.LEFT_THUMB,)
    refused(NotFound, lambda deadline: reader.forget(Finger.RIGHT_THUMB, deadline))


def test_verifying_without_a_template_says_so(reader: FprintdReader) -> None:
    assert "Enrol" in refused(NotFound, reader.verify).remedy


def test_nobody_at_the_reader_is_a_timeout_and_the_next_call_works(
    reader: FprintdReader, daemon: VirtualFprintd
) -> None:
    enrol(reader, daemon, Finger.LEFT_THUMB, "alice")
    refused(TimedOut, reader.verify, 0.5)
    refused(TimedOut, lambda deadline: reader.enrol(Finger.LEFT_RING, deadline), 0.5)
    assert reader.verify(soon(), lambda: daemon.scan("alice")).matched


def test_a_deadline_that_has_passed_starts_no_scan(reader: FprintdReader, daemon: VirtualFprintd) -> None:
    enrol(reader, daemon, Finger.LEFT_THUMB, "alice")
    asked = len(daemon.polkit.asked)
    with pytest.raises(TimedOut):
        reader.verify(Deadline.after(-1))
    assert reader.enrolled(soon()) == (Finger.LEFT_THUMB,)
    assert len(daemon.polkit.asked) == asked + 1


def test_an_interrupted_scan_is_stopped(reader: FprintdReader, daemon: VirtualFprintd) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    enrol(reader, daemon, Finger.LEFT_THUMB, "alice")
    with pytest.raises(KeyboardInterrupt):
        reader.verify(soon(), interrupt)
    assert reader.verify(soon(), lambda: daemon.scan("alice")).matched


def test_one_claimant_at_a_time(bus: PrivateBus, reader: FprintdReader) -> None:
    driver = FprintdDriver()
    refused(Busy, lambda deadline: driver.open({"bus": bus.address}, deadline))
    reader.close()
    reader.close()
    driver.open({"bus": bus.address}).close()


def test_a_claim_ends_with_its_connection(bus: PrivateBus, reader: FprintdReader) -> None:
    """As when the process is killed: the bus sees it leave, and fprintd releases the reader."""
    reader._link.close()
    FprintdDriver().open({"bus": bus.address}, soon()).close()


def test_opening_leaves_no_member_behind(bus: PrivateBus, daemon: VirtualFprintd) -> None:
    driver, before = FprintdDriver(), members(bus)
    descriptors = open_descriptors()
    for _ in range(20):
        driver.open({"bus": bus.address}).close()
        driver.list({"bus": bus.address})
        with pytest.raises(NotFound):
            driver.open({"bus": bus.address, "name": "another reader"})
    assert members(bus) == before
    assert not leaked(descriptors, 20)


@pytest.mark.slow
def test_a_thousand_openings_leave_nothing_behind(bus: PrivateBus, daemon: VirtualFprintd) -> None:
    driver, before = FprintdDriver(), members(bus)
    descriptors = open_descriptors()
    for _ in range(1000):
        driver.open({"bus": bus.address}).close()
    assert members(bus) == before
    assert not leaked(descriptors, 1000)


def test_a_user_that_there_is_not_is_refused(bus: PrivateBus, daemon: VirtualFprintd) -> None:
    with FprintdDriver().open({"bus": bus.address, "user": NOBODY}) as reader:
        assert reader.enrolled(soon()) == ()
    assert "net.reactivated.fprint.device.setusername" in daemon.polkit.asked


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bus": "tcp:host=localhost"}, "bus"),
        ({"bus": "nonsense"}, "bus"),
        ({"bus": 7}, "bus"),
        ({"name": 7}, "name"),
        ({"user": "x" * 300}, "user"),
        ({"vendor_id": "banana"}, "vendor_id"),
        ({"product_id": 70_000}, "product_id"),
        ({"vendor_id": True}, "vendor_id"),
        ({"finger": "left"}, "finger"),
    ],
)
def test_a_malformed_option_is_named(options: dict[str, object], named: str) -> None:
    for work in (FprintdDriver().list, FprintdDriver().open):
        with pytest.raises(DeviceError, match=f"'{named}'") as caught:
            work(options)
        assert caught.value.remedy


def usb_tree(root: Path, *devices: tuple[str, str, str, str]) -> UsbTree:
    """A sysfs with USB devices (port, vendor, product, serial), and a list that supports 05ba:000a and 298d:1010."""
    for port, *values in devices:
        folder = root / "bus/usb/devices" / port
        folder.mkdir(parents=True)
        for name, value in zip(("idVendor", "idProduct", "serial"), values, strict=True):
            if value:
                (folder / name).write_text(f"{value}\n")
    supported = root / "supported.hwdb"
    supported.write_text("# a driver\nusb:v05BAp000A*\nusb:v298Dp1010*\n ID_PERSIST=0\n")
    return UsbTree(root, (root / "absent", supported))


KEYBOARD, READER, SECOND = (
    ("1-1", "046d", "c31c", ""),
    ("1-2.3", "05ba", "000a", "{A1}"),
    ("2-1", "298d", "1010", ""),
)


@pytest.mark.parametrize(
    ("attached", "options", "readers", "port"),
    [
        ((KEYBOARD, READER), {}, 1, "1-2.3"),
        ((KEYBOARD,), {}, 1, ""),
        ((READER, SECOND), {}, 1, ""),
        ((READER, SECOND), {}, 2, ""),
        ((READER, SECOND), {"vendor_id": "298D"}, 1, "2-1"),
        ((READER, SECOND), {"serial": "{A1}"}, 1, "1-2.3"),
        ((READER, KEYBOARD), {"port": "1-1"}, 1, "1-1"),
        ((), {}, 1, ""),
    ],
)
def test_the_usb_identity_is_told_only_where_it_is_certain(
    tmp_path: Path, attached: tuple[tuple[str, str, str, str], ...], options: dict[str, str], readers: int, port: str
) -> None:
    from drivers.fprintd._options import FprintdOptions

    identity = usb_tree(tmp_path, *attached).identity(FprintdOptions.parse(options), readers)
    assert identity.port == port
    assert (identity.vendor_id, identity.product_id) == next(
        ((vendor, product) for place, vendor, product, _ in attached if place == port), ("", "")
    )


def test_a_usb_device_that_is_named_must_be_attached(tmp_path: Path, bus: PrivateBus, daemon: VirtualFprintd) -> None:
    driver = FprintdDriver(usb=usb_tree(tmp_path, READER))
    options = {"bus": bus.address, "vendor_id": 0x298D}
    assert "Plug" in refused(NotFound, lambda deadline: driver.open(options, deadline)).remedy


def test_a_virtual_reader_never_borrows_the_identity_of_a_real_one(
    tmp_path: Path, bus: PrivateBus, daemon: VirtualFprintd
) -> None:
    driver = FprintdDriver(usb=usb_tree(tmp_path, READER))
    (listed,) = driver.list({"bus": bus.address})
    assert (listed.vendor_id, listed.transport) == ("", Transport.VIRTUAL)
    assert driver.list({"bus": bus.address, "vendor_id": "05ba"}) == []
