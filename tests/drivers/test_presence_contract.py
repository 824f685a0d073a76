"""What every presence sensor owes to `hal.PresenceSensor`: one suite over each driver."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from drivers.evdev_button import EvdevButtonDriver
from drivers.logind_seat import LogindSeatDriver
from hal import Absence, Deadline, Device, DeviceError, DeviceKind, Driver, Presence, Transport, load_driver
from simulators.devices.dbus import PrivateBus
from simulators.devices.evdev_button import KEY, EvdevButton
from simulators.devices.faults import Fault, FaultOrder, Faulty
from simulators.devices.logind_service import LogindService, SeatSession
from tests.drivers.system_bus import soon
from tests.leaks import leaked, open_descriptors


@dataclass
class Rig:
    """A sensor's driver, what stands at the other end, and how somebody comes there."""

    name: str
    driver: Driver
    options: Mapping[str, Any]
    model: Faulty
    arrive: Callable[[], None]
    act: Callable[[], None]

    def open(self) -> Any:
        return self.driver.open(self.options)

    def confirm(self, deadline: Deadline) -> Presence | Absence:
        with self.open() as sensor:
            return sensor.confirm(deadline, self.act)


@contextmanager
def seat() -> Iterator[Rig]:
    with PrivateBus() as bus, LogindService(bus) as logind:
        driver = LogindSeatDriver()
        yield Rig(
            "logind-seat",
            driver,
            {"bus": bus.address},
            logind,
            lambda: logind.log_in(SeatSession("2")),
            lambda: pytest.fail("a seat waits for nothing"),
        )


@contextmanager
def button() -> Iterator[Rig]:
    with EvdevButton(instant=True) as model:
        somebody: list[bool] = []
        yield Rig(
            "evdev-button",
            EvdevButtonDriver(model.sysfs, model.devices),
            {"device": str(model.device), "key": KEY},
            model,
            lambda: somebody.append(True),
            lambda: model.press() if somebody else None,
        )


@pytest.fixture(params=[seat, button])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param is seat and shutil.which("dbus-daemon") is None:
        pytest.skip("needs apt-get install dbus")
    with request.param() as rig:
        yield rig


def test_nobody_and_then_somebody(rig: Rig) -> None:
    absent = rig.confirm(Deadline.after(0.2))
    assert isinstance(absent, Absence)
    assert absent.reason
    assert absent.remedy.endswith(".")
    rig.arrive()
    before = time.monotonic_ns()
    present = rig.confirm(soon())
    assert isinstance(present, Presence)
    assert before <= present.checked_ns <= time.monotonic_ns()


def test_it_is_a_simulated_device_that_is_found(rig: Rig) -> None:
    (listed,) = rig.driver.list(rig.options)
    with rig.open() as sensor:
        assert isinstance(sensor, Device)
        assert sensor.info == listed
    assert listed.kind == rig.driver.kind == DeviceKind.PRESENCE
    assert listed.driver == rig.name
    assert listed.transport is Transport.VIRTUAL
    assert load_driver(rig.name, None)[0].kind == DeviceKind.PRESENCE


def test_it_is_released_however_it_is_left(rig: Rig) -> None:
    descriptors = open_descriptors()
    for _ in range(10):
        sensor = rig.open()
        sensor.close()
        sensor.close()
        with pytest.raises(DeviceError):
            sensor.confirm(soon())
        with pytest.raises(KeyboardInterrupt), rig.open():
            raise KeyboardInterrupt
    assert not leaked(descriptors, 10)


def test_no_fault_is_presence_before_it_is_mended(rig: Rig) -> None:
    rig.arrive()
    for fault in sorted(rig.model.faults - {Fault.SLOW}):
        rig.model.inject(FaultOrder(fault, seed=1))
        found: Presence | Absence | None = None
        started = time.monotonic()
        try:
            with rig.driver.open(rig.options, Deadline.after(0.5)) as sensor:
                found = sensor.confirm(Deadline.after(0.5), rig.act)  # type: ignore[attr-defined]
        except DeviceError as error:
            assert error.remedy
        assert time.monotonic() - started < 5
        assert not isinstance(found, Presence)
        rig.model.mend()
        assert isinstance(rig.confirm(soon()), Presence)
