"""What every fingerprint reader owes to `hal.FingerprintReader`: one suite over each driver and each transport."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.ef01 import Ef01Driver
from drivers.nb1010 import Nb1010Driver
from drivers.uru4000 import Uru4000Driver
from hal import (
    Busy,
    Capability,
    Deadline,
    Device,
    DeviceError,
    DeviceKind,
    Disconnected,
    NotFound,
    ProtocolError,
    TimedOut,
    Transport,
)
from simulators.devices.nb1010_model import Nb1010Model
from simulators.devices.press_sensor import PressSensorModel
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import InProcessBackend, serve_usbip
from tests.drivers.ef01_rig import ef01_station
from tests.on_time import on_time

PLENTY = 20.0
MODELS: dict[str, Callable[[], PressSensorModel]] = {
    "uru4000-scrambled": lambda: Uru4000Model("A1", scramble=True),
    "uru4000-clear": lambda: Uru4000Model("A1", scramble=False),
    "nb1010": lambda: Nb1010Model("A1"),
}
IMAGE_ENDPOINT = {Uru4000Model: 0x82, Nb1010Model: 0x83}


@dataclass
class Rig:
    """A reader model, and how the driver gets at it."""

    model: Any
    driver: Any
    options: Mapping[str, Any]
    greys: int = 256

    def open(self, **options: Any) -> Any:
        return self.driver.open({**self.options, **options})

    def picture(self, seed: int = 7) -> NDArray[np.uint8]:
        """Noise at native geometry inside a white frame: the readers lose no pixel of it."""
        field = self.model.field
        steps = np.random.default_rng(seed).integers(0, self.greys, (field.height, field.width), np.uint8)
        pixels = steps * np.uint8(255 // (self.greys - 1))
        pixels[[0, -1]] = 255
        pixels[:, [0, -1]] = 255
        return pixels

    def place(self, seed: int = 7) -> None:
        self.model.place(self.picture(seed), self.model.field.dpi)


USB_RIGS = [(name, transport) for name in MODELS for transport in ("in-process", "usbip")]
UART_RIGS = [(f"ef01-{packet_bytes}", "pty") for packet_bytes in (32, 64, 128, 256)]


@contextmanager
def usb_rig_for(name: str, transport: str) -> Iterator[Rig]:
    model = MODELS[name]()
    driver = Uru4000Driver if isinstance(model, Uru4000Model) else Nb1010Driver
    if transport == "in-process":
        yield Rig(model, driver(backend=InProcessBackend([model])), {})
        return
    with serve_usbip([model]) as server:
        yield Rig(model, driver(), {"usbip": f"127.0.0.1:{server.port}"})


@contextmanager
def uart_rig_for(name: str, folder: Path) -> Iterator[Rig]:
    with ef01_station(folder, packet_bytes=int(name.removeprefix("ef01-"))) as station:
        yield Rig(station, Ef01Driver(), station.options, greys=16)


@pytest.fixture(params=USB_RIGS, ids="-".join)
def usb_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A reader with descriptors and endpoints."""
    with usb_rig_for(*request.param) as rig:
        yield rig


