"""What is particular to the U.are.U 4000B/4500."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.uru4000 import Uru4000Driver
from drivers.uru4000_image import HEADER_BYTES, WIDTH, decode_image, keystream
from hal import Deadline, DeviceError, ProtocolError, TimedOut
from simulators.devices.finger import AT_ONCE, FLAWLESS
from simulators.devices.press_sensor import SensorLife
from simulators.devices.uru4000_model import FIELD, Uru4000Model
from simulators.devices.usb import InProcessBackend, Setup, Transfer

PLENTY = 20.0


def slow_keystream(key: int, count: int) -> tuple[bytes, int]:
    """The shift register step by step, straight from its description."""
    stream = bytearray()
    for _ in range(count):
        stream.append(sum((key >> bit & 1) << place for place, bit in enumerate((4, 8, 11, 14, 18, 21, 24, 29))))
        feedback = bin(key & 0x9248144D).count("1") & 1
        key = key >> 1 | feedback << 31
    return bytes(stream), key


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3000))
def test_the_keystream_is_the_shift_register(key: int, count: int) -> None:
    stream, after = keystream(key, count)
    assert (stream.tobytes(), after) == slow_keystream(key, count)


def test_the_keystream_of_a_whole_image() -> None:
    stream, after = keystream(0xDEADBEEF, 289 * WIDTH)
    assert (stream.tobytes(), after) == slow_keystream(0xDEADBEEF, 289 * WIDTH)


def open_model(model: Uru4000Model, **how: Any) -> Any:
    return Uru4000Driver(backend=InProcessBackend([model]), **how).open({})


def mode_of(model: Uru4000Model) -> int:
    return model.control(Setup(0xC0, 0x04, 0x4E, 0, 1), b"")[0]


def finger() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Ridges on a white ground that does not reach the edge."""
    rows, columns = np.mgrid[:200, :200]
    return (128 + 100 * np.sin((rows + columns) / 2)).astype(np.uint8)


@pytest.mark.parametrize("scramble", [True, False])
def test_ridges_come_upright_and_dark_on_light(scramble: bool) -> None:
    model = Uru4000Model(scramble=scramble)
    model.place(finger(), FIELD.dpi)
    with open_model(model) as reader:
        pixels = reader.capture(Deadline.after(PLENTY)).pixels
    np.testing.assert_array_equal(pixels[45:245, 92:292], finger())
    assert (pixels[:45] == 255).all()


def test_the_hosts_half_of_the_key_does_not_matter() -> None:
    images = []
    for half in (bytes(4), b"\xff" * 4):
        model = Uru4000Model(seed=3)
        model.place(finger(), FIELD.dpi)
        with open_model(model, random_bytes=lambda count, half=half: half[:count]) as reader:
            images.append(reader.capture(Deadline.after(PLENTY)).pixels)
    np.testing.assert_array_equal(images[0], images[1])


def test_what_travels_is_scrambled() -> None:
    """The control beside the exactness tests: without descrambling the picture would not be there."""
    travelled = []
    model = Uru4000Model(scramble=True)
    model.fault = lambda endpoint, data: travelled.append(data) or data if endpoint == 0x82 else data
    model.place(finger(), FIELD.dpi)
    with open_model(model) as reader:
        pixels = reader.capture(Deadline.after(PLENTY)).pixels
    sent = np.frombuffer(travelled[0], np.uint8, offset=HEADER_BYTES).reshape(-1, WIDTH)
    upright = (255 - sent)[::-1, ::-1]
    assert np.mean(upright[40:120, 100:280] == pixels[40:120, 100:280]) < 0.05


def test_a_reader_that_starts_with_a_fault_is_restarted() -> None:
    model = Uru4000Model(faulty=True)
    model.place(finger(), FIELD.dpi)
    with open_model(model) as reader:
        reader.capture(Deadline.after(PLENTY))


def test_a_reader_that_takes_its_time() -> None:
    model = Uru4000Model(instant=False, life=SensorLife(AT_ONCE, FLAWLESS))
    model.place(finger(), FIELD.dpi)
    with open_model(model) as reader:
        np.testing.assert_array_equal(reader.capture(Deadline.after(PLENTY)).pixels[45:245, 92:292], finger())


