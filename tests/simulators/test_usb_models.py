"""The models as devices: what a finger looks like to them, and what their firmware refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.nb1010_model import Nb1010Model
from simulators.devices.press_sensor import SensorField
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import LIES, CompletionStatus, Setup, Stall, Transfer, Unplugged

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
    assert model._glass.view().min() == 255


# What goes wrong on the wire.


def read(model: Nb1010Model, length: int = 540) -> list[tuple[CompletionStatus, bytes]]:
    ended: list[tuple[CompletionStatus, bytes]] = []
    model.submit(0x83, Transfer(length, lambda status, data: ended.append((status, data))))
    return ended


ASK = bytes.fromhex("8038010008000000")


def test_a_fault_lets_the_messages_before_it_pass() -> None:
    model = Nb1010Model()
    model.inject(FaultOrder(Fault.REFUSE, after=2))
    model.write(0x02, ASK)
    assert read(model)[0][0] is CompletionStatus.DONE
    with pytest.raises(Stall):
        model.write(0x02, ASK)


def test_a_halted_endpoint_refuses_until_the_host_clears_it() -> None:
    model = Nb1010Model()
    model.inject(FaultOrder(Fault.REFUSE, after=1))
    waiting = read(model)
    model.write(0x02, ASK)
    assert waiting == [(CompletionStatus.STALLED, b"")]
    model._wire.clear()
    assert read(model) == [(CompletionStatus.STALLED, b"")]
    model.control(Setup(0x02, 1, 0, 0x83, 0), b"")
    model.write(0x02, ASK)
    assert read(model)[0][0] is CompletionStatus.DONE


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.REFUSE])
def test_a_device_that_is_silent_ends_no_transfer_and_one_that_refuses_ends_each(fault: Fault) -> None:
    model = Nb1010Model()
    model.inject(FaultOrder(fault))
    ended: list[CompletionStatus] = []
    waiting = [Transfer(64, lambda status, _data: ended.append(status)) for _ in range(4)]
    refusals = 0
    for begin in (
        lambda: model.request(Setup(0x80, 6, 0x0100, 0, 18), b"", waiting[0]),
        lambda: model.submit_out(0x02, ASK, waiting[1]),
    ):
        try:
            begin()
        except Stall:
            refusals += 1
    model.submit(0x81, waiting[2])
    model.submit(0x83, waiting[3])
    model._send(0x83, b"unheard")
    silent = fault is Fault.STALL
    assert (refusals, ended) == ((0, []) if silent else (2, [CompletionStatus.STALLED]))
    points = {0: (0, 1), 0x81: (2,), 0x83: (3,)}
    withdrawn = [model.cancel(point, waiting[number]) for point, some in points.items() for number in some]
    assert withdrawn == ([True] * 4 if silent else [False, False, True, False])
    model.mend()
    model.write(0x02, ASK)
    assert read(model)[0][0] is CompletionStatus.DONE


def test_a_device_that_falls_silent_takes_nothing_and_keeps_nothing_ready() -> None:
    model = Nb1010Model()
    model.write(0x02, ASK)
    model.inject(FaultOrder(Fault.STALL))
    assert read(model) == []
    ended: list[CompletionStatus] = []
    prepare = bytes.fromhex("800d01000c00000000000000")
    model.submit_out(0x02, prepare, Transfer(0, lambda status, _data: ended.append(status)))
    assert not model._prepared
    model.unplug()
    assert ended == [CompletionStatus.GONE]


def test_the_rate_of_altered_bytes_is_the_one_ordered() -> None:
    model = Nb1010Model()
    model.inject(FaultOrder(Fault.CORRUPT, rate=0.1, seed=2))
    model._send(0x83, bytes(20_000))
    (_status, data) = read(model, 20_000)[0]
    assert np.mean(np.frombuffer(data, np.uint8) != 0) == pytest.approx(0.1, rel=0.1)


def test_a_share_of_messages_is_hit() -> None:
    model = Nb1010Model()
    model.inject(FaultOrder(Fault.SHORT_READ, rate=0.3, seed=4))
    lengths = [len(model.control(Setup(0x80, 6, 0x0100, 0, 18), b"")) for _ in range(300)]
    assert 60 < sum(length < 18 for length in lengths) < 120


def test_a_slow_answer_can_be_withdrawn_and_comes_no_more() -> None:
    model = Nb1010Model()
    model.inject(FaultOrder(Fault.SLOW, seconds=3600))
    ended: list[bytes] = []
    transfer = Transfer(18, lambda _status, data: ended.append(data))
    model.request(Setup(0x80, 6, 0x0100, 0, 18), b"", transfer)
    assert ended == []
    assert model.cancel(0, transfer)
    assert not model.cancel(0, transfer)
    assert model._late == {}


def test_unplugging_ends_what_is_late() -> None:
    model = Nb1010Model()
    model.inject(FaultOrder(Fault.SLOW, seconds=3600))
    ended: list[CompletionStatus] = []
    model.request(Setup(0x80, 6, 0x0100, 0, 18), b"", Transfer(18, lambda status, _data: ended.append(status)))
    model.inject(FaultOrder(Fault.UNPLUG))
    assert ended == [CompletionStatus.GONE]
    model.mend()
    assert model.plugged
    assert model.control(Setup(0x80, 6, 0x0100, 0, 18), b"")


@pytest.mark.parametrize(("name", "lie"), LIES, ids=[name.replace(" ", "-") for name, _lie in LIES])
def test_every_lie_differs_from_the_truth(name: str, lie: Callable[[bytes], bytes]) -> None:
    for model in (Uru4000Model(), Nb1010Model()):
        truth = model.layout.configuration_descriptor()
        assert lie(truth) != truth


def test_a_handle_of_before_the_plug_was_pulled_is_worth_nothing() -> None:
    model = Nb1010Model()
    epoch = model.epoch
    model.unplug()
    model.plug()
    with pytest.raises(Unplugged), model.in_epoch(epoch):
        raise AssertionError
