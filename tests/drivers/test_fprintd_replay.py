"""The adapter over fprintd, libfprint's own reader driver, and the recording of a real NB-1010-U."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from drivers.fprintd import FprintdDriver
from drivers.fprintd._usb import SUPPORTED, UsbTree
from hal import EnrolStage, Finger, NotFound
from simulators.devices.dbus import PrivateBus
from simulators.devices.libfprint_reader import ReplayedFprintd
from tests.drivers.system_bus import needs_bus, needs_fprintd, refused, soon

pytestmark = [
    needs_bus,
    needs_fprintd,
    pytest.mark.realdata,
    pytest.mark.skipif(shutil.which("umockdev-run") is None, reason="needs apt-get install umockdev"),
    pytest.mark.skipif(not any(path.is_file() for path in SUPPORTED), reason="libfprint's list is elsewhere"),
]


def test_a_real_reader_is_identified_enrolled_and_matched(real_data: Path) -> None:
    with PrivateBus() as bus, ReplayedFprintd(bus, real_data / "traces" / "nb1010") as daemon:
        driver = FprintdDriver(usb=UsbTree(daemon.sysfs))
        options = {"bus": bus.address}
        (listed,) = driver.list(options)
        assert (listed.vendor_id, listed.product_id, listed.port) == ("298d", "1010", "1-7")
        assert "NB-1010" in listed.name
        stages: list[EnrolStage] = []
        with driver.open(options) as reader:
            assert reader.info == listed
            reader.enrol(Finger.RIGHT_INDEX, soon(), stages.append)
            assert stages[-1].passed == stages[-1].stages
            assert reader.enrolled(soon()) == (Finger.RIGHT_INDEX,)
            assert reader.verify(soon()).matched
        named = options | {"vendor_id": "298d", "port": "1-7"}
        driver.open(named).close()
        refused(NotFound, lambda deadline: driver.open(named | {"port": "1-8"}, deadline))
