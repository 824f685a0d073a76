"""One touch of a finger: where and how hard it lands, and what the skin and the glass do to the picture.

Every effect is one function of the canvas; `care` 1.0 is a clean, dry-enough, full touch, 0.0 a hurried one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.personas._fields import Field, pixel_grid, rng_of, smooth_field
from simulators.personas._pattern import SHAPE
from simulators.personas._ridges import MasterPrint

BACKGROUND = 242.0
COLUMNS, ROWS = pixel_grid(SHAPE)


@dataclass(frozen=True)
class Touch:
    """How one impression was made. Lengths in pixels at 500 dpi, angles in radians, the rest dimensionless."""

    shift: tuple[float, float]
    rotation: float
    stretch: float
    pressure: float
    wetness: float
    dryness: float
    smudge: float
    contact: tuple[float, float]
    contrast: float
    noise: float


def draw_touch(rng: np.random.Generator, care: float) -> Touch:
    """A random touch made with `care` between 0 and 1."""
    sloppy = 1.0 - min(max(care, 0.0), 1.0)
    reach = 1.0 + 0.5 * sloppy
    dry = rng.uniform(0.7, 1.0) * sloppy
    return Touch(
        shift=(float(rng.uniform(-20, 20) * reach), float(rng.uniform(-20, 20) * reach)),
        rotation=float(np.radians(rng.uniform(-12, 12)) * reach),
        stretch=float(rng.uniform(2.0, 4.0)),
        pressure=float(rng.uniform(-0.2, 0.1) - 0.6 * dry),
        wetness=float(rng.uniform(0.15, 0.35)),
        dryness=float(rng.uniform(0.6, 0.95) + 1.2 * dry),
        smudge=float(rng.uniform(1.3, 2.1) * sloppy**2),
        contact=(
            float(rng.uniform(148, 165) * (1 - 0.32 * sloppy)),
            float(rng.uniform(190, 215) * (1 - 0.40 * sloppy)),
        ),
        contrast=float(rng.uniform(0.72, 0.88) * (1 - 0.35 * sloppy)),
        noise=float(rng.uniform(7.0, 11.0) * (1 + 1.5 * sloppy)),
    )


def impress(master: MasterPrint, seed: int, impression: int, care: float) -> NDArray[np.uint8]:
    """uint8 `SHAPE` at 500 dpi, ridges dark on light; the arguments alone determine every pixel."""
    rng = rng_of(seed, impression, 1)
    touch = draw_touch(rng, care)
    x, y = _placement(touch, rng)
    ridges = cv2.remap(master.ridges, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    skin = cv2.remap(master.skin, x, y, cv2.INTER_LINEAR)
    ink = _inked(ridges, touch, rng) * (1.0 - 0.75 * skin)
    ink = _smudged(ink, touch, rng) * _contact(touch, rng)
    return _developed(ink, touch, rng)


def _placement(touch: Touch, rng: np.random.Generator) -> tuple[Field, Field]:
    """Where on the master each canvas pixel looks: rotation, shift, and the skin's elastic give."""
    centre_x, centre_y = SHAPE[1] / 2, SHAPE[0] / 2
    cos, sin = np.float32(np.cos(touch.rotation)), np.float32(np.sin(touch.rotation))
    dx, dy = COLUMNS - np.float32(centre_x + touch.shift[0]), ROWS - np.float32(centre_y + touch.shift[1])
    give_x = np.float32(touch.stretch) * smooth_field(rng, SHAPE, (5, 4))
    give_y = np.float32(touch.stretch) * smooth_field(rng, SHAPE, (5, 4))
    return cos * dx - sin * dy + np.float32(centre_x) + give_x, sin * dx + cos * dy + np.float32(centre_y) + give_y


def _inked(ridges: Field, touch: Touch, rng: np.random.Generator) -> Field:
    """How dark each pixel prints, 0..1: pressure widens ridges, dryness breaks them, wetness fills valleys."""
    level = touch.pressure + touch.wetness * smooth_field(rng, SHAPE, (6, 5))
    grain = cv2.GaussianBlur(rng.standard_normal(SHAPE, np.float32), (0, 0), 1.6) * 5.0
    patches = 0.55 + 0.45 * smooth_field(rng, SHAPE, (7, 6))
    raised = 1.1 * ridges + level - touch.dryness * patches * np.abs(grain)
    return np.asarray(np.clip(0.42 + 0.62 * raised, 0.0, 1.0), np.float32)


def _smudged(ink: Field, touch: Touch, rng: np.random.Generator) -> Field:
    """Patches where the finger slid: the ridges run into one another along one direction."""
    if touch.smudge <= 0.0:
        return ink
    length = 13
    angle = rng.uniform(0, 180)
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1.0 / length
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), angle, 1.0)
    slid = cv2.filter2D(ink, -1, cv2.warpAffine(line, turn, (length, length)))
    where = np.clip(1.6 * touch.smudge * smooth_field(rng, SHAPE, (5, 4)), 0.0, 1.0)
    return np.asarray(ink + where * (slid - ink), np.float32)


def _contact(touch: Touch, rng: np.random.Generator) -> Field:
    """The part of the finger that touches, 0..1 with a ragged rim: an ellipse, blunter toward the palm."""
    dx = (COLUMNS - np.float32(SHAPE[1] / 2 + touch.shift[0])) / touch.contact[0]
    dy = (ROWS - np.float32(SHAPE[0] / 2 + touch.shift[1])) / touch.contact[1]
    radius = dx**2 + np.where(dy < 0, dy**2, 0.75 * dy**2) + 0.12 * smooth_field(rng, SHAPE, (9, 8))
    return np.asarray(np.clip((1.0 - radius) / 0.14, 0.0, 1.0), np.float32)


def _developed(ink: Field, touch: Touch, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Ink to grey levels: sensor blur, uneven light, noise."""
    optical = cv2.GaussianBlur(ink, (0, 0), 1.1)
    light = BACKGROUND - 8.0 * (1.0 + smooth_field(rng, SHAPE, (3, 3)))
    grey = light * (1.0 - touch.contrast * optical) + touch.noise * rng.standard_normal(SHAPE, np.float32)
    return np.asarray(np.clip(grey, 0, 255), np.uint8)
