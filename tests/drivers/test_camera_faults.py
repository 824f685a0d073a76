"""Every fault on every simulated camera: the right error with its remedy, on time, and a camera that works again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivers.opencv_camera import OpenCvCamera
from hal import (
    Busy,
    Deadline,
    DeviceError,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    Reopening,
    TimedOut,
    Transport,
)
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.v4l2 import read_number
from tests.drivers.camera_rigs import (
    FAULTY,
    Rig,
    by_default,
    grabbers,
    read,
    recordings,
    settled,
    soon,
    until_it_fails,
)
from tests.leaks import leaked, open_descriptors
from tests.on_time import on_time

LIMIT = 0.4
"""The deadline and a tenth; a busy machine may take another tenth of a second to wake a thread."""
OPENING = {
    "busy": (FaultOrder(Fault.BUSY), Busy),
    "permission-denied": (FaultOrder(Fault.PERMISSION_DENIED), PermissionDenied),
    "wrong-descriptor": (FaultOrder(Fault.WRONG_DESCRIPTOR), ProtocolError),
    "impossible-size": (FaultOrder(Fault.WRONG_DESCRIPTOR, seed=1), ProtocolError),
    "no-pixels": (FaultOrder(Fault.WRONG_DESCRIPTOR, seed=2), ProtocolError),
    "unplug": (FaultOrder(Fault.UNPLUG), (NotFound, Disconnected)),
    "unplug-during": (FaultOrder(Fault.UNPLUG, after=2), Disconnected),
    "stall": (FaultOrder(Fault.STALL), TimedOut),
    "slow": (FaultOrder(Fault.SLOW, seconds=3), TimedOut),
    "short-read": (FaultOrder(Fault.SHORT_READ), ProtocolError),
    "corrupt": (FaultOrder(Fault.CORRUPT), ProtocolError),
}
STREAMING = {
    "unplug": (FaultOrder(Fault.UNPLUG), Disconnected),
    "unplug-later": (FaultOrder(Fault.UNPLUG, after=5), Disconnected),
    "stall": (FaultOrder(Fault.STALL), TimedOut),
    "slow": (FaultOrder(Fault.SLOW, seconds=3), TimedOut),
    "short-read": (FaultOrder(Fault.SHORT_READ), ProtocolError),
    "corrupt": (FaultOrder(Fault.CORRUPT), ProtocolError),
}


@pytest.fixture(params=by_default(FAULTY))
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with FAULTY[request.param](recordings(tmp_path_factory)) as rig:
        yield rig


def play(rig: Rig, order: FaultOrder) -> None:
    assert rig.device is not None
    rig.device.inject(order)


def works_after_mending(rig: Rig) -> bool:
    assert rig.device is not None
    rig.device.mend()
    with rig.open() as camera:
        return all(read_number(frame.bgr) is not None for frame in read(camera, 3))


def test_every_fault_that_the_device_can_play_is_played_here(rig: Rig) -> None:
    assert rig.device is not None
    assert {order.fault for order, _ in (*OPENING.values(), *STREAMING.values())} == rig.device.faults


@pytest.mark.parametrize("name", OPENING)
def test_fault_while_it_opens(rig: Rig, name: str) -> None:
    order, error = OPENING[name]
    before = open_descriptors()
    play(rig, order)
    with on_time(LIMIT), pytest.raises(error) as caught:
        rig.open(Deadline.after(LIMIT), settle_seconds=5, warmup_frames=3)
    assert isinstance(caught.value, DeviceError)
    assert caught.value.remedy
    assert grabbers() == 0
    assert settled(rig)
    assert not leaked(before, 10)  # one may be of the other end, or of a neighbour
    assert works_after_mending(rig)


@pytest.mark.parametrize("name", STREAMING)
def test_fault_while_it_streams(rig: Rig, name: str) -> None:
    order, error = STREAMING[name]
    with rig.open() as camera:
        read(camera, 2)
        play(rig, order)
        caught = until_it_fails(camera, LIMIT)
        assert isinstance(caught, error)
        assert caught.remedy
    assert grabbers() == 0
    assert settled(rig)
    assert works_after_mending(rig)


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.SLOW])
def test_camera_that_was_silent_goes_on_without_being_opened_again(rig: Rig, fault: Fault) -> None:
    with rig.open() as camera:
        play(rig, FaultOrder(fault, seconds=0.4 if fault is Fault.SLOW else 0.0))
        until_it_fails(camera, 0.2)
        assert rig.device is not None
        rig.device.mend()
        assert read_number(camera.read(soon()).bgr) is not None


def test_camera_that_comes_back_is_opened_again(rig: Rig) -> None:
    opened = 0

    def opener(deadline: Deadline) -> OpenCvCamera:
        nonlocal opened
        opened += 1
        return rig.open(deadline)

    def work(camera: OpenCvCamera) -> int:
        assert rig.device is not None
        read(camera, 2)
        if opened == 1:
            rig.device.inject(FaultOrder(Fault.UNPLUG))
            error = until_it_fails(camera, LIMIT)
            rig.device.mend()
            raise error
        return len(read(camera, 3))

    with Reopening(opener) as camera:
        assert camera.run(work, soon(10)) == 3
    assert opened == 2
    assert rig.transport is Transport.VIRTUAL
