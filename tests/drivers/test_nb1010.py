"""What is particular to the NB-1010-U, and the replay of a real one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drivers.nb1010 import Nb1010Driver
from hal import Deadline, ProtocolError, TimedOut
from simulators.devices.finger import AT_ONCE, FLAWLESS
from simulators.devices.nb1010_model import FIELD, Nb1010Model
from simulators.devices.press_sensor import SensorLife
from simulators.devices.usb import InProcessBackend

PLENTY = 20.0
ROOT = Path(__file__).resolve().parents[2]


class SteppedClock:
    """Time passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0
        self.naps: list[float] = []

    def monotonic_ns(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += int(seconds * 1e9)


def open_model(model: Nb1010Model) -> Any:
    return Nb1010Driver(backend=InProcessBackend([model])).open({})


def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(5).integers(0, 256, (FIELD.height, FIELD.width), np.uint8)


def test_it_asks_twenty_times_a_second_until_the_deadline() -> None:
    clock = SteppedClock()
    with open_model(Nb1010Model()) as reader, pytest.raises(TimedOut):
        reader.capture(Deadline.after(1.0, clock))
    assert clock.naps == pytest.approx([0.05] * 20)


def test_a_reader_that_takes_its_time() -> None:
    model = Nb1010Model(instant=False, life=SensorLife(AT_ONCE, FLAWLESS))
    model.place(picture(), FIELD.dpi)
    with open_model(model) as reader:
        np.testing.assert_array_equal(reader.capture(Deadline.after(PLENTY)).pixels, picture())


def test_the_edge_of_the_picture_arrives_too() -> None:
    model = Nb1010Model()
    model.place(picture(), FIELD.dpi)
    with open_model(model) as reader:
        np.testing.assert_array_equal(reader.capture(Deadline.after(PLENTY)).pixels, picture())


def test_what_a_dead_program_left_in_the_reader_is_thrown_away() -> None:
    model = Nb1010Model()
    model.place(picture(), FIELD.dpi)
    model.write(0x02, bytes.fromhex("801204002000000002") + bytes(19) + bytes.fromhex("20000000"))
    with open_model(model) as reader:
        np.testing.assert_array_equal(reader.capture(Deadline.after(PLENTY)).pixels, picture())


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_reply_to_another_command_is_a_protocol_error(at: int) -> None:
    def fault(_endpoint: int, message: bytes) -> bytes:
        return message[:at] + b"\xee" + message[at + 1 :] if len(message) == 16 else message

    model = Nb1010Model()
    with open_model(model) as reader:
        model.fault = fault
        with pytest.raises(ProtocolError, match="answered"):
            reader.capture(Deadline.after(PLENTY))


def test_lines_out_of_order_are_a_protocol_error() -> None:
    frames = iter(range(10**6))

    def fault(_endpoint: int, message: bytes) -> bytes:
        swapped = len(message) == 540 and next(frames) == 40
        return message[:16] + b"\x07" + message[17:] if swapped else message

    model = Nb1010Model()
    model.place(picture(), FIELD.dpi)
    with open_model(model) as reader:
        model.fault = fault
        with pytest.raises(ProtocolError, match="line 80"):
            reader.capture(Deadline.after(PLENTY))


@pytest.mark.realdata
def test_a_recorded_real_reader_gives_the_golden_picture(real_data: Path) -> None:
    """All 46 080 pixels of libfprint's recorded NB-1010-U, replayed by umockdev through libusb."""
    if shutil.which("umockdev-run") is None:
        pytest.skip("umockdev-run is not installed: sudo apt-get install umockdev")
    if find_library("usb-1.0") is None:
        pytest.skip("libusb-1.0 is not installed: sudo apt-get install libusb-1.0-0")
    trace = real_data / "traces" / "nb1010"
    if not (trace / "capture.ioctl").is_file():
        pytest.skip(f"no recorded reader at {trace}")
    device, ioctl = str(trace / "device"), f"/dev/bus/usb/001/003={trace / 'capture.ioctl'}"
    replay = ["umockdev-run", "--device", device, "--ioctl", ioctl, "--", sys.executable]
    ran = subprocess.run(
        [*replay, "-m", "tests.drivers.nb1010_replay"], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    golden = cv2.imread(str(trace / "capture.png"), cv2.IMREAD_COLOR)
    pixels = np.frombuffer(ran.stdout, np.uint8).reshape(180, 256)
    np.testing.assert_array_equal(golden, np.repeat(pixels[:, :, None], 3, axis=2))


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["nb1010", "elan", "aes3500", "vfs7552", "egis0570", "upektc_img"])
def test_recorded_devices_are_told_apart(real_data: Path, name: str) -> None:
    """Real descriptors through umockdev and libusb: both families find their own reader and pass over the others."""
    if shutil.which("umockdev-run") is None or find_library("usb-1.0") is None:
        pytest.skip("umockdev-run or libusb-1.0 is not installed: sudo apt-get install umockdev libusb-1.0-0")
    device = real_data / "traces" / name / "device"
    if not device.is_file():
        pytest.skip(f"no recorded reader at {device}")
    program = (
        "from drivers.nb1010 import Nb1010Driver as N; from drivers.uru4000 import Uru4000Driver as U\n"
        "found = [info for driver in (N(), U()) for info in driver.list({})]\n"
        "print([info.vendor_id + ':' + info.product_id + '@' + info.transport for info in found])"
    )
    ran = subprocess.run(
        ["umockdev-run", "--device", str(device), "--", sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == ("['298d:1010@usb']" if name == "nb1010" else "[]")
