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
    """One picture: `bgr` is uint8 `[height, width, 3]`, three times the same from a grey sensor.

    `sequence` rises with every picture that the camera took: the device's own number where the camera is capable of
    `FRAME_SEQUENCE`, else the number in which the picture arrived. `captured_ns` is monotonic: the time of exposure as
    the kernel's driver took it when `hardware_clock` is true, else the time of arrival. `lost` counts the pictures
    that the device numbered after the one handed out before this and that never arrived whole; those that the caller
    was too slow for are not among them. `infrared` tells that the sensor sees no colour.
    """

    bgr: NDArray[np.uint8]
    sequence: int
    captured_ns: int
    hardware_clock: bool = False
    lost: int = 0
    infrared: bool = False


class Camera(Device, Protocol):
    """A camera that streams while it is open."""

    def read(self, deadline: Deadline) -> Frame:
        """The next fresh frame; raises `TimedOut`, `Disconnected`, `ProtocolError`.

        A camera that repeats one picture is frozen: it has no fresh frame, and the call ends with `TimedOut`.
        """
        ...
