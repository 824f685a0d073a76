"""What is particular to recordings, the description of nodes, and options; what all sources owe is in the contract."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drivers.opencv_camera import OpenCvCamera, OpenCvCameraDriver, Places
from hal import (
    Deadline,
    Disconnected,
    Frame,
    NotFound,
    PermissionDenied,
    ProtocolError,
    SystemClock,
    Transport,
    Unsupported,
    load_driver,
)
from simulators.devices.camera_stream import CameraStream

HEIGHT, WIDTH = 48, 64
SOON = 15.0


class OffsetClock(SystemClock):
    """The machine's clock, which a test may set forward."""

    def __init__(self) -> None:
        self.offset_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.offset_ns


def picture(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def level(frame_bgr: np.ndarray) -> int:
    return int(np.median(frame_bgr))


def write_video(path: Path, count: int, fps: float = 100.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (WIDTH, HEIGHT))
    for index in range(count):
        writer.write(picture(20 + index % 200))
    writer.release()
    return path


def write_images(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        cv2.imwrite(str(folder / f"face_{index:03d}.png"), picture(20 + index % 200))
    return folder


@pytest.fixture
def driver() -> OpenCvCameraDriver:
    return OpenCvCameraDriver()


@pytest.fixture
def stream() -> Iterator[CameraStream]:
    with CameraStream(size=(HEIGHT, WIDTH), fps=60) as camera:
        yield camera


def soon() -> Deadline:
    return Deadline.after(SOON)


def grabbers() -> int:
    return sum(thread.name == "camera-grabber" for thread in threading.enumerate())


def first(camera: OpenCvCamera, wanted: Callable[[Frame], bool]) -> Frame:
    """Read pictures until one is wanted."""
    deadline = soon()
    while not wanted(frame := camera.read(deadline)):
        pass
    return frame


def never(frame: Frame) -> bool:
    return False


def test_entry_point_names_this_driver() -> None:
    assert isinstance(load_driver("opencv", None)[0], OpenCvCameraDriver)


# Recordings.


def test_recording_is_a_file_and_ends_as_disconnected(driver: OpenCvCameraDriver, tmp_path: Path) -> None:
    with driver.open({"source": str(write_video(tmp_path / "short.avi", 5))}) as camera:
        assert camera.info.transport is Transport.FILE
        with pytest.raises(Disconnected, match="ended"):
            first(camera, never)


def test_recording_keeps_its_pace(driver: OpenCvCameraDriver, tmp_path: Path) -> None:
    with driver.open({"source": str(write_images(tmp_path / "faces", 12)), "fps": 50}) as camera:
        frames = [camera.read(soon()) for _ in range(11)]
    span = (frames[-1].captured_ns - frames[0].captured_ns) / 1e9
    assert span == pytest.approx((frames[-1].sequence - frames[0].sequence) / 50, rel=0.25)


def test_warm_up_pictures_are_thrown_away(driver: OpenCvCameraDriver, tmp_path: Path) -> None:
    source = str(write_images(tmp_path / "faces", 20))
    with driver.open({"source": source, "fps": 50, "warmup_frames": 6}) as camera:
        frame = camera.read(soon())
    assert frame.sequence >= 7
    assert level(frame.bgr) == 20 + frame.sequence - 1


def test_stale_picture_is_never_handed_out(tmp_path: Path) -> None:
    clock = OffsetClock()
    options = {"source": str(write_images(tmp_path / "faces", 1))}
    with OpenCvCameraDriver(clock).open(options) as fresh:
        assert fresh.read(soon()).sequence == 1
    with OpenCvCameraDriver(clock).open(options) as stale:
        clock.offset_ns = 1_000_000_000
        with pytest.raises(Disconnected):
            stale.read(soon())


@pytest.mark.parametrize("name", ["absent.avi", "absent/%03d.png", "empty"])
def test_missing_recordings(driver: OpenCvCameraDriver, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound) as caught:
        driver.open({"source": str(tmp_path / name)})
    assert caught.value.remedy


def test_file_that_is_no_video(driver: OpenCvCameraDriver, tmp_path: Path) -> None:
    (tmp_path / "notes.avi").write_bytes(b"no video" * 1000)
    with pytest.raises(ProtocolError):
        driver.open({"source": str(tmp_path / "notes.avi")})


@pytest.mark.parametrize("pattern", ["%s.png", "%03d_%03d.png", "%n.png"])
def test_pattern_must_hold_one_number(driver: OpenCvCameraDriver, tmp_path: Path, pattern: str) -> None:
    with pytest.raises(Unsupported):
        driver.open({"source": str(tmp_path / pattern)})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_recording(driver: OpenCvCameraDriver, tmp_path: Path) -> None:
    video = write_video(tmp_path / "face.avi", 2)
    video.chmod(0)
    with pytest.raises(PermissionDenied):
        driver.open({"source": str(video)})


# V4L2.


def test_absent_node(driver: OpenCvCameraDriver) -> None:
    with pytest.raises(NotFound) as caught:
        driver.open({"source": "/dev/video4242"})
    assert caught.value.remedy


def test_nodes_are_described_from_sysfs(tmp_path: Path) -> None:
    usb = tmp_path / "devices" / "1-2"
    (usb / "1-2:1.0").mkdir(parents=True)
    for name, text in {"idVendor": "046d", "idProduct": "0825", "serial": "A1B2"}.items():
        (usb / name).write_text(text + "\n")
    for number in (0, 1):
        node = tmp_path / "video4linux" / f"video{number}"
        node.mkdir(parents=True)
        (node / "name").write_text("USB Camera\n")
        (node / "index").write_text(f"{number}\n")
        (node / "device").symlink_to(usb / "1-2:1.0")
    (info,) = OpenCvCameraDriver(places=Places(tmp_path / "video4linux", tmp_path / "dev")).list({})
    assert (info.transport, info.port, info.name) == (Transport.V4L2, str(tmp_path / "dev/video0"), "USB Camera")
    assert (info.vendor_id, info.product_id, info.serial) == ("046d", "0825", "A1B2")


@pytest.mark.hardware
def test_real_camera(driver: OpenCvCameraDriver) -> None:
    node = os.environ.get("KEYVIGIL_CAMERA", "/dev/video0")
    if not (Path(node).exists() and stat.S_ISCHR(Path(node).stat().st_mode)):
        pytest.skip(f"no camera at {node}: set KEYVIGIL_CAMERA")
    with driver.open({"source": node, "warmup_frames": 5}) as camera:
        frames = [camera.read(soon()) for _ in range(10)]
    assert frames[-1].sequence > frames[0].sequence


# Options.


@pytest.mark.parametrize(
    "options",
    [{"sauce": "x"}, {"width": "640"}, {"width": -1}, {"fps": float("nan")}, {"fourcc": "MJ"}, {"warmup_frames": True}],
)
def test_options_that_are_not_understood(driver: OpenCvCameraDriver, options: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as caught:
        driver.open(options)
    assert next(iter(options)) in str(caught.value)
