"""Every fault that a USB wire can have, on every reader, in process and over USB/IP: what the driver makes of it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from hal import (
    Busy,
    Capability,
    Deadline,
    DeviceError,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
)
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.press_sensor import PressSensorModel
from simulators.devices.usb import LIES
from tests.drivers.usb_rig import MODELS, TRANSPORTS, UsbRig, usb_rig
from tests.leaks import leaked, open_descriptors
from tests.on_time import on_time

SECONDS = 0.3
SILENT = FaultOrder(Fault.SLOW, seconds=3600)


@pytest.fixture(params=["uru4000-scrambled", "nb1010"])
def model(request: pytest.FixtureRequest) -> PressSensorModel:
    return MODELS[request.param]()


@pytest.fixture(params=TRANSPORTS)
def rig(request: pytest.FixtureRequest, model: PressSensorModel) -> Iterator[UsbRig]:
    with usb_rig(model, request.param) as rig:
        rig.place()
        yield rig


@pytest.fixture
def near(model: PressSensorModel) -> Iterator[UsbRig]:
    """The quicker transport alone, for sweeps."""
    with usb_rig(model, "in-process") as rig:
        rig.place()
        yield rig


@contextmanager
def refused(*kinds: type[DeviceError], seconds: float = SECONDS) -> Iterator[None]:
    """The block ends with one of `kinds`, which has a remedy, inside the deadline and a tenth of it."""
    with on_time(seconds), pytest.raises(kinds) as caught:
        yield
    assert type(caught.value) in kinds
    assert caught.value.remedy


def named(value: object) -> str:
    """A readable name of an order."""
    return f"{value.fault}-after-{value.after}" if isinstance(value, FaultOrder) else ""


WHILE_OPEN = [
    (FaultOrder(Fault.UNPLUG), (Disconnected,)),
    (FaultOrder(Fault.UNPLUG, after=2), (Disconnected,)),
    (FaultOrder(Fault.REFUSE), (ProtocolError,)),
    (FaultOrder(Fault.REFUSE, after=2), (ProtocolError,)),
    (FaultOrder(Fault.STALL), (TimedOut,)),
    (FaultOrder(Fault.STALL, after=1), (TimedOut,)),
    (FaultOrder(Fault.STALL, after=2), (TimedOut,)),
    (FaultOrder(Fault.SHORT_READ), (ProtocolError,)),
    (FaultOrder(Fault.CORRUPT), (ProtocolError, TimedOut)),
    (SILENT, (TimedOut,)),
    pytest.param(FaultOrder(Fault.SLOW, after=2, seconds=3600), (TimedOut,), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("order", "errors"), WHILE_OPEN, ids=named)
def test_a_fault_while_the_reader_is_open(
    rig: UsbRig, order: FaultOrder, errors: tuple[type[DeviceError], ...]
) -> None:
    with rig.open() as reader:
        rig.model.inject(order)
        with refused(*errors):
            reader.capture(Deadline.after(SECONDS))
        rig.model.mend()
        if order.fault is not Fault.UNPLUG:
            rig.captures_exactly(reader)
    rig.works()


BEFORE_OPENING = [
    (FaultOrder(Fault.UNPLUG), (NotFound,)),
    (FaultOrder(Fault.REFUSE), (ProtocolError,)),
    (FaultOrder(Fault.STALL), (TimedOut,)),
    (FaultOrder(Fault.SHORT_READ), (ProtocolError,)),
    (FaultOrder(Fault.CORRUPT), (ProtocolError, NotFound)),
    (FaultOrder(Fault.BUSY), (Busy,)),
    (FaultOrder(Fault.PERMISSION_DENIED), (PermissionDenied,)),
    (SILENT, (TimedOut,)),
]


@pytest.mark.parametrize(("order", "errors"), BEFORE_OPENING, ids=named)
def test_a_fault_before_the_reader_is_opened(
    rig: UsbRig, order: FaultOrder, errors: tuple[type[DeviceError], ...]
) -> None:
    rig.model.inject(order)
    with refused(*errors), rig.open(SECONDS) as reader:
        reader.capture(Deadline.after(SECONDS))
    rig.model.mend()
    rig.works()


@pytest.mark.parametrize("lie", range(len(LIES)), ids=[name.replace(" ", "-") for name, _lie in LIES])
def test_a_device_that_lies_about_itself_is_refused_and_released(rig: UsbRig, lie: int) -> None:
    rig.model.inject(FaultOrder(Fault.WRONG_DESCRIPTOR, seed=lie))
    with refused(ProtocolError):
        rig.open(SECONDS)
    rig.model.mend()
    rig.works()


@pytest.mark.parametrize(
    "fault",
    [Fault.UNPLUG, Fault.REFUSE, Fault.SHORT_READ, pytest.param(Fault.STALL, marks=pytest.mark.slow)],
)
def test_a_fault_at_any_message_of_a_presentation(near: UsbRig, fault: Fault) -> None:
    """From the first descriptor to the last line of the image, one fault at each message in turn."""
    allowed = {
        Fault.UNPLUG: (Disconnected, NotFound),
        Fault.REFUSE: (ProtocolError, NotFound),
        Fault.STALL: (TimedOut,),
        Fault.SHORT_READ: (ProtocolError,),
    }[fault]
    for after in range(140):
        near.model.inject(FaultOrder(fault, after=after))
        try:
            with near.open(SECONDS) as reader:
                reader.capture(Deadline.after(SECONDS))
        except allowed as error:
            assert error.remedy
        else:
            break
        near.model.mend()
    near.model.mend()
    assert 10 < after < 139
    near.works()


@pytest.mark.parametrize("rate", [0.0003, 0.003, 0.03])
def test_altered_bytes_are_an_error_of_the_tree_or_an_image(near: UsbRig, rate: float) -> None:
    outcomes = set()
    for seed in range(8):
        near.model.inject(FaultOrder(Fault.CORRUPT, rate=rate, seed=seed))
        with on_time(2 * SECONDS):
            try:
                with near.open(SECONDS) as reader:
                    outcomes.add(reader.capture(Deadline.after(SECONDS)).pixels.shape)
            except DeviceError as error:
                outcomes.add(type(error))
        near.model.mend()
    assert outcomes
    near.works()


def test_the_same_order_spoils_the_same_bytes(near: UsbRig) -> None:
    def spoiled(seed: int) -> bytes:
        taken = []
        with near.open() as reader:
            near.model.inject(FaultOrder(Fault.CORRUPT, rate=0.002, seed=seed))
            with suppress(DeviceError):
                taken.append(reader.capture(Deadline.after(SECONDS)).pixels.tobytes())
        near.model.mend()
        return b"".join(taken)

    assert [spoiled(3), spoiled(4)] == [spoiled(3), spoiled(4)]


def test_an_altered_pixel_is_not_noticed(rig: UsbRig) -> None:
    """The control beside the header tests, and a plain statement: these readers have no checksum."""
    images = {0x82, 0x83}
    with rig.open() as reader:
        rig.model.fault = lambda endpoint, data: (
            data[:300] + bytes([data[300] ^ 1]) + data[301:] if endpoint in images and len(data) > 300 else data
        )
        pixels = reader.capture(Deadline.after(20)).pixels
    assert 0 < np.count_nonzero(pixels != rig.picture()) <= pixels.shape[0]


def test_a_slow_reader_within_the_callers_patience_loses_nothing(rig: UsbRig) -> None:
    rig.model.inject(FaultOrder(Fault.SLOW, seconds=0.004))
    rig.works()


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.PERMISSION_DENIED, Fault.UNPLUG])
def test_a_fault_that_passes_needs_no_mending(rig: UsbRig, fault: Fault) -> None:
    rig.model.inject(FaultOrder(fault, seconds=0.2))
    with pytest.raises((Busy, PermissionDenied, NotFound)):
        rig.open()
    patience = Deadline.after(10)
    while True:
        try:
            rig.works()
            return
        except (Busy, PermissionDenied, NotFound):
            patience.check("the fault passing")


def test_a_halted_endpoint_is_cleared_without_mending(rig: UsbRig) -> None:
    """As USB has it: the endpoint refuses everything until the host clears the halt, and the driver does."""
    with rig.open() as reader:
        rig.model.inject(FaultOrder(Fault.REFUSE, after=3, seconds=0.4))
        with refused(ProtocolError):
            reader.capture(Deadline.after(SECONDS))
        patience = Deadline.after(10)
        while True:
            try:
                rig.captures_exactly(reader)
                return
            except ProtocolError:
                patience.check("the refusal passing")


def test_a_reader_that_was_silent_for_a_while_goes_on_by_itself(rig: UsbRig) -> None:
    with rig.open() as reader:
        rig.model.inject(FaultOrder(Fault.STALL, seconds=SECONDS))
        with refused(TimedOut, seconds=SECONDS / 2):
            reader.capture(Deadline.after(SECONDS / 2))
        patience = Deadline.after(10)
        while True:
            try:
                rig.captures_exactly(reader, SECONDS)
                return
            except TimedOut:
                patience.check("the silence passing")


def test_a_fault_that_a_device_cannot_play_is_refused(near: UsbRig) -> None:
    with pytest.raises(ValueError, match="lockout"):
        near.model.inject(FaultOrder(Fault.LOCKOUT))


def test_a_reader_belongs_to_one_program(rig: UsbRig) -> None:
    with rig.open() as reader:
        assert Capability.SHARED not in reader.info.capabilities


def _cycle(rig: UsbRig, count: int) -> None:
    for turn in range(count):
        with rig.open() as reader:
            if turn % 50 == 0:
                rig.captures_exactly(reader)


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_opening_and_closing_leaks_nothing(rig: UsbRig, count: int) -> None:
    _cycle(rig, 3)
    gc.collect()
    before = open_descriptors()
    threads = set(threading.enumerate())
    _cycle(rig, count)
    gc.collect()
    deadline = Deadline.after(10)
    while set(threading.enumerate()) - threads:
        deadline.check("the last connection ending")
    assert not leaked(before, count)
