"""What every camera owes to `hal.Camera`: one suite over each source. Nodes join in when it runs under umockdev."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from hal import Busy, Capability, Deadline, Device, DeviceKind, Disconnected, SystemClock, TimedOut, Unsupported
from simulators.devices.v4l2 import read_number
from tests.drivers.camera_rigs import (
    HEIGHT,
    RIGS,
    WIDTH,
    Rig,
    by_default,
    grabbers,
    read,
    recordings,
    settled,
    soon,
)
from tests.leaks import leaked, open_descriptors
from tests.on_time import on_time

DEVICE_FACTS = {Capability.FRAME_SEQUENCE, Capability.HARDWARE_CLOCK}


@pytest.fixture(params=by_default(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with RIGS[request.param](recordings(tmp_path_factory)) as rig:
        yield rig


def test_frames_are_whole_colour_pictures_in_order(rig: Rig) -> None:
    with rig.open() as camera:
        frames = read(camera, 20)
    assert all(frame.bgr.shape == (HEIGHT, WIDTH, 3) and frame.bgr.dtype == np.uint8 for frame in frames)
    assert all(one.sequence < other.sequence for one, other in itertools.pairwise(frames))
    assert all(one.captured_ns < other.captured_ns for one, other in itertools.pairwise(frames))
    numbers = [read_number(frame.bgr) for frame in frames]
    assert None not in numbers
    steps = [other.sequence - one.sequence for one, other in itertools.pairwise(frames)]
    assert [other - one for one, other in itertools.pairwise(numbers)] == steps  # type: ignore[operator]


def test_time_stamps_are_on_the_clock_of_deadlines(rig: Rig) -> None:
    before = time.monotonic_ns()
    with rig.open() as camera:
        (frame,) = read(camera, 1)
    assert before < frame.captured_ns < time.monotonic_ns()


def test_an_opened_camera_is_a_device_that_says_who_it_is(rig: Rig) -> None:
    with rig.open() as camera:
        assert isinstance(camera, Device)
        info = camera.info
        listed = [device for device in rig.driver.list(rig.options) if device.same_device(info)]
    assert len(listed) == 1
    assert info.capabilities - listed[0].capabilities <= DEVICE_FACTS
    assert listed[0].capabilities <= info.capabilities
    assert info.kind is DeviceKind.CAMERA
    assert info.transport is rig.transport
    assert len({Capability.RGB, Capability.INFRARED} & info.capabilities) == 1


def test_frames_carry_what_the_capabilities_promise(rig: Rig) -> None:
    with rig.open() as camera:
        frames, known = read(camera, 3), camera.info.capabilities
    for frame in frames:
        assert frame.hardware_clock is (Capability.HARDWARE_CLOCK in known)
        assert frame.infrared is (Capability.INFRARED in known)
        if Capability.FRAME_SEQUENCE in known:
            assert read_number(frame.bgr) == frame.sequence
        else:
            assert frame.lost == 0
        if frame.infrared:
            assert (frame.bgr == frame.bgr[:, :, :1]).all()


def test_one_claimant_unless_it_is_shared(rig: Rig) -> None:
    with rig.open() as camera:
        if Capability.SHARED in camera.info.capabilities:
            with rig.open() as other:
                assert read(other, 1)
        else:
            with pytest.raises(Busy) as caught:
                rig.open()
            assert caught.value.remedy
            assert another_process(rig) == "Busy"
        assert read(camera, 2)
    assert settled(rig)
    assert another_process(rig) == "opened"


def another_process(rig: Rig) -> str:
    """What opening the camera ends with in a process of its own."""
    script = f"""
from drivers.opencv_camera import OpenCvCameraDriver
from hal import DeviceError
try:
    OpenCvCameraDriver().open({dict(rig.options)!r}).close()
    print("opened")
except DeviceError as error:
    print(type(error).__name__)
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_closed_camera_reads_nothing_and_closes_again(rig: Rig) -> None:
    camera = rig.open()
    camera.close()
    with pytest.raises(Disconnected):
        camera.read(soon())
    camera.close()


def test_opening_by_a_deadline_that_is_over_leaves_nothing_behind(rig: Rig) -> None:
    before = open_descriptors()
    with on_time(0.3), pytest.raises(TimedOut) as caught:
        rig.open(Deadline.after(0))
    assert caught.value.remedy
    assert grabbers() == 0
    assert settled(rig)
    assert not leaked(before, 1)
    with rig.open() as camera:
        assert read(camera, 1)


class ImpatientClock(SystemClock):
    """Stands for a person who presses control-C while the camera opens."""

    def monotonic_ns(self) -> int:
        if grabbers():
            raise KeyboardInterrupt
        return super().monotonic_ns()


def test_interrupt_from_the_keyboard_while_it_opens_releases_it(rig: Rig) -> None:
    with pytest.raises(KeyboardInterrupt):
        rig.open(Deadline.after(5, ImpatientClock()), warmup_frames=10)
    assert grabbers() == 0
    assert settled(rig)
    with rig.open() as camera:
        assert read(camera, 1)


def test_warm_up_frames_are_not_handed_out(rig: Rig) -> None:
    with rig.open(warmup_frames=10) as camera:
        (frame,) = read(camera, 1)
    number = read_number(frame.bgr)
    assert number is not None
    assert number >= 10


@pytest.mark.parametrize(
    "wrong", [{"sauce": 1}, {"warmup_frames": -1}, {"settle_seconds": "long"}, {"fourcc": "GREYISH"}]
)
def test_option_that_is_not_understood_is_named(rig: Rig, wrong: dict[str, object]) -> None:
    with pytest.raises(Unsupported) as caught:
        rig.open(**wrong)
    assert next(iter(wrong)) in str(caught.value)
    assert caught.value.remedy


def test_thirty_cycles_leave_no_thread_and_no_descriptor(rig: Rig) -> None:
    assert left_behind(rig, 30) == (0, False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_cycles_leave_no_thread_and_no_descriptor(rig: Rig) -> None:
    assert left_behind(rig, 1000) == (0, False)


def left_behind(rig: Rig, cycles: int) -> tuple[int, bool]:
    """Threads, and whether descriptors, that so many openings with a read leave behind, after one that warms up."""
    before = 0
    for cycle in range(cycles + 1):
        with rig.open(settle_seconds=0) as camera:
            read(camera, 1)
        if cycle == 0:
            assert settled(rig)
            before = open_descriptors()
    assert settled(rig)
    return grabbers(), leaked(before, cycles)
