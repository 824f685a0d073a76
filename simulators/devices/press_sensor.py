"""A press fingerprint sensor as such: its field, and the finger that lies on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hal import Clock, SystemClock
from simulators.devices.finger import AT_ONCE, FLAWLESS, GROUND, IN_USE, FingerBehaviour, Pixels, SensorWear
from simulators.devices.usb import UsbLayout, UsbModel


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


@dataclass(frozen=True)
class SensorLife:
    """How a simulated sensor differs from a perfect one: its finger, its wear, the seed of both, its clock.

    What is `None` is perfect when the model is instant, and ordinary when it is not.
    """

    finger: FingerBehaviour | None = None
    wear: SensorWear | None = None
    seed: int = 0
    clock: Clock | None = None


class Glass:
    """The glass of a press sensor, and the finger on it. Its owner keeps threads apart."""

    def __init__(self, field: SensorField, *, instant: bool, life: SensorLife | None = None) -> None:
        life = life or SensorLife()
        self.field = field
        self._behaviour = life.finger or (AT_ONCE if instant else FingerBehaviour())
        self._wear = life.wear or (FLAWLESS if instant else IN_USE)
        self._chance = np.random.default_rng(life.seed)
        self._clock = life.clock or SystemClock()
        self._finger: Pixels | None = None
        self._touched_ns = 0

    @property
    def touched(self) -> bool:
        """Whether a finger lies on it."""
        return self._finger is not None

    def place(self, pixels: Pixels, dpi: int) -> None:
        """Lay a finger on it: uint8 `[h, w]`, ridges dark on light, of any size, at `dpi`."""
        self._finger = self.field.see(pixels, dpi)
        self._touched_ns = self._clock.monotonic_ns()

    def lift(self) -> None:
        """Take the finger away."""
        self._finger = None

    def view(self) -> Pixels:
        """What the sensor images at this moment."""
        seen = self.field.blank()
        if self._finger is not None:
            seen = self._behaviour.impression(self._finger, self._touch_seconds(), self._chance)
        return self._wear.seen(seen, self._chance)

    def contact(self) -> float:
        """How much of a finger lies on it, 0 to 1."""
        return 0.0 if self._finger is None else self._behaviour.contact(self._touch_seconds())

    def _touch_seconds(self) -> float:
        return (self._clock.monotonic_ns() - self._touched_ns) / 1e9


class PressSensorModel(UsbModel):
    """A USB fingerprint sensor on which a finger can be placed. Every method is thread safe."""

    def __init__(self, layout: UsbLayout, field: SensorField, *, instant: bool, life: SensorLife | None = None) -> None:
        super().__init__(layout, instant=instant)
        self.field = field
        self._glass = Glass(field, instant=instant, life=life)

    def place(self, pixels: Pixels, dpi: int) -> None:
        """Lay a finger on the sensor: uint8 `[h, w]`, ridges dark on light, of any size, at `dpi`."""
        with self._lock:
            self._glass.place(pixels, dpi)
            self._finger_changed()

    def lift(self) -> None:
        """Take the finger away."""
        with self._lock:
            self._glass.lift()
            self._finger_changed()

    def _finger_changed(self) -> None:
        """React to a finger that came or left; nothing, for a sensor that is only polled."""


def _resample(picture: Pixels, factor: float) -> Pixels:
    height, width = (max(1, round(side * factor)) for side in picture.shape)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def _overlap(field: int, picture: int) -> tuple[slice, slice]:
    """Where a centred length `picture` lies on a length `field`: the part of the field, the part of the picture."""
    length = min(field, picture)
    start, origin = (field - length) // 2, (picture - length) // 2
    return slice(start, start + length), slice(origin, origin + length)