def test_after_an_internal_failure_the_reader_is_woken_again() -> None:
    model = Uru4000Model()
    with open_model(model) as reader:
        with pytest.raises(ProtocolError, match="internal failure"):
            reader.capture(Deadline.after(PLENTY), model.die)
        model.place(finger(), FIELD.dpi)
        reader.capture(Deadline.after(PLENTY))


class LosesFirstInterrupts(Uru4000Model):
    """The host misses the first `lost` interrupts."""

    lost = 1

    def _send(self, endpoint: int, message: bytes) -> None:
        if endpoint == 0x81 and self.lost:
            self.lost -= 1
            return
        super()._send(endpoint, message)


def test_a_missed_power_up_is_tried_again() -> None:
    open_model(LosesFirstInterrupts()).close()


def test_a_reader_that_never_powers_up_times_out_and_is_released() -> None:
    model = LosesFirstInterrupts()
    model.lost = 10**6
    with pytest.raises(TimedOut):
        open_model(model)
    model.lost = 0
    open_model(model).close()


def test_the_sensor_is_off_when_nobody_waits() -> None:
    model = Uru4000Model()
    with open_model(model) as reader:
        modes = []
        with pytest.raises(TimedOut):
            reader.capture(Deadline.after(0.02), lambda: modes.append(mode_of(model)))
        modes.append(mode_of(model))
        model.place(finger(), FIELD.dpi)
        reader.capture(Deadline.after(PLENTY))
        modes.append(mode_of(model))
        model.lift()
        reader.wait_removed(Deadline.after(PLENTY))
        modes.append(mode_of(model))
    assert modes == [0x10, 0x70, 0x12, 0x70]


def test_an_interrupted_wait_switches_the_sensor_off() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    model = Uru4000Model()
    with open_model(model) as reader:
        with pytest.raises(KeyboardInterrupt):
            reader.capture(Deadline.after(PLENTY), interrupt)
        assert mode_of(model) == 0x70


class PulledWhenWaiting(Uru4000Model):
    """The plug is pulled at the moment the host parks its read for the finger."""

    armed = False

    def submit(self, endpoint: int, transfer: Transfer) -> None:
        super().submit(endpoint, transfer)
        if self.armed:
            self.unplug()


def test_unplugged_with_a_read_parked() -> None:
    model = PulledWhenWaiting()
    with open_model(model) as reader, pytest.raises(DeviceError, match="went away"):
        reader.capture(Deadline.after(PLENTY), lambda: setattr(model, "armed", True))


def message(lines: int, blocks: bytes, body: bytes | None = None) -> bytes:
    header = (struct.pack("<4xHB9x", lines, 1) + blocks).ljust(HEADER_BYTES, b"\0")
    return header + (bytes(lines * WIDTH) if body is None else body)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        bytes(HEADER_BYTES - 1),
        message(0, b""),
        message(290, b"\x04\xff\x04\x23"),
        message(65535, b"\x04\xff", b""),
        message(10, b"\x04\x0a")[:-1],
        message(10, b"\x04\x0a") + b"\0",
        message(10, b"\x04\x0b"),
        message(10, b"\x04\x09"),
        message(10, b"\x04\x0a\x05\xff\x05\xff"),
    ],
)
def test_a_malformed_image_is_a_protocol_error(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_image(bad, lambda _number: 1)


def test_the_smallest_wellformed_image() -> None:
    """The control beside the malformed ones."""
    assert decode_image(message(10, b"\x04\x0a"), lambda _number: 1).shape == (290, 384)


@settings(deadline=None)
@given(st.binary(min_size=30, max_size=30), st.integers(0, 12), st.integers(0, 255))
def test_no_header_makes_a_builtin_exception(blocks: bytes, lines: int, key: int) -> None:
    try:
        decode_image(message(lines, blocks), lambda number: number + key)
    except ProtocolError:
        return


def test_a_picture_that_only_claims_to_be_scrambled_is_left_alone() -> None:
    smooth = np.tile(np.linspace(0, 200, WIDTH).astype(np.uint8), (100, 1))
    pixels = decode_image(message(100, b"\x02\x64", smooth.tobytes()), lambda _number: 12345)
    np.testing.assert_array_equal(pixels[190:], (255 - smooth)[::-1, ::-1])
