"""Presence by a button, over a device node that yields what the kernel's evdev does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.evdev_button import EvdevButton as Button
from drivers.evdev_button import EvdevButtonDriver, _bits
from hal import (
    Absence,
    Capability,
    Deadline,
    Device,
    DeviceError,
    DeviceKind,
    Disconnected,
    NotFound,
    PermissionDenied,
    Presence,
    ProtocolError,
    Transport,
    Unsupported,
)
from simulators.devices.evdev_button import KEY, EvdevButton
from simulators.devices.faults import Fault, FaultOrder
from tests.drivers.system_bus import refused, soon
from tests.leaks import leaked, open_descriptors


@pytest.fixture
def model() -> Iterator[EvdevButton]:
    with EvdevButton(instant=True) as model:
        yield model


def opened(model: EvdevButton, **options: Any) -> Button:
    return EvdevButtonDriver(model.sysfs, model.devices).open({"device": str(model.device), "key": KEY, **options})


@pytest.fixture
def button(model: EvdevButton) -> Iterator[Button]:
    with opened(model) as button:
        yield button


def shortly() -> Deadline:
    return Deadline.after(0.1)


def test_a_button_says_who_it_is(model: EvdevButton, button: Button) -> None:
    (listed,) = EvdevButtonDriver(model.sysfs, model.devices).list({})
    assert isinstance(button, Device)
    assert button.info == listed
    assert (listed.kind, listed.transport, listed.serial) == (DeviceKind.PRESENCE, Transport.VIRTUAL, "B1")
    assert (listed.vendor_id, listed.product_id, listed.port) == ("6b76", "0001", "keyvigil/button0")
    assert listed.capabilities == {Capability.SHARED}


def test_a_press_is_presence(model: EvdevButton, button: Button) -> None:
    found = button.confirm(soon(), model.press)
    assert isinstance(found, Presence)
    assert found.kind == "button"
    assert str(KEY) in found.detail


def test_no_press_is_nobody_in_time(button: Button) -> None:
    asked: list[bool] = []
    found = button.confirm(shortly(), lambda: asked.append(True))
    assert isinstance(found, Absence)
    assert asked == [True]
    assert "Press" in found.remedy


def test_a_press_before_it_was_asked_for_does_not_count(model: EvdevButton, button: Button) -> None:
    model.press()
    assert isinstance(button.confirm(shortly()), Absence)
    assert isinstance(button.confirm(soon(), model.press), Presence)


def test_a_key_that_is_held_since_before_does_not_count(model: EvdevButton, button: Button) -> None:
    model.hold()

    def kept_down() -> None:
        for _ in range(10):
            model.repeat()
        model.release()

    assert isinstance(button.confirm(shortly(), kept_down), Absence)


def test_another_key_does_not_count(model: EvdevButton, button: Button) -> None:
    assert isinstance(button.confirm(shortly(), lambda: model.press(KEY + 1)), Absence)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault.UNPLUG, Disconnected), (Fault.SHORT_READ, ProtocolError)],
)
def test_a_fault_while_the_press_is_awaited(
    model: EvdevButton, button: Button, fault: Fault, kind: type[DeviceError]
) -> None:
    def fail() -> None:
        model.inject(FaultOrder(fault))
        model.hold()

    refused(kind, lambda deadline: button.confirm(deadline, fail))
    model.mend()
    with opened(model) as again:
        assert isinstance(again.confirm(soon(), model.press), Presence)


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.CORRUPT])
def test_a_fault_that_looks_like_nobody(model: EvdevButton, button: Button, fault: Fault) -> None:
    model.inject(FaultOrder(fault, seed=3))
    assert isinstance(button.confirm(Deadline.after(0.2), model.press), Absence)
    model.mend()
    with opened(model) as again:
        assert isinstance(again.confirm(soon(), model.press), Presence)


def test_a_slow_button_is_waited_for(model: EvdevButton, button: Button) -> None:
    model.inject(FaultOrder(Fault.SLOW, seconds=0.05))
    assert isinstance(button.confirm(soon(), model.press), Presence)


def test_a_button_that_is_not_there(model: EvdevButton) -> None:
    model.inject(FaultOrder(Fault.UNPLUG))
    refused(NotFound, lambda _: opened(model))
    assert EvdevButtonDriver(model.sysfs, model.devices).list({"device": str(model.device)}) == []
    assert EvdevButtonDriver(model.sysfs, model.devices).list({}) == []
    model.mend()
    opened(model).close()


def test_a_key_that_the_device_has_not(model: EvdevButton) -> None:
    assert "key" in refused(Unsupported, lambda _: opened(model, key=KEY + 1)).remedy


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, Path.mkdir], ids=["file", "fifo", "folder"])
def test_what_is_no_input_device_is_refused(tmp_path: Path, model: EvdevButton, make: Callable[[Path], None]) -> None:
    """A file that somebody wrote a key press into is no presence."""
    make(tmp_path / "node")
    refused(NotFound, lambda _: opened(model, device=str(tmp_path / "node")))


def test_another_character_device_is_refused(model: EvdevButton) -> None:
    refused(NotFound, lambda _: opened(model, device="/dev/zero"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_node_that_may_not_be_read(tmp_path: Path, model: EvdevButton) -> None:
    (tmp_path / "node").touch(mode=0)
    assert "group" in refused(PermissionDenied, lambda _: opened(model, device=str(tmp_path / "node"))).remedy


def test_a_node_that_cannot_be_grabbed_is_not_left_open(model: EvdevButton) -> None:
    """A pseudo terminal has no EVIOCGRAB: opening fails half-way."""
    descriptors = open_descriptors()
    refused(Unsupported, lambda _: opened(model, grab=True))
    assert not leaked(descriptors, 1)


def test_opening_leaves_nothing_behind(model: EvdevButton) -> None:
    descriptors = open_descriptors()
    for _ in range(100):
        button = opened(model)
        button.close()
        button.close()
    assert not leaked(descriptors, 100)
    refused(Disconnected, button.confirm)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"key": KEY}, "device"),
        ({"device": "/dev/null"}, "key"),
        ({"device": "event0", "key": KEY}, "device"),
        ({"device": 7, "key": KEY}, "device"),
        ({"device": "/dev/null", "key": 0}, "key"),
        ({"device": "/dev/null", "key": 0x300}, "key"),
        ({"device": "/dev/null", "key": True}, "key"),
        ({"device": "/dev/null", "key": "power"}, "key"),
        ({"device": "/dev/null", "key": KEY, "grab": 1}, "grab"),
        ({"device": "/dev/null", "key": KEY, "code": 1}, "code"),
    ],
)
def test_a_malformed_option_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(DeviceError, match=f"'{named}'") as caught:
        EvdevButtonDriver().open(options)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("words", "bits"),
    [("0", []), ("1", [0]), ("8000000000000000", [63]), ("1 0", [64]), ("100000 0 0", [148]), ("x", []), ("", [])],
)
def test_a_bitmap_of_the_kernel(words: str, bits: list[int]) -> None:
    assert _bits(words) == set(bits)


KEYBOARD = """P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/0003:046D:C31C.0001/input/input5
E: SUBSYSTEM=input
A: name=A keyboard
A: phys=usb-0000:00:14.0-1/input0
A: uniq=
A: id/bustype=0003
A: id/vendor=046d
A: id/product=c31c
A: capabilities/key=10000 0 0 10000000

