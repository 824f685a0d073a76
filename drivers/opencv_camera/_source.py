"""What every kind of picture source has in common."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hal import Capability, DeviceInfo, DeviceKind, NotFound, PermissionDenied, Transport

Picture = NDArray[np.uint8]
"""uint8 `[height, width, 3]` in BGR, or `[height, width]` from a grey sensor."""

Capture = Any
"""`cv2.VideoCapture`; OpenCV ships no types that hold under strict checking."""


@dataclass(frozen=True)
class Shot:
    """A picture as a source delivers it.

    `sequence` and `captured_ns` (CLOCK_MONOTONIC) are the device's own, `None` where it has none; `lost` counts the
    pictures that it numbered since the last shot and that never came.
    """

    picture: Picture
    sequence: int | None = None
    captured_ns: int | None = None
    lost: int = 0


class Source(Protocol):
    """One kind of thing that pictures come from.

    `start`, `grab`, `interval_ns` and `finish` run in the grabber's thread, which calls `finish` at the end whether or
    not `start` succeeded. `info` is complete once the first shot was grabbed.
    """

    info: DeviceInfo

    def is_present(self) -> bool:
        """Whether there is something to open, without opening it."""
        ...

    def start(self) -> None:
        """Open; raises a `DeviceError`."""
        ...

    def grab(self) -> Shot | None:
        """The next picture, `None` when there is none yet; raises a `DeviceError` when there will be none."""
        ...

    def interval_ns(self) -> int:
        """Nanoseconds from one picture to the next where this side must keep the pace, else 0."""
        ...

    def interrupt(self) -> None:
        """Make a blocked `start` or `grab` return; called from another thread."""
        ...

    def finish(self) -> None:
        """Let go of everything; allowed twice."""
        ...


def camera_info(transport: Transport, port: str, *capabilities: Capability, **rest: str) -> DeviceInfo:
    """Identity of a camera at `port`; `rest` are the textual fields of `DeviceInfo`."""
    return DeviceInfo(DeviceKind.CAMERA, "opencv", transport, port, capabilities=frozenset(capabilities), **rest)


def check_access(path: Path, mode: int) -> None:
    """Raise `NotFound` or `PermissionDenied` when `path` cannot be opened with the `os.access` bits in `mode`."""
    if not path.exists():
        raise NotFound(f"there is no camera or recording at {path}")
    if not os.access(path, mode):
        raise PermissionDenied(f"no permission to open {path}")
