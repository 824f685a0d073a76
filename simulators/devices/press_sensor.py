"""A press fingerprint sensor as such: its field, and the finger that lies on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.devices.usb import UsbLayout, UsbModel

GROUND = 255
"""Grey of the glass where no finger touches."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class SensorField:
    """What a sensor sees: `height` x `width` pixels at `dpi`."""

    height: int
    width: int
    dpi: int

    def blank(self) -> Pixels:
        """The field without a finger, uint8 `[height, width]`."""
        return np.full((self.height, self.width), GROUND, np.uint8)

    def see(self, picture: Pixels, dpi: int) -> Pixels:
        """`picture` (uint8 `[h, w]`, dark ridges, at `dpi`) at this field's resolution, centred on the field.

        What reaches past the field is cut, what the picture does not cover is ground. At the field's own resolution
        no pixel changes.
        """
        if picture.dtype != np.uint8 or picture.ndim != 2 or not picture.size or dpi <= 0:
            raise ValueError(
                f"a finger is uint8 [h, w] at a positive dpi, not {picture.dtype} {picture.shape} at {dpi}"
            )
        scaled = picture if dpi == self.dpi else _resample(picture, self.dpi / dpi)
        field = self.blank()
        (to_y, from_y), (to_x, from_x) = _overlap(self.height, scaled.shape[0]), _overlap(self.width, scaled.shape[1])
        field[to_y, to_x] = scaled[from_y, from_x]
        return field


class PressSensorModel(UsbModel):
    """A USB fingerprint sensor on which a finger can be placed. Every method is thread safe."""

    def __init__(self, layout: UsbLayout, field: SensorField, *, instant: bool) -> None:
        super().__init__(layout, instant=instant)
        self.field = field
        self._finger: Pixels | None = None

    def place(self, pixels: Pixels, dpi: int) -> None:
        """Lay a finger on the sensor: uint8 `[h, w]`, ridges dark on light, of any size, at `dpi`."""
        seen = self.field.see(pixels, dpi)
        with self._lock:
            self._finger = seen
            self._finger_changed()

    def lift(self) -> None:
        """Take the finger away."""
        with self._lock:
            self._finger = None
            self._finger_changed()

    def _finger_changed(self) -> None:
        """React to a finger that came or left; nothing, for a sensor that is only polled."""

    def _view(self) -> Pixels:
        return self.field.blank() if self._finger is None else self._finger


def _resample(picture: Pixels, factor: float) -> Pixels:
    height, width = (max(1, round(side * factor)) for side in picture.shape)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def _overlap(field: int, picture: int) -> tuple[slice, slice]:
    """Where a centred length `picture` lies on a length `field`: the part of the field, the part of the picture."""
    length = min(field, picture)
    start, origin = (field - length) // 2, (picture - length) // 2
    return slice(start, start + length), slice(origin, origin + length)
