"""What is particular to V4L2 nodes: formats, settling, numbers and times, freezing, and who holds the node."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hal import Busy, Capability, Disconnected, NotFound, ProtocolError, TimedOut, Transport, Unsupported
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.v4l2 import Identity, Optics, read_number
from tests.drivers.camera_rigs import HEIGHT, WIDTH, comes_true, read, soon, until_it_fails, v4l2
from tests.on_time import on_time

GREY = ["GREY", "Y10 ", "Y12 ", "Y16 "]
COLOUR = ["YUYV", "UYVY", "NV12", "BGR3", "RGB3", "MJPG"]


def patches() -> np.ndarray:
    """Four large patches: dark, red, green, light."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    quarter = WIDTH // 4
    for place, colour in enumerate([(20, 20, 20), (40, 40, 200), (60, 180, 60), (230, 230, 230)]):
        picture[:, place * quarter : (place + 1) * quarter] = colour
    return picture


def middles(picture: np.ndarray) -> np.ndarray:
    return picture[HEIGHT // 2, WIDTH // 8 :: WIDTH // 4].astype(int)


@pytest.mark.parametrize("fourcc", GREY)
def test_grey_formats_arrive_at_eight_bits_and_are_infrared(fourcc: str) -> None:
    with v4l2(fourcc) as (rig, bed):
        bed.camera.show(lambda _: patches())
        with rig.open() as camera:
            (frame,) = read(camera, 1)
            assert Capability.INFRARED in camera.info.capabilities
    assert frame.infrared
    expected = cv2.cvtColor(patches(), cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(frame.bgr[:, :, 0], expected)


@pytest.mark.parametrize("fourcc", COLOUR)
def test_colour_formats_arrive_in_their_colours(fourcc: str) -> None:
    with v4l2(fourcc) as (rig, bed):
        bed.camera.show(lambda _: patches())
        with rig.open() as camera:
            (frame,) = read(camera, 1)
            assert Capability.RGB in camera.info.capabilities
    assert not frame.infrared
    assert np.abs(middles(frame.bgr) - middles(patches())).max() <= 6


def opened_format(options: dict[str, Any], *, formats: Sequence[str], **knobs: Any) -> str:
    with v4l2(formats[0], formats=formats[1:], **knobs) as (rig, bed), rig.open(**options):
        return bed.camera.mode.fourcc


def test_configured_format_comes_first() -> None:
    assert opened_format({"fourcc": "MJPG"}, formats=["YUYV", "MJPG"]) == "MJPG"


def test_whole_pictures_are_preferred_to_compressed_ones_and_colour_to_grey() -> None:
    assert opened_format({}, formats=["MJPG", "GREY", "YUYV"]) == "YUYV"


def test_format_that_is_not_offered_is_refused_and_the_node_let_go() -> None:
    with v4l2("YUYV") as (rig, bed):
        with pytest.raises(Unsupported, match="YUYV") as caught:
            rig.open(fourcc="NV12")
        assert caught.value.remedy
        assert comes_true(lambda: bed.descriptors == 0)
        with rig.open() as camera:
            assert read(camera, 1)


def test_size_near_the_one_asked_for_is_taken() -> None:
    with v4l2("YUYV", sizes=[(120, 160)]) as (rig, _), rig.open(width=150, height=110) as camera:
        assert read(camera, 1)[0].bgr.shape == (120, 160, 3)


# Settling.

DUSK = Optics(settling_frames=12, dark=0.1, noise=0.5, latency=0.0)


def flat(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def first_level(optics: Optics, **options: Any) -> float:
    with v4l2("GREY", instant=False, optics=optics) as (rig, bed):
        bed.camera.show(lambda _: flat(120))
        with rig.open(**options) as camera:
            return float(read(camera, 1)[0].bgr.mean())


def test_first_frame_is_exposed_right() -> None:
    assert abs(first_level(DUSK) - 120) < 4


def test_without_settling_the_first_frame_is_dark() -> None:
    assert first_level(DUSK, settle_seconds=0) < 60


def test_settling_ends_for_a_scene_that_never_rests() -> None:
    with v4l2("GREY") as (rig, bed):
        bed.camera.show(lambda seconds: flat(int(seconds * 240) % 256))
        with on_time(2.6, least=0.5):
            camera = rig.open(settle_seconds=0.5)
        with camera:
            assert read(camera, 1)


def test_infrared_light_on_every_other_frame_is_a_rest() -> None:
    numbers = itertools.count()
    with v4l2("GREY") as (rig, bed):
        bed.camera.show(lambda _: flat(30 + 120 * (next(numbers) % 2)))
        with on_time(3):
            camera = rig.open(settle_seconds=4)
        camera.close()


# Numbers and times.


def test_kernel_time_is_that_of_exposure_and_not_of_arrival() -> None:
    slow = Optics(settling_frames=0, noise=0, latency=0.012)
    with v4l2("GREY", instant=False, optics=slow) as (rig, _), rig.open() as camera:
        camera.read(soon())
        frame = camera.read(soon())
    assert frame.hardware_clock
    assert time.monotonic_ns() - frame.captured_ns >= 12_000_000


def test_frames_that_were_lost_on_the_way_are_counted() -> None:
    with v4l2("GREY") as (rig, bed), rig.open() as camera:
        (before,) = read(camera, 1)
        bed.camera.drop(5)
        after = read(camera, 30)
        missed_in_time = bed.camera.sensor.lost
    assert 5 <= sum(frame.lost for frame in after) <= 5 + missed_in_time
    assert all(read_number(frame.bgr) == frame.sequence for frame in (before, *after))


def test_flagged_and_short_frames_are_left_out_and_counted() -> None:
    with v4l2("GREY") as (rig, bed), rig.open() as camera:
        bed.inject(FaultOrder(Fault.SHORT_READ, rate=0.3, seed=3))
        frames = read(camera, 40)
    assert all(read_number(frame.bgr) == frame.sequence for frame in frames)
    assert sum(frame.lost for frame in frames) > 3


def test_frozen_camera_has_no_fresh_frame_and_goes_on_when_it_thaws() -> None:
    with v4l2("YUYV") as (rig, bed), rig.open() as camera:
        read(camera, 2)
        bed.camera.freeze()
        error = until_it_fails(camera, 0.6)
        assert isinstance(error, TimedOut)
        assert error.remedy
        bed.camera.freeze(False)
        assert read(camera, 1)


def test_a_frozen_picture_is_really_delivered_over_and_over() -> None:
    """The control of the test before: the device does send frames, and OpenCV takes them for new ones."""
    with v4l2("GREY") as (_, bed):
        script = "import cv2; c = cv2.VideoCapture('/dev/video0', cv2.CAP_V4L2); print([c.read()[0] for _ in range(9)])"
        bed.camera.freeze()
        seen = bed.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert json.loads(seen.lower()) == [True] * 9


# Who it is, and who holds it.


def test_identity_is_that_of_the_usb_device() -> None:
    identity = Identity("Door Camera (simulated)", "1a2b", "3c4d", "S7", "2-1.4")
    with v4l2("YUYV", identity=identity) as (rig, _):
        (info,) = rig.driver.list({})
    assert (info.vendor_id, info.product_id, info.serial) == ("1a2b", "3c4d", "S7")
    assert (info.name, info.transport) == ("Door Camera (simulated)", Transport.VIRTUAL)
    assert info.port == "/dev/v4l/by-path/lab-2-1.4-video-index0"


def test_camera_opens_by_the_stable_name_that_is_listed() -> None:
    with v4l2("YUYV") as (rig, _):
        (info,) = rig.driver.list({})
        with rig.open(source=info.port) as camera:
            assert camera.info.same_device(info)
            assert read(camera, 1)


def test_metadata_node_is_not_listed_and_not_opened() -> None:
    with v4l2("YUYV") as (rig, bed):
        bed.inject(FaultOrder(Fault.WRONG_DESCRIPTOR, seed=0))
        assert rig.driver.list({}) == []
        with pytest.raises(ProtocolError, match="does not capture"):
            rig.open()


def test_unplugged_camera_is_not_listed() -> None:
    with v4l2("YUYV") as (rig, bed):
        bed.inject(FaultOrder(Fault.UNPLUG))
        assert rig.driver.list({}) == []
        with pytest.raises(NotFound):
            rig.open()
        bed.mend()
        assert len(rig.driver.list({})) == 1


def test_the_camera_that_is_named_is_listed_first(tmp_path: Path) -> None:
    """Its identity is told when a node joins, and a module for faces has two cameras."""
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with v4l2("YUYV") as (rig, bed):
        (alone,) = rig.driver.list({})
        ports = [[info.port for info in rig.driver.list({"source": name})] for name in (str(tmp_path), bed.node)]
    assert len(ports[0]) == 2 and ports[0][1] == alone.port
    assert ports[1] == [alone.port]


def test_listing_disturbs_nobody() -> None:
    with v4l2("GREY") as (rig, _), rig.open() as camera:
        for _ in range(5):
            (info,) = rig.driver.list({})
            assert Capability.INFRARED in info.capabilities
            assert read(camera, 1)


HOLD = """
import cv2, sys
capture = cv2.VideoCapture("/dev/video0", cv2.CAP_V4L2)
print(capture.isOpened() and capture.read()[0], flush=True)
sys.stdin.read(1)
"""


def test_another_program_that_streams_makes_it_busy_and_its_end_frees_it() -> None:
    with v4l2("YUYV") as (rig, bed):
        command = [sys.executable, "-c", HOLD]
        with bed.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline().strip() == "True"
            with pytest.raises(Busy) as caught:
                rig.open()
            assert "other program" in caught.value.remedy
            other.kill()
        assert comes_true(rig.quiet)
        with rig.open() as camera:
            assert read(camera, 1)


def test_another_program_gets_nothing_while_we_stream() -> None:
    with v4l2("YUYV") as (rig, bed), rig.open() as camera:
        other = bed.run([sys.executable, "-c", HOLD], input="x", capture_output=True, text=True)
        assert other.stdout.strip() == "False"
        assert read(camera, 2)


def test_descriptor_from_before_the_unplugging_stays_dead() -> None:
    with v4l2("YUYV") as (rig, bed), rig.open() as old:
        bed.inject(FaultOrder(Fault.UNPLUG))
        bed.mend()
        with pytest.raises(Disconnected):
            while True:
                old.read(soon())
        with rig.open() as new:
            assert read(new, 3)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fourcc", ["GREY", "YUYV"])
def test_a_thousand_frames_are_whole_in_order_and_in_time(fourcc: str) -> None:
    with v4l2(fourcc) as (rig, _), rig.open() as camera:
        begin = time.monotonic()
        frames = [(read_number(f.bgr), f.sequence, f.captured_ns) for f in (camera.read(soon()) for _ in range(1000))]
        elapsed = time.monotonic() - begin
    assert all(number == sequence for number, sequence, _ in frames)
    assert all(a[1] < b[1] and a[2] < b[2] for a, b in itertools.pairwise(frames))
    assert 1000 / elapsed >= 15
