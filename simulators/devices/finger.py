"""What stands between a finger and a clean picture of it: the finger itself, and the age of the sensor.

Both are plain values with one pure function each; chance comes from outside. Pictures are uint8 `[h, w]`, ridges dark
on the light ground of 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

GROUND = 255
"""Grey of the glass where no finger touches."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class FingerBehaviour:
    """How a finger comes to rest.

    At the first touch it covers `first_area` of its width and height and shows `first_contrast` of its contrast; both
    grow to the whole within `settle_seconds`. While it is imaged it wanders sideways, by up to about `drift` pixels
    from the first line to the last at the first touch, and by `tremor` once it is at rest.
    """

    settle_seconds: float = 0.25
    first_area: float = 0.3
    first_contrast: float = 0.35
    drift: float = 6.0
    tremor: float = 0.4

    def contact(self, seconds: float) -> float:
        """How far the finger has settled after so many seconds, 0 to 1."""
        return min(1.0, seconds / self.settle_seconds) if self.settle_seconds > 0 else 1.0

    def impression(self, finger: Pixels, seconds: float, random: np.random.Generator) -> Pixels:
        """What `finger` shows when it is imaged that many seconds after it touched."""
        contact = self.contact(seconds)
        shown = finger
        if contact < 1:
            contrast = self.first_contrast + (1 - self.first_contrast) * contact
            pale = np.rint(GROUND - (GROUND - finger.astype(np.float32)) * contrast).astype(np.uint8)
            area = self.first_area + (1 - self.first_area) * contact
            shown = np.where(_touching(finger.shape, area), pale, np.uint8(GROUND))
        return _wandered(shown, self.drift * (1 - contact) + self.tremor, random)


AT_ONCE = FingerBehaviour(settle_seconds=0, tremor=0)
"""A finger that lies still in its whole area from the first moment: every pixel is imaged as it is."""


@dataclass(frozen=True)
class SensorWear:
    """What a sensor does to a picture.

    `gain` stretches it around the ground and `exposure` adds grey steps; each image has noise of `noise` grey steps.
    A share `dead_pixels` of the field is stuck, `dead_columns` whole columns are, and `scratches` lines across the
    glass show nothing. Where they are follows from `seed`, and stays.
    """

    gain: float = 1.0
    exposure: float = 0.0
    noise: float = 0.0
    dead_pixels: float = 0.0
    dead_columns: int = 0
    scratches: int = 0
    seed: int = 0

    def seen(self, picture: Pixels, random: np.random.Generator) -> Pixels:
        """`picture` as this sensor reports it; the same one where there is no wear."""
        if (self.gain, self.exposure, self.noise) != (1.0, 0.0, 0.0):
            level = GROUND - (GROUND - picture.astype(np.float32)) * self.gain + self.exposure
            picture = np.rint(level + random.normal(0, self.noise, picture.shape)).clip(0, 255).astype(np.uint8)
        if not (self.dead_pixels or self.dead_columns or self.scratches):
            return picture
        return self._damaged(picture.copy())

    def _damaged(self, picture: Pixels) -> Pixels:
        place = np.random.default_rng(self.seed)
        height, width = picture.shape
        for _ in range(self.scratches):
            ends = [(int(place.integers(width)), int(place.integers(height))) for _ in range(2)]
            cv2.line(picture, ends[0], ends[1], GROUND, 1)
        stuck = place.random(picture.shape) < self.dead_pixels
        picture[stuck] = place.integers(0, 2, int(stuck.sum())) * 255
        picture[:, place.choice(width, self.dead_columns, replace=False)] = 0
        return picture


FLAWLESS = SensorWear()
"""A sensor that reports exactly what lies on it."""

IN_USE = SensorWear(noise=1.5, dead_pixels=0.00005)
"""A sensor of some years: slight noise, a handful of stuck pixels."""


def _touching(shape: tuple[int, ...], share: float) -> NDArray[np.bool_]:
    """An ellipse around the middle, of `share` of the one that just holds the whole field."""
    height, width = shape
    rows, columns = np.ogrid[:height, :width]
    y = (rows - (height - 1) / 2) / (height * share * np.sqrt(0.5))
    x = (columns - (width - 1) / 2) / (width * share * np.sqrt(0.5))
    return np.asarray(x * x + y * y <= 1)


def _wandered(picture: Pixels, amount: float, random: np.random.Generator) -> Pixels:
    """Each line shifted against the one above by a random walk that strays about `amount` pixels over the whole."""
    height, width = picture.shape
    if amount <= 0:
        return picture
    walk = np.cumsum(random.normal(0, amount / np.sqrt(height), height))
    columns = np.arange(width)[None, :] - np.rint(walk).astype(np.int64)[:, None]
    shifted = np.take_along_axis(picture, columns.clip(0, width - 1), axis=1)
    return np.where((columns >= 0) & (columns < width), shifted, np.uint8(GROUND))
