"""Cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hal._values import Deadline, Device


@dataclass(frozen=True)
class CameraFormat:
    """What is asked of a camera; the device may settle on something near it."""

    width: int = 640
    height: int = 480
    fps: float = 15.0
    fourcc: str = ""


@dataclass(frozen=True)
class Frame:
    """One picture: `bgr` is uint8 `[height, width, 3]`; `captured_ns` is monotonic."""

    bgr: NDArray[np.uint8]
    sequence: int
    captured_ns: int


class Camera(Device, Protocol):
    """A camera that streams while it is open."""

    def read(self, deadline: Deadline) -> Frame:
        """The next fresh frame; raises `TimedOut`, `Disconnected`."""
        ...