P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/0003:046D:C31C.0001/input/input5/event5
N: input/event5
E: DEVNAME=/dev/input/event5
E: SUBSYSTEM=input
E: MAJOR=13
E: MINOR=69
A: dev=13:69
L: device=../../input5
"""
SCRIPT = """
import sys
from drivers.evdev_button import EvdevButtonDriver
from hal import Deadline
driver = EvdevButtonDriver()
options = {"device": "/dev/input/event5", "key": int(sys.argv[1]), "grab": True}
print(driver.list(options)[0])
with driver.open(options) as button:
    print(type(button.confirm(Deadline.after(float(sys.argv[2])))).__name__)
"""


def run_with_keyboard(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script where umockdev emulates a USB keyboard on which Enter is pressed after some time."""
    (folder / "keyboard").write_text(KEYBOARD)
    presses = ((0, "0001 001c 1"), (1, "0000 0000 0"), (500_000, "0001 001c 0"), (1_500_000, "0001 001c 1"))
    lines = [f"E: {at // 1_000_000}.{at % 1_000_000:06d} {event}\n" for at, event in presses]
    (folder / "events").write_text("".join(lines))
    return subprocess.run(
        [
            "umockdev-run",
            "-d",
            "keyboard",
            "-e",
            "/dev/input/event5=events",
            "--",
            sys.executable,
            "-c",
            script,
            *arguments,
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.skipif(shutil.which("umockdev-run") is None, reason="needs apt-get install umockdev")
@pytest.mark.parametrize(("key", "seconds", "found"), [(28, 10.0, "Presence"), (208, 0.5, "Absence")])
def test_a_keyboard_that_umockdev_emulates(tmp_path: Path, key: int, seconds: float, found: str) -> None:
    """The driver as it is on a machine: the kernel's own paths, and identity of a USB keyboard."""
    done = run_with_keyboard(tmp_path, SCRIPT, str(key), str(seconds))
    assert done.returncode == 0, done.stderr
    assert "EVDEV" in done.stdout
    assert "'046d'" in done.stdout
    assert done.stdout.split()[-1] == found
