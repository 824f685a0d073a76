"""What every kind of picture source has in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hal import Capability, DeviceInfo, DeviceKind, NotFound, PermissionDenied, Transport

Picture = NDArray[np.uint8]
"""uint8 `[height, width, 3]` in BGR, or `[height, width]` from a grey sensor."""

Capture = Any
"""`cv2.VideoCapture`; OpenCV ships no types that hold under strict checking."""


class Source(Protocol):
    """One kind of thing that OpenCV can read pictures from.

    `start`, `grab` and `finish` run in the grabber's thread, which calls `finish` whenever `start` was called.
    """

    info: DeviceInfo

    def is_present(self) -> bool:
        """Whether there is something to open, without opening it."""
        ...

    def start(self) -> Capture:
        """Open; raises a `DeviceError`."""
        ...

    def grab(self, capture: Capture) -> Picture | None:
        """The next picture, `None` when there is none yet; raises a `DeviceError` when there will be none."""
        ...

    def interval_ns(self, capture: Capture) -> int:
        """Nanoseconds from one picture to the next where this side must keep the pace, else 0."""
        ...

    def interrupt(self) -> None:
        """Make a blocked `start` or `grab` return; called from another thread."""
        ...

    def finish(self) -> None:
        """Let go of what `start` took."""
        ...


def camera_info(transport: Transport, port: str, capability: Capability = Capability.RGB, **rest: str) -> DeviceInfo:
    """Identity of a camera at `port`; `rest` are the textual fields of `DeviceInfo`."""
    return DeviceInfo(DeviceKind.CAMERA, "opencv", transport, port, capabilities=frozenset({capability}), **rest)


def check_access(path: Path, mode: int) -> None:
    """Raise `NotFound` or `PermissionDenied` when `path` cannot be opened with the `os.access` bits in `mode`."""
    if not path.exists():
        raise NotFound(f"there is no camera or recording at {path}")
    if not os.access(path, mode):
        raise PermissionDenied(f"no permission to open {path}")
