"""The simulated EF01 module: as its own firmware, at its line, and to a library that knows nothing of us."""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyfingerprint.pyfingerprint import PyFingerprint

from simulators.devices.ef01_model import FIELD, PACKET_SIZES, Ef01Model
from simulators.devices.finger import FLAWLESS, FingerBehaviour, SensorWear
from simulators.devices.press_sensor import SensorLife
from simulators.devices.serial_line import SerialLine
from tests.drivers.ef01_rig import grey_noise
from tests.drivers.ef01_wire import ACKNOWLEDGEMENT, packet
from tests.simulators.test_finger import HandClock


def ridges(pitch: float = 9.0, angle: float = 0.3) -> np.ndarray:
    """Straight ridges on light ground, uint8 [288, 256]."""
    y, x = np.mgrid[0:288, 0:256]
    wave = np.cos((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / pitch)
    inside = ((x - 128) / 110) ** 2 + ((y - 144) / 130) ** 2 < 1
    return np.where(inside, 128 + 100 * wave, 255).astype(np.uint8)


def ask(model: Ef01Model, command: bytes, address: int = 0xFFFFFFFF) -> bytes:
    """Confirmation and data of the answer; empty when there is none."""
    answer = b"".join(message.data for message in model.receive(packet(0x01, command, address))[:1])
    return answer[9:-2]


@pytest.fixture
def model() -> Ef01Model:
    return Ef01Model()


@pytest.fixture
def line(model: Ef01Model, tmp_path: Path) -> Iterator[SerialLine]:
    with SerialLine(model, tmp_path / "reader") as made:
        yield made


@pytest.mark.parametrize("size", PACKET_SIZES)
def test_an_independent_library_downloads_the_placed_image(tmp_path: Path, size: int) -> None:
    model = Ef01Model(packet_bytes=size)
    picture = np.random.default_rng(size).integers(0, 256, (288, 256), np.uint8)
    with SerialLine(model, tmp_path / "reader") as line:
        reader = PyFingerprint(str(line.link), 57_600)
        assert reader.verifyPassword()
        assert not reader.readImage()
        model.place(picture, FIELD.dpi)
        assert reader.readImage()
        reader.downloadImage(str(tmp_path / "image.png"))
    with Image.open(tmp_path / "image.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture // 16 * 17)


def test_an_independent_library_enrols_and_finds_a_finger(line: SerialLine, model: Ef01Model) -> None:
    reader = PyFingerprint(str(line.link), 57_600)
    model.place(ridges(), FIELD.dpi)
    for buffer in (1, 2):
        assert reader.readImage()
        reader.convertImage(buffer)
    assert reader.compareCharacteristics() > 0
    assert reader.createTemplate()
    assert reader.storeTemplate(5) == 5
    assert reader.getTemplateCount() == 1
    assert reader.searchTemplate()[0] == 5
    model.place(np.rot90(ridges(14, 1.2), 2), FIELD.dpi)
    assert reader.readImage()
    reader.convertImage(1)
    assert reader.searchTemplate()[0] == -1
    assert reader.deleteTemplate(5)
    assert reader.getTemplateCount() == 0


def test_an_independent_library_sets_parameters(line: SerialLine, model: Ef01Model) -> None:
    reader = PyFingerprint(str(line.link), 57_600)
    reader.setMaxPacketSize(256)
    assert reader.getMaxPacketSize() == 256
    reader.setBaudRate(115_200)
    assert model.speed == 115_200
    again = PyFingerprint(str(line.link), 115_200)
    assert again.getSystemParameters()[4:] == (0xFFFFFFFF, 3, 12)


@pytest.mark.parametrize(
    ("command", "confirmation"),
    [
        (b"\x01", 0x02),
        (b"\x02\x01", 0x15),
        (b"\x03", 0x08),
        (b"\x04\x01\0\0\0\xff", 0x09),
        (b"\x05", 0x0A),
        (b"\x06\x01\0\0", 0x0B),
        (b"\x07\x01\0\0", 0x0C),
        (b"\x0a", 0x0F),
        (b"\x0e\x09\x01", 0x1A),
        (b"\x0e\x04\x0d", 0x1B),
        (b"\x13\0\0\0\x01", 0x13),
        (b"\x13\0\0\0\0", 0x00),
        (b"\x77", 0x01),
        (b"\x0e\x04", 0x01),
    ],
)
def test_what_comes_out_of_order_or_range_is_refused_with_its_code(
    model: Ef01Model, command: bytes, confirmation: int
) -> None:
    assert ask(model, command)[0] == confirmation


def test_a_locked_module_answers_to_its_password_alone() -> None:
    model = Ef01Model(password=5)
    assert ask(model, b"\x01") == b"\x21"
    assert ask(model, b"\x13\0\0\0\x04") == b"\x13"
    assert ask(model, b"\x13\0\0\0\x05") == b"\x00"
    assert ask(model, b"\x01") == b"\x02"
    model.power_on()
    assert ask(model, b"\x01") == b"\x21"


def test_a_garbled_command_is_said_to_be_one_and_one_for_another_is_not_heard(model: Ef01Model) -> None:
    good = packet(0x01, b"\x01")
    assert model.receive(good[:-1] + b"\x99")[0].data[9] == 0x01
    assert ask(model, b"\x01", address=0x01020304) == b""
    assert model.receive(good[:5]) == []
    assert model.receive(good[5:])[0].data[9] == 0x02


def test_images_are_forgotten_without_power_and_templates_are_not(model: Ef01Model) -> None:
    model.place(ridges(), FIELD.dpi)
    for command in (b"\x01", b"\x02\x01", b"\x06\x01\0\x03"):
        assert ask(model, command) == b"\0"
    model.power_on()
    assert ask(model, b"\x0a") == b"\x0f"
    assert ask(model, b"\x1d") == b"\0\0\x01"


def test_blank_glass_gives_no_features(model: Ef01Model) -> None:
    model.place(np.full((288, 256), 200, np.uint8), FIELD.dpi)
    assert ask(model, b"\x01") == b"\0"
    assert ask(model, b"\x02\x01") == b"\x07"


def test_a_finger_is_felt_once_enough_of_it_lies_on_the_glass() -> None:
    clock = HandClock()
    life = SensorLife(FingerBehaviour(settle_seconds=0.2), FLAWLESS, clock=clock)
    model = Ef01Model(life=life)
    model.place(ridges(), FIELD.dpi)
    assert ask(model, b"\x01") == b"\x02"
    clock.sleep(0.05)
    assert ask(model, b"\x01") == b"\0"


def test_noise_is_seeded() -> None:
    def image(seed: int) -> bytes:
        noisy = Ef01Model(life=SensorLife(wear=SensorWear(noise=8.0), seed=seed))
        noisy.place(ridges(), FIELD.dpi)
        ask(noisy, b"\x01")
        return b"".join(message.data for message in noisy.receive(packet(0x01, b"\x0a")))

    assert image(1) == image(1)
    assert image(1) != image(2)


def open_port(line: SerialLine, speed: int) -> int:
    port = os.open(line.link, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    settings = termios.tcgetattr(port)
    settings[4] = settings[5] = speed
    termios.tcsetattr(port, termios.TCSANOW, settings)
    return port


def hear(port: int, count: int, seconds: float = 5.0) -> bytes:
    heard = b""
    while len(heard) < count and select.select([port], [], [], seconds)[0]:
        heard += os.read(port, count - len(heard))
    return heard


def test_at_another_rate_both_ends_hear_garbage(line: SerialLine, model: Ef01Model) -> None:
    for speed, understood in ((termios.B9600, False), (termios.B57600, True)):
        port = open_port(line, speed)
        try:
            os.write(port, packet(0x01, b"\x13\0\0\0\0"))
            assert (hear(port, 12, 0.2) == ACKNOWLEDGEMENT) is understood
        finally:
            os.close(port)


def test_a_paced_line_takes_the_time_of_its_rate(tmp_path: Path) -> None:
    model = Ef01Model(baud=115_200, packet_bytes=256)
    model.place(grey_noise(), FIELD.dpi)
    with SerialLine(model, tmp_path / "reader", paced=True) as line:
        port = open_port(line, termios.B115200)
        try:
            os.write(port, packet(0x01, b"\x01"))
            hear(port, 12)
            began = time.monotonic()
            os.write(port, packet(0x01, b"\x0a"))
            count = 11_520
            assert len(hear(port, count)) == count
            assert time.monotonic() - began >= 0.95
        finally:
            os.close(port)


def test_the_link_stays_the_same_through_unplugging(line: SerialLine) -> None:
    first = line.link
    line.unplug()
    line.unplug()
    assert not os.path.lexists(first)
    line.plug()
    assert first.is_char_device()
    assert line.plugged


def test_a_closed_line_leaves_no_descriptor_and_no_thread(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with SerialLine(Ef01Model(), tmp_path / "reader") as line:
            line.unplug()
            line.plug()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
