"""A reader that only matches gives the agent no image, and the agent says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.capturing import Booth
from agent.clocks import StoppableClock
from agent.config import parse_config
from agent.devices import Devices
from agent.modalities import load_modalities
from drivers.fprintd import FprintdDriver
from hal import Deadline, Unsupported, available_drivers
from simulators.devices.dbus import PrivateBus
from simulators.devices.libfprint_reader import VirtualFprintd
from tests.agent.people import QuietPrompter
from tests.agent.test_config import COMPLETE, PIN

pytestmark = pytest.mark.skipif(not Path("/usr/libexec/fprintd").exists(), reason="needs apt-get install fprintd")


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as bus, VirtualFprintd(bus):
        yield bus


def test_a_reader_without_images_is_refused_and_released(bus: PrivateBus) -> None:
    pinned = available_drivers()["fprintd"].sha256
    options = f'driver = "fprintd"\nsha256 = "{pinned}"\noptions = {{ bus = "{bus.address}" }}'
    text = COMPLETE.replace(f'driver = "uru4000"\nsha256 = "{PIN}"', options)
    config = parse_config(text.encode())
    modalities = load_modalities(config)
    devices = Devices(config, modalities)
    assert devices.identify("fingerprint").driver == "fprintd"
    booth = Booth(
        "node-a", "alice", "challenge", devices, modalities, QuietPrompter(), StoppableClock(threading.Event())
    )
    with (
        booth.session("fingerprint", 1, Deadline.after(20)) as session,
        pytest.raises(Unsupported, match="only says whether a finger matched") as caught,
    ):
        session.take(1)
    assert "delivers images" in caught.value.remedy
    FprintdDriver().open({"bus": bus.address}).close()
