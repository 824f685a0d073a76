"""Lens and sensor: what makes a picture differ from the scene before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""BGR, uint8 `[height, width, 3]`."""

Scene = Callable[[float], Picture]
"""From the seconds since the scene was shown to the picture at that moment."""

_BLUR_SAMPLES = 4


@dataclass(frozen=True)
class Optics:
    """How a sensor sees.

    After streaming began the exposure starts at `dark` of the right one (above 1: too bright) and closes half of what
    is left with every frame, for `settling_frames` frames. `noise` is the standard deviation in grey levels, `blur`
    the seconds that the shutter stays open, `latency` the seconds from exposure until the frame can be had.
    """

    settling_frames: int = 12
    dark: float = 0.15
    noise: float = 1.5
    blur: float = 0.0
    latency: float = 0.01

    def __post_init__(self) -> None:
        if min(self.settling_frames, self.dark, self.noise, self.blur, self.latency) < 0:
            raise ValueError("a property of the optics is negative")


INSTANT = Optics(settling_frames=0, noise=0.0, latency=0.0)
"""A sensor that is right from its first frame on and adds nothing; frames still come at the camera's pace."""


def expose(scene: Scene, at: float, optics: Optics) -> Picture:
    """The scene at `at` seconds, averaged over the time that the shutter is open."""
    if not optics.blur:
        return scene(at)
    moments = np.linspace(at, at + optics.blur, _BLUR_SAMPLES)
    taken = np.stack([scene(float(moment)) for moment in moments])
    return np.asarray(taken.mean(axis=0), np.uint8)


def sense(
    picture: Picture, frame: int, setting: tuple[float, int], optics: Optics, random: np.random.Generator
) -> Picture:
    """What the sensor reads out: exposure of the `frame`th frame since streaming began, gain and brightness, noise."""
    gain, brightness = setting
    exposure = gain * (1 + (optics.dark - 1) * 0.5**frame if frame < optics.settling_frames else 1.0)
    if (exposure, brightness) != (1.0, 0):
        picture = np.clip(picture * np.float32(exposure) + brightness, 0, 255).astype(np.uint8)
    if not optics.noise:
        return picture
    grain = random.standard_normal(picture.shape[:2], np.float32) * np.float32(optics.noise)
    return np.clip(picture + grain[:, :, None], 0, 255).astype(np.uint8)
