"""The simulated V4L2 camera, used by programs that are not ours: OpenCV's own capture and v4l2-ctl."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.v4l2 import Optics, V4l2Testbed, counting_picture, read_number

SIZE = (240, 320)
CAPTURE = """
import cv2, json, sys, time
from simulators.devices.v4l2 import read_number
capture = cv2.VideoCapture("/dev/video0", cv2.CAP_V4L2)
capture.set(cv2.CAP_PROP_FRAME_WIDTH, {width}), capture.set(cv2.CAP_PROP_FRAME_HEIGHT, {height})
numbers, levels, begin = [], [], time.monotonic()
for _ in range({count}):
    good, picture = capture.read()
    numbers.append(read_number(picture) if good else "failed")
    levels.append(float(picture.mean()) if good else -1)
print(json.dumps(dict(open=capture.isOpened(), numbers=numbers, levels=levels, seconds=time.monotonic() - begin)))
"""


FORMATS = ["GREY", "YUYV", "MJPG"]


@pytest.fixture(params=["YUYV", *(pytest.param(name, marks=pytest.mark.slow) for name in ("GREY", "MJPG"))])
def bed(request: pytest.FixtureRequest) -> Iterator[V4l2Testbed]:
    with V4l2Testbed(request.param, SIZE, 60, instant=True) as bed:
        yield bed


def capture(bed: V4l2Testbed, count: int = 10, size: tuple[int, int] = SIZE) -> dict:
    """What an unmodified `cv2.VideoCapture` in a process of its own gets."""
    script = CAPTURE.format(count=count, height=size[0], width=size[1])
    run = bed.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=True)
    return json.loads(run.stdout)


def control(bed: V4l2Testbed, *arguments: str) -> str:
    run = bed.run(["v4l2-ctl", *arguments], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


# The pattern.


@pytest.mark.parametrize("size", [(16, 64), (48, 100), (480, 640), (1080, 1920)])
def test_pattern_tells_its_number(size: tuple[int, int]) -> None:
    for number in (0, 1, 4711, (1 << 32) - 1):
        assert read_number(counting_picture(number, *size)) == number


@pytest.mark.parametrize("row", [1, 7, 119, 120, 239])
def test_picture_put_together_from_two_is_found_out(row: int) -> None:
    torn = counting_picture(7, *SIZE)
    torn[row:] = counting_picture(8, *SIZE)[row:]
    assert read_number(torn) is None


def test_grey_wall_and_noise_are_no_pattern() -> None:
    assert read_number(np.zeros((*SIZE, 3), np.uint8)) is None
    assert read_number(np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)) is None


# Programs that are not ours.


@pytest.mark.parametrize("bed", FORMATS, indirect=True)
def test_opencv_captures_whole_frames_in_order(bed: V4l2Testbed) -> None:
    seen = capture(bed, 20)
    assert seen["open"]
    assert None not in seen["numbers"]
    assert seen["numbers"] == sorted(set(seen["numbers"]))
    assert 20 / seen["seconds"] >= 15


def test_v4l2_ctl_reads_everything_there_is_to_know(bed: V4l2Testbed) -> None:
    told = control(bed, "--all", "--list-formats-ext")
    assert "Lab Camera (simulated)" in told
    assert f"'{bed.camera.mode.fourcc}'" in told
    assert "320x240" in told
    assert "60.000 fps" in told
    assert "/dev/video0" in control(bed, "--list-devices")


def test_v4l2_ctl_streams_whole_frames() -> None:
    with V4l2Testbed("GREY", SIZE, 60, instant=True) as bed:
        command = ["v4l2-ctl", "--stream-mmap", "--stream-count=20", "--stream-to=-"]
        raw = bed.run(command, capture_output=True, timeout=60).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, *SIZE)
    assert len(frames) == 20
    numbers = [read_number(frame) for frame in frames]
    assert None not in numbers
    assert numbers == sorted(set(numbers))


def test_v4l2_ctl_turns_the_brightness() -> None:
    with V4l2Testbed("GREY", SIZE, 60, instant=True) as bed:
        bed.camera.show(lambda _: np.full((*SIZE, 3), 100, np.uint8))
        assert set(capture(bed, 3)["levels"]) == {100.0}
        control(bed, "--set-ctrl=brightness=168")
        assert "brightness: 168" in control(bed, "--get-ctrl=brightness")
        assert set(capture(bed, 3)["levels"]) == {140.0}


def test_second_program_is_told_that_it_is_busy(bed: V4l2Testbed) -> None:
    streaming = ["v4l2-ctl", "--stream-mmap", "--stream-count=100000"]
    with bed.start(streaming, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as first:
        first.stderr.read(1)
        second = bed.run(["v4l2-ctl", "--stream-mmap", "--stream-count=1"], capture_output=True, text=True)
        assert "busy" in (second.stdout + second.stderr).lower()
        first.kill()
    assert capture(bed, 2)["open"]


def test_sizes_that_are_offered_can_be_chosen() -> None:
    with V4l2Testbed("YUYV", (480, 640), 60, sizes=[SIZE], instant=True) as bed:
        assert None not in capture(bed, 3, SIZE)["numbers"]
        assert bed.camera.mode.size == SIZE


def test_real_program_killed_in_the_stream_leaves_the_camera_free(bed: V4l2Testbed) -> None:
    with bed.start(["v4l2-ctl", "--stream-mmap", "--stream-count=100000"], stderr=subprocess.PIPE) as first:
        first.stderr.read(1)
        first.kill()
    assert None not in capture(bed, 3)["numbers"]


# How it behaves.


def test_exposure_settles_over_the_first_frames() -> None:
    optics = Optics(settling_frames=8, dark=0.1, noise=0, latency=0)
    with V4l2Testbed("GREY", SIZE, 60, optics=optics) as bed:
        bed.camera.show(lambda _: np.full((*SIZE, 3), 200, np.uint8))
        levels = capture(bed, 12)["levels"]
    assert levels == sorted(levels)
    assert levels[0] < 120
    assert levels[-1] == 200


def test_noise_is_that_of_its_seed() -> None:
    optics = Optics(settling_frames=0, noise=8, latency=0)

    def first(seed: int) -> list[float]:
        with V4l2Testbed("GREY", SIZE, 60, optics=optics, seed=seed) as bed:
            bed.camera.show(lambda _: np.full((*SIZE, 3), 100, np.uint8))
            return capture(bed, 1)["levels"]

    assert first(5) == first(5) != first(6)


def test_open_shutter_blurs_what_moves() -> None:
    def moving(seconds: float) -> np.ndarray:
        picture = np.zeros((*SIZE, 3), np.uint8)
        place = int(seconds * 600) % (SIZE[1] - 10)
        picture[:, place : place + 10] = 255
        return picture

    def peak(blur: float) -> int:
        with V4l2Testbed("GREY", SIZE, 60, optics=Optics(0, noise=0, blur=blur, latency=0)) as bed:
            bed.camera.show(moving)
            raw = bed.run(
                ["v4l2-ctl", "--stream-mmap", "--stream-count=1", "--stream-to=-"], capture_output=True
            ).stdout
        return int(np.frombuffer(raw, np.uint8).max())

    assert peak(0.0) == 255 > peak(0.05)


def test_dropped_frames_are_missing_numbers(bed: V4l2Testbed) -> None:
    bed.camera.drop(4)
    assert min(capture(bed, 3)["numbers"]) >= 4


# Faults, as programs see them.


def test_unplugged_camera_is_gone_from_every_listing_until_it_is_mended(bed: V4l2Testbed) -> None:
    look = "import os; print(os.path.exists('/dev/video0'), os.listdir('/sys/class/video4linux'))"

    def seen() -> str:
        return bed.run([sys.executable, "-c", look], capture_output=True, text=True).stdout.strip()

    assert seen() == "True ['video0']"
    bed.inject(FaultOrder(Fault.UNPLUG))
    assert seen() == "False []"
    bed.mend()
    assert seen() == "True ['video0']"


def test_stalled_camera_gives_opencv_nothing() -> None:
    with V4l2Testbed("GREY", SIZE, 60, instant=True) as bed:
        bed.inject(FaultOrder(Fault.STALL, after=2))
        assert capture(bed, 3)["numbers"][2:] == ["failed"]
        bed.mend()
        assert "failed" not in capture(bed, 3)["numbers"]


def test_passing_fault_mends_itself(bed: V4l2Testbed) -> None:
    bed.inject(FaultOrder(Fault.BUSY, seconds=0.05))
    time.sleep(0.06)
    assert capture(bed, 1)["open"]


def test_fault_that_a_camera_cannot_have_is_refused(bed: V4l2Testbed) -> None:
    with pytest.raises(ValueError, match="nv-full"):
        bed.inject(FaultOrder(Fault.NV_FULL))


def test_closed_bed_leaves_nothing_and_closes_again() -> None:
    bed = V4l2Testbed("GREY", SIZE)
    root = bed.environment["UMOCKDEV_DIR"]
    bed.close()
    bed.close()
    assert not Path(root).exists()


def test_this_process_sees_no_camera_unless_it_was_started_so() -> None:
    with V4l2Testbed("GREY", SIZE) as bed, pytest.raises(RuntimeError, match="umockdev"), bed.visible():
        pass


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fourcc", ["GREY", "YUYV"])
def test_a_thousand_frames_of_opencv_are_whole(fourcc: str) -> None:
    with V4l2Testbed(fourcc, (480, 640), 30, instant=True) as bed:
        seen = capture(bed, 1000, (480, 640))
    assert "failed" not in seen["numbers"]
    assert None not in seen["numbers"]
    assert seen["numbers"] == sorted(set(seen["numbers"]))
    assert 1000 / seen["seconds"] >= 15


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_thousand_frames_of_v4l2_ctl_are_whole() -> None:
    numbers = []
    with V4l2Testbed("GREY", (480, 640), 30, instant=True) as bed:
        command = ["v4l2-ctl", "--stream-mmap", "--stream-count=1000", "--stream-to=-"]
        with bed.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
            while len(raw := program.stdout.read(480 * 640)) == 480 * 640:
                numbers.append(read_number(np.frombuffer(raw, np.uint8).reshape(480, 640)))
    assert len(numbers) == 1000
    assert None not in numbers
    assert numbers == sorted(set(numbers))
