"""Fingerprint readers that deliver an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hal._values import Deadline, Device


@dataclass(frozen=True)
class FingerprintImage:
    """One impression: `pixels` is uint8 `[height, width]`, ridges dark on a light ground; `dpi` as sensed."""

    pixels: NDArray[np.uint8]
    dpi: int
    sequence: int
    captured_ns: int


class FingerprintReader(Device, Protocol):
    """A press sensor that yields an image of the finger on it."""

    def capture(self, deadline: Deadline, on_ready: Callable[[], None] | None = None) -> FingerprintImage:
        """Wait for a finger, image it.

        `on_ready` is called once the sensor waits for a finger. Raises `TimedOut`, `Disconnected`, `ProtocolError`.
        """
        ...

    def wait_removed(self, deadline: Deadline) -> None:
        """Return when no finger lies on the sensor; raises `TimedOut`."""
        ...
