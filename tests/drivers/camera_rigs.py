"""Cameras of every kind as the driver gets at them, each showing the counting pattern."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import pytest

from drivers.opencv_camera import OpenCvCamera, OpenCvCameraDriver
from hal import Deadline, DeviceError, Frame, Transport
from simulators.devices.camera_stream import CameraStream, FrameSource
from simulators.devices.faults import Faulty
from simulators.devices.v4l2 import PRELOAD, V4l2Testbed, counting_picture
from tests.on_time import on_time

HEIGHT, WIDTH = 240, 320
FPS = 60.0
FRAMES = 240
UNDER_UMOCKDEV = PRELOAD in os.environ.get("LD_PRELOAD", "")
"""Whether this process sees simulated nodes; `test_v4l2_under_umockdev.py` starts one that does."""


@dataclass
class Rig:
    """A camera that the driver can open with `options`; `device` is what faults are played on, if it can have any."""

    driver: OpenCvCameraDriver
    options: Mapping[str, Any]
    transport: Transport
    device: Faulty | None = None
    quiet: Callable[[], bool] = field(default=lambda: True)
    """Whether the other end has noticed that everything was closed."""

    def open(self, deadline: Deadline | None = None, **more: Any) -> OpenCvCamera:
        return self.driver.open({**self.options, **more}, deadline)


@contextmanager
def v4l2(name: str, **knobs: Any) -> Iterator[tuple[Rig, V4l2Testbed]]:
    with V4l2Testbed(name, (HEIGHT, WIDTH), FPS, **{"instant": True, **knobs}) as bed, bed.visible():
        options = {"source": bed.node, "width": WIDTH, "height": HEIGHT}
        quiet = lambda: bed.descriptors == 0 and bed.camera.holder is None  # noqa: E731
        yield Rig(OpenCvCameraDriver(), options, Transport.VIRTUAL, bed, quiet), bed


@contextmanager
def network(folder: Path) -> Iterator[Rig]:
    with CameraStream(size=(HEIGHT, WIDTH), fps=FPS) as stream:
        stream.show(counting())
        yield Rig(OpenCvCameraDriver(), {"source": stream.url}, Transport.VIRTUAL, stream, lambda: stream.clients == 0)


@contextmanager
def video(folder: Path) -> Iterator[Rig]:
    # The driver comes first: FFMPEG reads how much it may print when it is first used.
    driver, path = OpenCvCameraDriver(), folder / "pattern.avi"
    if not path.exists():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
        for number in range(FRAMES):
            writer.write(counting_picture(number, HEIGHT, WIDTH))
        writer.release()
    yield Rig(driver, {"source": str(path)}, Transport.FILE)


@contextmanager
def images(folder: Path, name: str = "") -> Iterator[Rig]:
    place = folder / "pattern"
    if not place.exists():
        place.mkdir()
        for number in range(FRAMES):
            cv2.imwrite(str(place / f"p{number:03d}.png"), counting_picture(number, HEIGHT, WIDTH))
    yield Rig(OpenCvCameraDriver(), {"source": str(place / name), "fps": FPS}, Transport.FILE)


@contextmanager
def _node(name: str) -> Iterator[Rig]:
    with v4l2(name) as (rig, _):
        yield rig


NODES: dict[str, Callable[[Path], Any]] = {
    "v4l2-grey": lambda _: _node("GREY"),
    "v4l2-yuyv": lambda _: _node("YUYV"),
    "v4l2-mjpg": lambda _: _node("MJPG"),
}
RIGS: dict[str, Callable[[Path], Any]] = {
    "video": video,
    "folder": images,
    "numbered": lambda folder: images(folder, "p%03d.png"),
    "network": network,
}
FAULTY: dict[str, Callable[[Path], Any]] = {"network": network}
if UNDER_UMOCKDEV:
    RIGS |= NODES
    FAULTY |= NODES


def recordings(factory: pytest.TempPathFactory) -> Path:
    """Where the recordings of this session are kept."""
    folder = factory.getbasetemp() / "recordings"
    folder.mkdir(exist_ok=True)
    return folder


def by_default(kinds: Mapping[str, Any]) -> list[Any]:
    """`kinds` as parameters of a suite: of the nodes, which differ in their format alone, one is not slow."""
    more = set(NODES) - {"v4l2-yuyv"}
    return [pytest.param(kind, marks=pytest.mark.slow) if kind in more else kind for kind in kinds]


def counting() -> FrameSource:
    numbers = iter(range(1 << 32))
    return lambda _: counting_picture(next(numbers), HEIGHT, WIDTH)


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(seconds)


def read(camera: OpenCvCamera, count: int) -> list[Frame]:
    return [camera.read(soon()) for _ in range(count)]


def grabbers() -> int:
    return sum(thread.name == "camera-grabber" for thread in threading.enumerate())


def settled(rig: Rig) -> bool:
    """Wait until the other end, too, has let go of everything."""
    return comes_true(rig.quiet)


def comes_true(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait for something that another thread or process is about to do."""
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.002)
    return condition()


def until_it_fails(camera: OpenCvCamera, seconds: float) -> DeviceError:
    """What a read raised that failed in time; frames that were under way come first."""
    while True:
        with on_time(seconds):
            try:
                camera.read(Deadline.after(seconds))
            except DeviceError as error:
                return error
