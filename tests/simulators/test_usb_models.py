"""The models as devices: what a finger looks like to them, and what their firmware refuses."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from simulators.devices.nb1010_model import Nb1010Model
from simulators.devices.press_sensor import SensorField
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import CompletionStatus, Setup, Stall, Transfer, Unplugged

FIELD = SensorField(height=6, width=8, dpi=500)


def test_a_picture_at_the_sensors_geometry_is_seen_as_it_is() -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(6, 8)
    np.testing.assert_array_equal(FIELD.see(picture, 500), picture)


def test_a_larger_picture_is_cut_around_its_middle_and_a_smaller_one_has_ground_around_it() -> None:
    large = np.arange(100, dtype=np.uint8).reshape(10, 10)
    np.testing.assert_array_equal(FIELD.see(large, 500), large[2:8, 1:9])
    small = np.zeros((2, 2), np.uint8)
    seen = FIELD.see(small, 500)
    assert (seen[2:4, 3:5] == 0).all()
    assert seen.sum() == 255 * (48 - 4)


def test_a_picture_of_twice_the_resolution_shrinks_by_half() -> None:
    seen = FIELD.see(np.zeros((6, 8), np.uint8), 1000)
    assert (seen == 0).sum() == 12


@pytest.mark.parametrize(
    ("picture", "dpi"),
    [
        (np.zeros((4, 4), np.float64), 500),
        (np.zeros((4, 4, 3), np.uint8), 500),
        (np.zeros((0, 4), np.uint8), 500),
        (np.zeros((4, 4), np.uint8), 0),
    ],
)
def test_what_is_no_picture_is_refused(picture: np.ndarray, dpi: int) -> None:
    with pytest.raises(ValueError, match="finger"):
        FIELD.see(picture, dpi)


@pytest.mark.parametrize(
    ("setup", "data"),
    [
        (Setup(0xC0, 0x04, 0x99, 0, 1), b""),
        (Setup(0xC0, 0x05, 0x07, 0, 1), b""),
        (Setup(0x40, 0x04, 0x4E, 0, 1), b"\x55"),
        (Setup(0x40, 0x04, 0x33, 0, 4), b"1234"),
        (Setup(0x40, 0x04, 0x07, 0, 0), b""),
        (Setup(0x80, 0x06, 0x0F00, 0, 5), b""),
        (Setup(0x80, 0x77, 0, 0, 1), b""),
    ],
)
def test_the_4500_stalls_on_what_it_does_not_know(setup: Setup, data: bytes) -> None:
    with pytest.raises(Stall):
        Uru4000Model().control(setup, data)


@pytest.mark.parametrize("command", [b"", b"\x80", b"\x80\x38\x01\0\x09\0\0\0", b"\x80\x77\x01\0\x08\0\0\0", bytes(32)])
def test_the_nb1010_stalls_on_what_it_does_not_know(command: bytes) -> None:
    with pytest.raises(Stall):
        Nb1010Model().write(0x02, command)


def test_every_model_says_that_it_is_simulated() -> None:
    for model in (Uru4000Model(), Nb1010Model()):
        product = model.control(Setup(0x80, 6, 0x0302, 0x0409, 255), b"")[2:].decode("utf-16-le")
        assert product.endswith("(simulated)")


def test_the_4500_asleep_does_not_watch_for_fingers() -> None:
    model = Uru4000Model()
    heard: list[bytes] = []
    model.control(Setup(0x40, 0x04, 0x4E, 0, 1), b"\x10")
    model.submit(0x81, Transfer(64, lambda _status, data: heard.append(data)))
    model.place(np.zeros((4, 4), np.uint8), 512)
    assert heard == []
    model.control(Setup(0x40, 0x04, 0x07, 0, 1), b"\x01")
    assert heard[0][:2] == b"\x56\xaa"


def test_pulling_the_plug_ends_every_transfer_once() -> None:
    model = Uru4000Model()
    ended: list[CompletionStatus] = []
    for _ in range(3):
        model.submit(0x81, Transfer(64, lambda status, _data: ended.append(status)))
    model.unplug()
    assert ended == [CompletionStatus.GONE] * 3
    with pytest.raises(Unplugged):
        model.control(Setup(0x80, 6, 0x0100, 0, 18), b"")


def test_the_same_seed_gives_the_same_scrambled_image() -> None:
    def image(seed: int) -> bytes:
        model = Uru4000Model(seed=seed)
        got: list[bytes] = []
        model.control(Setup(0x40, 0x04, 0x07, 0, 1), b"\x01")
        model.submit(0x82, Transfer(1 << 20, lambda _status, data: got.append(data)))
        model.control(Setup(0x40, 0x04, 0x4E, 0, 1), b"\x20")
        return got[0]

    assert image(1) == image(1)
    assert image(1) != image(2)


def test_fingers_from_many_threads() -> None:
    model = Uru4000Model()

    def press_and_lift() -> None:
        for _ in range(50):
            model.place(np.zeros((9, 9), np.uint8), 512)
            model.lift()

    threads = [threading.Thread(target=press_and_lift) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model._view().min() == 255