@pytest.fixture(params=[*USB_RIGS, *UART_RIGS], ids="-".join)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Any reader."""
    name, transport = request.param
    with uart_rig_for(name, tmp_path) if transport == "pty" else usb_rig_for(name, transport) as rig:
        yield rig


def soon() -> Deadline:
    return Deadline.after(PLENTY)


def test_every_pixel_arrives(rig: Rig) -> None:
    with rig.open() as reader:
        for seed in (1, 2):
            rig.place(seed)
            image = reader.capture(soon())
            assert image.pixels.dtype == np.uint8
            assert image.dpi == rig.model.field.dpi
            assert image.sequence == seed
            np.testing.assert_array_equal(image.pixels, rig.picture(seed))
            rig.model.lift()
            reader.wait_removed(soon())


def test_an_opened_reader_is_a_device_that_says_who_it_is(rig: Rig) -> None:
    with rig.open() as reader:
        assert isinstance(reader, Device)
        info = reader.info
    assert info == rig.driver.list(rig.options)[0]
    assert info.kind is DeviceKind.FINGERPRINT
    assert info.transport is Transport.VIRTUAL
    assert info.name.endswith("(simulated)")
    assert Capability.IMAGE in info.capabilities


def test_a_usb_reader_is_known_by_its_place_and_number(usb_rig: Rig) -> None:
    info = usb_rig.driver.list(usb_rig.options)[0]
    assert (info.port, info.serial) == ("1-1", "A1")
    assert info.vendor_id == f"{usb_rig.model.layout.vendor_id:04x}"


def test_ready_is_told_once_and_before_the_finger(rig: Rig) -> None:
    calls = []

    def ready() -> None:
        calls.append(None)
        rig.place()

    with rig.open() as reader:
        image = reader.capture(soon(), ready)
    assert len(calls) == 1
    np.testing.assert_array_equal(image.pixels, rig.picture())


def test_no_finger_times_out_by_the_deadline(rig: Rig) -> None:
    with rig.open() as reader:
        with on_time(0.8, least=0.05), pytest.raises(TimedOut, match="finger"):
            reader.capture(Deadline.after(0.05))
        rig.place()
        np.testing.assert_array_equal(reader.capture(soon()).pixels, rig.picture())


def test_a_deadline_already_past_touches_nothing(rig: Rig) -> None:
    rig.place()
    with rig.open() as reader, pytest.raises(TimedOut):
        reader.capture(Deadline.after(0))


def test_a_finger_that_stays_is_not_removed(rig: Rig) -> None:
    with rig.open() as reader:
        rig.place()
        reader.capture(soon())
        with pytest.raises(TimedOut):
            reader.wait_removed(Deadline.after(0.05))
        rig.model.lift()
        reader.wait_removed(soon())


def test_removal_is_noticed_while_waiting(rig: Rig) -> None:
    with rig.open() as reader:
        rig.place()
        reader.capture(soon())
        lifting = threading.Thread(target=rig.model.lift)
        lifting.start()
        reader.wait_removed(soon())
        lifting.join()


def test_unplugged_while_waiting(rig: Rig) -> None:
    pulling = threading.Thread(target=rig.model.unplug)
    with rig.open() as reader, pytest.raises(Disconnected):
        reader.capture(soon(), pulling.start)
    pulling.join()
    with pytest.raises(NotFound):
        rig.open()
    assert rig.driver.list(rig.options) == ()


def test_plugged_in_again_it_works(rig: Rig) -> None:
    with rig.open() as reader, pytest.raises(Disconnected):
        reader.capture(soon(), rig.model.unplug)
    rig.model.plug()
    rig.place()
    with rig.open() as reader:
        np.testing.assert_array_equal(reader.capture(soon()).pixels, rig.picture())


def test_one_claimant(rig: Rig) -> None:
    with rig.open():
        with pytest.raises(Busy):
            rig.open()
        assert len(rig.driver.list(rig.options)) == 1
    rig.open().close()


def test_closing_twice_is_allowed_and_a_closed_reader_refuses(rig: Rig) -> None:
    reader = rig.open()
    reader.close()
    reader.close()
    with pytest.raises(Disconnected):
        reader.capture(soon())


def cut(_endpoint: int, message: bytes) -> bytes:
    return message[:-7]


def spoiled(_endpoint: int, message: bytes) -> bytes:
    return b"\xff" * 24 + message[24:]


@pytest.mark.parametrize("fault", [cut, spoiled])
def test_a_malformed_image_is_a_protocol_error_and_the_next_one_is_well(
    usb_rig: Rig, fault: Callable[[int, bytes], bytes]
) -> None:
    images = IMAGE_ENDPOINT[type(usb_rig.model)]
    with usb_rig.open() as reader:
        usb_rig.place()
        usb_rig.model.fault = lambda endpoint, data: fault(endpoint, data) if endpoint == images else data
        with pytest.raises(ProtocolError):
            reader.capture(soon())
        usb_rig.model.fault = lambda _endpoint, data: data
        np.testing.assert_array_equal(reader.capture(soon()).pixels, usb_rig.picture())


def test_a_device_with_other_endpoints_is_refused_and_released(usb_rig: Rig) -> None:
    def other_interface(_endpoint: int, message: bytes) -> bytes:
        moved = message.replace(b"\x07\x05\x82", b"\x07\x05\x8a").replace(b"\x07\x05\x83", b"\x07\x05\x8a")
        return moved if message[1:2] == b"\x02" else message

    usb_rig.model.fault = other_interface
    with pytest.raises(ProtocolError, match="interface"):
        usb_rig.open()
    usb_rig.model.fault = lambda _endpoint, data: data
    usb_rig.open().close()


@pytest.mark.parametrize("length", [0, 1, 9, 17])
def test_cut_descriptors_are_never_a_builtin_exception(usb_rig: Rig, length: int) -> None:
    usb_rig.model.fault = lambda endpoint, data: data[:length] if endpoint == 0 else data
    with pytest.raises(DeviceError):
        usb_rig.open()
    usb_rig.model.fault = lambda _endpoint, data: data
    usb_rig.open().close()


@pytest.mark.parametrize("options", [{"serial": "A1"}, {"port": "1-1"}, {}])
def test_the_named_device_is_opened(usb_rig: Rig, options: dict[str, str]) -> None:
    usb_rig.open(**options).close()


@pytest.mark.parametrize("options", [{"serial": "B2"}, {"port": "1-2"}, {"vendor_id": 1}, {"product_id": "0002"}])
def test_another_device_is_not(usb_rig: Rig, options: dict[str, Any]) -> None:
    with pytest.raises(NotFound):
        usb_rig.open(**options)
    assert usb_rig.driver.list({**usb_rig.options, **options}) == ()
    usb_rig.open().close()


def test_the_named_device_held_by_another_is_busy_not_absent(usb_rig: Rig) -> None:
    with usb_rig.open(), pytest.raises(Busy):
        usb_rig.open(serial="A1")


def test_a_finger_of_another_resolution_is_seen_at_the_sensors(rig: Rig) -> None:
    field = rig.model.field
    stripes = np.where(np.arange(4 * field.width) % 40 < 20, 0, 255).astype(np.uint8)
    with rig.open() as reader:
        rig.model.place(np.tile(stripes, (4 * field.height, 1)), 2 * field.dpi)
        row = reader.capture(soon()).pixels[field.height // 2]
    edges = np.flatnonzero(np.abs(np.diff(row.astype(int))) > 100)
    assert abs(np.diff(edges).mean() - 10) < 0.5
