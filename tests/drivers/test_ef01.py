"""The EF01 driver against a simulated module on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import serial

from drivers.ef01 import Ef01Driver
from hal import (
    AuthorisationFailed,
    Busy,
    Capability,
    Deadline,
    DeviceError,
    Disconnected,
    NotFound,
    PermissionDenied,
    TimedOut,
    Transport,
    Unsupported,
)
from simulators.devices.finger import FLAWLESS, FingerBehaviour
from simulators.devices.press_sensor import SensorLife
from simulators.devices.serial_wire import LineNoise
from tests.drivers.ef01_rig import Ef01Station, ef01_station, grey_noise
from tests.drivers.ef01_wire import ACKNOWLEDGEMENT, packet
from tests.leaks import leaked, open_descriptors

SIZES = (32, 64, 128, 256)
BY_DEFAULT = [size if size == 128 else pytest.param(size, marks=pytest.mark.slow) for size in SIZES]


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Ef01Station]:
    with ef01_station(tmp_path) as made:
        yield made


def soon() -> Deadline:
    return Deadline.after(30)


def capture_exactly(station: Ef01Station, captures: int, noise: LineNoise) -> int:
    """How many of `captures` images come through `noise` with every pixel."""
    exact = 0
    with station.open() as reader:
        station.line.noise = noise
        for number in range(captures):
            station.place(grey_noise(number))
            with suppress(DeviceError):
                exact += np.array_equal(reader.capture(soon()).pixels, grey_noise(number))
    return exact


@pytest.mark.parametrize("size", BY_DEFAULT)
@pytest.mark.parametrize("rates", [(0.001, 0, 0), (0, 0.0005, 0.0005)], ids=["spoiled", "lost and added"])
def test_the_exact_image_comes_through_a_bad_line(tmp_path: Path, size: int, rates: tuple[float, float, float]) -> None:
    with ef01_station(tmp_path, packet_bytes=size) as station:
        assert capture_exactly(station, 10, LineNoise(*rates, seed=size)) == 10


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", SIZES)
def test_at_least_99_percent_of_500_captures_are_exact_with_a_byte_in_1000_spoiled(tmp_path: Path, size: int) -> None:
    with ef01_station(tmp_path, packet_bytes=size) as station:
        assert capture_exactly(station, 500, LineNoise(0.001, seed=size)) >= 495


def test_four_bits_a_pixel_the_left_one_first(station: Ef01Station) -> None:
    picture = np.full((288, 256), 255, np.uint8)
    picture[0, :4] = [0, 16, 127, 255]
    station.place(picture)
    with station.open() as reader:
        image = reader.capture(soon())
    assert image.pixels[0, :4].tolist() == [0, 17, 119, 255]
    assert (image.dpi, image.pixels.shape) == (500, (288, 256))


@pytest.mark.parametrize("baud", [9600, pytest.param(28_800, marks=pytest.mark.slow), 57_600, 76_800, 115_200])
def test_the_rate_is_found(tmp_path: Path, baud: int) -> None:
    with ef01_station(tmp_path, baud=baud) as station:
        station.place(grey_noise())
        with station.open() as reader:
            assert reader.baud == baud
            np.testing.assert_array_equal(reader.capture(soon()).pixels, grey_noise())


def test_the_rate_is_raised_when_the_options_say_so_and_found_again(station: Ef01Station) -> None:
    for _ in range(2):
        station.place(grey_noise())
        with station.open(raise_baud=115_200) as reader:
            assert (reader.baud, station.module.speed) == (115_200, 115_200)
            np.testing.assert_array_equal(reader.capture(soon()).pixels, grey_noise())
    with station.open(baud=57_600) as reader:
        assert reader.baud == 115_200


def test_the_sensors_packet_size_is_used(tmp_path: Path) -> None:
    with ef01_station(tmp_path, packet_bytes=256) as station, station.open() as reader:
        assert reader.packet_bytes == 256


def test_what_a_program_that_was_killed_left_on_the_line_does_no_harm(tmp_path: Path) -> None:
    """The module sends its image to the end, to whoever listens by then."""
    with ef01_station(tmp_path, paced=True, baud=115_200, packet_bytes=256) as station:
        station.place(grey_noise())
        with serial.Serial(str(station.line.link), 115_200, timeout=5) as killed:
            killed.write(packet(0x01, b"\x01"))
            assert killed.read(12) == ACKNOWLEDGEMENT
            killed.write(packet(0x01, b"\x0a"))
            assert killed.read(100)[:12] == ACKNOWLEDGEMENT
        with station.open(baud=115_200) as reader:
            assert (reader.baud, reader.packet_bytes) == (115_200, 256)


def test_a_finger_that_comes_to_rest_is_imaged_at_rest(tmp_path: Path) -> None:
    life = SensorLife(FingerBehaviour(settle_seconds=0.12, tremor=0), FLAWLESS)
    with ef01_station(tmp_path, instant=False, life=life) as station:

        def touch() -> None:
            station.place(grey_noise())

        with station.open(settle_ms=200) as reader:
            at_rest = reader.capture(soon(), touch).pixels
        station.lift()
        with station.open(settle_ms=0) as reader:
            moving = reader.capture(soon(), touch).pixels
    np.testing.assert_array_equal(at_rest, grey_noise())
    assert not np.array_equal(moving, grey_noise()), "the simulated finger moves at all"


def password_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "password"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("text", ["1234abcd\n", "0x1234ABCD"])
def test_the_password_opens_the_module(tmp_path: Path, text: str) -> None:
    with ef01_station(tmp_path, password=0x1234ABCD) as station:
        station.open(password_file=password_file(tmp_path, text)).close()


def test_a_wrong_password_is_refused_and_told_to_nobody(tmp_path: Path) -> None:
    with ef01_station(tmp_path, password=0x1234ABCD) as station:
        with pytest.raises(AuthorisationFailed, match="refuses the password") as raised:
            station.open(password_file=password_file(tmp_path, "5555eeee"))
        assert "5555" not in str(raised.value) + raised.value.remedy
        assert "password_file" in raised.value.remedy
        station.open(password_file=password_file(tmp_path, "1234abcd")).close()


def test_a_module_that_lost_its_power_meanwhile_is_one_that_went_away(tmp_path: Path) -> None:
    secret = password_file(tmp_path, "7")
    with ef01_station(tmp_path, password=7) as station, station.open(password_file=secret) as reader:
        station.module.power_on()
        with pytest.raises(Disconnected, match="lost its power"):
            reader.capture(soon())


@pytest.mark.parametrize(
    ("text", "mode", "error"),
    [
        ("nothing", 0o600, Unsupported),
        ("", 0o600, Unsupported),
        ("123456789", 0o600, Unsupported),
        ("feedface", 0o640, PermissionDenied),
    ],
)
def test_a_password_file_that_is_no_secret_is_refused(
    tmp_path: Path, text: str, mode: int, error: type[DeviceError]
) -> None:
    with pytest.raises(error, match="password_file") as raised:
        Ef01Driver().open({"port": "/dev/null", "password_file": password_file(tmp_path, text, mode)})
    assert not text or text not in str(raised.value)


def test_firmware_that_keeps_its_images_is_unsupported(tmp_path: Path) -> None:
    with ef01_station(tmp_path, hands_out_images=False) as station:
        station.place(grey_noise())
        with station.open() as reader, pytest.raises(Unsupported, match="does not hand out its image") as raised:
            reader.capture(soon())
    assert "R503" in raised.value.remedy


def test_what_it_can_do(station: Ef01Station) -> None:
    with station.open() as reader:
        assert reader.info.capabilities == {Capability.IMAGE, Capability.FINGER_DETECT}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"prot": "/dev/ttyUSB0"}, "prot"),
        ({"password": "1"}, "password_file"),
        ({"port": 3}, "port"),
        ({"port": "a\0b"}, "port"),
        ({"baud": 57_601}, "baud"),
        ({"baud": "57600"}, "baud"),
        ({"baud": True}, "baud"),
        ({"raise_baud": 0}, "raise_baud"),
        ({"address": -1}, "address"),
        ({"address": "xyz"}, "address"),
        ({"settle_ms": 9999}, "settle_ms"),
        ({"password_file": "/nonexistent/file"}, "password_file"),
        ({}, "port"),
    ],
)
def test_an_option_that_is_wrong_is_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(DeviceError, match=named) as raised:
        Ef01Driver().open(options)
    assert raised.value.remedy != DeviceError.default_remedy


def test_nothing_is_listed_and_nothing_touched_without_a_named_port(station: Ef01Station) -> None:
    heard: list[bytes] = []
    receive = station.module.receive
    station.module.receive = lambda data: heard.append(data) or receive(data)  # type: ignore[func-returns-value]
    assert Ef01Driver().list({}) == ()
    assert [info.port for info in Ef01Driver().list(station.options)] == [str(station.line.link)]
    assert heard == []
    station.open().close()
    assert heard, "the control: opening does send"


@pytest.mark.parametrize(
    ("path", "error"),
    [("/nonexistent", NotFound), ("/dev/null", Unsupported), (__file__, Unsupported), ("/", Unsupported)],
)
def test_what_is_no_serial_port(path: str, error: type[DeviceError]) -> None:
    with pytest.raises(error):
        Ef01Driver().open({"port": path})


def test_a_port_without_a_sensor_is_given_up_by_the_deadline(station: Ef01Station) -> None:
    station.module.receive = lambda _data: ()
    deadline = Deadline.after(0.4)
    with pytest.raises(TimedOut):
        station.open(deadline)
    assert deadline.clock.monotonic_ns() < deadline.at_ns + 40_000_000


def test_other_programs_are_kept_away(station: Ef01Station) -> None:
    with station.open():
        other = os.open(station.line.node, os.O_RDWR | os.O_NOCTTY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(other)


def test_opening_that_fails_half_way_or_is_interrupted_releases_the_port(station: Ef01Station) -> None:
    def interrupt(_data: bytes) -> tuple[()]:
        signal.raise_signal(signal.SIGINT)
        return ()

    receive = station.module.receive
    for fails in (lambda _data: (), interrupt):
        station.module.receive = fails
        with pytest.raises((TimedOut, KeyboardInterrupt)):
            station.open(Deadline.after(0.3))
    station.module.receive = receive
    station.open().close()


def test_a_finger_in_another_thread_is_waited_for(station: Ef01Station) -> None:
    touching = threading.Timer(0.1, lambda: station.place(grey_noise()))
    with station.open() as reader:
        touching.start()
        np.testing.assert_array_equal(reader.capture(soon()).pixels, grey_noise())
    touching.join()


def open_and_close(station: Ef01Station, times: int) -> None:
    for number in range(times):
        with station.open():
            if number % 10 == 0:
                with pytest.raises(Busy):
                    station.open()


@pytest.mark.parametrize("times", [20, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_opening_and_closing_leaks_no_descriptor(station: Ef01Station, times: int) -> None:
    open_and_close(station, 1)
    before = open_descriptors()
    open_and_close(station, times)
    assert not leaked(before, times)


def fake_port(root: Path, station: Ef01Station, bus: str) -> Path:
    """A sysfs in which the pseudo-terminal is a port behind `bus`."""
    number = station.line.node.stat().st_rdev
    port = root / "devices" / bus / "1-2" / "1-2:1.0" / "ttyUSB0"
    (port / "tty" / "ttyUSB0").mkdir(parents=True)
    adapter = port.parent.parent
    for name, text in {"idVendor": "10c4", "idProduct": "ea60", "serial": "0001"}.items():
        (adapter / name).write_text(text + "\n")
    (port / "tty" / "ttyUSB0" / "device").symlink_to(port)
    entry = root / "dev" / "char" / f"{os.major(number)}:{os.minor(number)}"
    entry.parent.mkdir(parents=True)
    entry.symlink_to(port / "tty" / "ttyUSB0")
    return root


def test_a_usb_adapter_identifies_the_port(station: Ef01Station, tmp_path: Path) -> None:
    driver = Ef01Driver(sysfs=fake_port(tmp_path / "sys", station, "pci0000:00/usb1"))
    with driver.open(station.options) as reader:
        info = reader.info
    assert (info.transport, info.vendor_id, info.product_id, info.serial) == (Transport.UART, "10c4", "ea60", "0001")
    assert (info,) == driver.list(station.options)
    assert not info.name.endswith("(simulated)")


@pytest.mark.parametrize("bus", ["virtual/usb1", "platform/vhci_hcd.0/usb3", "platform/dummy_hcd.0/usb2"])
def test_an_adapter_that_is_simulated_is_virtual(station: Ef01Station, tmp_path: Path, bus: str) -> None:
    driver = Ef01Driver(sysfs=fake_port(tmp_path / "sys", station, bus))
    assert driver.list(station.options)[0].transport is Transport.VIRTUAL


def test_a_pseudo_terminal_is_virtual_under_any_name(station: Ef01Station, tmp_path: Path) -> None:
    disguise = tmp_path / "ttyUSB0"
    disguise.symlink_to(station.line.node)
    for port in (station.line.node, disguise):
        assert Ef01Driver().list({"port": str(port)})[0].transport is Transport.VIRTUAL
