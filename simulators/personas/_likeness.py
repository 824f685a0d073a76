"""Another person out of one portrait: the parts of the face moved and resized, skin and hair recoloured.

dlib's descriptor moves by 0.16 to 0.32 under mirroring, stretching or recolouring a face as a whole; it moves by more
than 0.6 once the parts change against one another, which is what tells people apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.personas._fields import Field, pixel_grid
from simulators.personas._portrait import ASTRONAUT, Image, Landmarks, Point, Portrait

Tint = tuple[float, float, float]


@dataclass(frozen=True)
class Likeness:
    """How one face differs from the portrait.

    Scales are factors (1 keeps), shifts are in eye distances (0 keeps, positive downward or outward), tints are
    factors of blue, green and red, `brow_weight` (0..1) darkens the brows, `mirrored` swaps left and right.
    """

    eye_gap: float = 0.0
    eye_size: float = 1.0
    eye_opening: float = 1.0
    eye_shift: float = 0.0
    brow_shift: float = 0.0
    brow_weight: float = 0.0
    nose_width: float = 1.0
    nose_length: float = 1.0
    nose_shift: float = 0.0
    mouth_width: float = 1.0
    mouth_height: float = 1.0
    mouth_shift: float = 0.0
    jaw_width: float = 1.0
    chin_shift: float = 0.0
    cheek_width: float = 1.0
    head_width: float = 1.0
    head_height: float = 1.0
    skin: Tint = (1.0, 1.0, 1.0)
    hair: Tint = (1.0, 1.0, 1.0)
    mirrored: bool = False


@dataclass(frozen=True)
class _Bulge:
    """A smooth local scaling and shift about `centre`, fading with the Gaussian `reach`; pixels but for `scale`."""

    centre: Point
    reach: Point
    scale: Point = (1.0, 1.0)
    shift: Point = (0.0, 0.0)


def with_likeness(portrait: Portrait, likeness: Likeness) -> Portrait:
    """`portrait` (the astronaut's) as another person; about 0.2 s."""
    painted = _painted(portrait.bgr, likeness)
    x, y = pixel_grid((painted.shape[0], painted.shape[1]))
    dx, dy = np.zeros_like(x), np.zeros_like(y)
    for bulge in _bulges(likeness, ASTRONAUT):
        _displace(bulge, x, y, dx, dy)
    warped = cv2.remap(painted, x + dx, y + dy, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    changed = replace(portrait, bgr=warped, eyes=tuple(_arrived(eye, dx, dy) for eye in portrait.eyes))
    return _mirrored(changed) if likeness.mirrored else changed


def _mirrored(portrait: Portrait) -> Portrait:
    edge = portrait.bgr.shape[1] - 1
    eyes = tuple((edge - x, y) for x, y in portrait.eyes)
    centre = (edge - portrait.centre[0], portrait.centre[1])
    return replace(portrait, bgr=np.ascontiguousarray(portrait.bgr[:, ::-1]), eyes=eyes, centre=centre)


def _displace(bulge: _Bulge, x: Field, y: Field, dx: Field, dy: Field) -> None:
    """Add to `dx`, `dy` how far from each target pixel its source lies."""
    from_x, from_y = x - np.float32(bulge.centre[0]), y - np.float32(bulge.centre[1])
    weight = np.exp(-0.5 * ((from_x / np.float32(bulge.reach[0])) ** 2 + (from_y / np.float32(bulge.reach[1])) ** 2))
    dx += weight * (from_x * np.float32(1 / bulge.scale[0] - 1) - np.float32(bulge.shift[0]))
    dy += weight * (from_y * np.float32(1 / bulge.scale[1] - 1) - np.float32(bulge.shift[1]))


def _arrived(point: Point, dx: Field, dy: Field) -> Point:
    """Where a source point lands: the displacement looks from target to source, so it is undone step by step."""
    x, y = point
    for _ in range(12):
        row, column = round(y), round(x)
        x, y = point[0] - float(dx[row, column]), point[1] - float(dy[row, column])
    return x, y


def _bulges(likeness: Likeness, face: Landmarks) -> list[_Bulge]:
    unit = face.eye_distance

    def bulge(at: Point, reach: Point, scale: Point = (1.0, 1.0), shift: Point = (0.0, 0.0)) -> _Bulge:
        return _Bulge(at, (reach[0] * unit, reach[1] * unit), scale, (shift[0] * unit, shift[1] * unit))

    eye = (likeness.eye_size, likeness.eye_size * likeness.eye_opening)
    middle = (face.nose[0], face.nose[1] + 0.2 * unit)
    jaw = ((face.jaw[0][0] + face.jaw[1][0]) / 2, face.jaw[0][1] + 0.2 * unit)
    return [
        bulge(face.eyes[0], (0.3, 0.2), eye, (-likeness.eye_gap, likeness.eye_shift)),
        bulge(face.eyes[1], (0.3, 0.2), eye, (likeness.eye_gap, likeness.eye_shift)),
        bulge(face.brows[0][2], (0.35, 0.14), shift=(0.0, likeness.brow_shift)),
        bulge(face.brows[1][2], (0.35, 0.14), shift=(0.0, likeness.brow_shift)),
        bulge(face.nose, (0.26, 0.35), (likeness.nose_width, likeness.nose_length), (0.0, likeness.nose_shift)),
        bulge(face.mouth, (0.42, 0.2), (likeness.mouth_width, likeness.mouth_height), (0.0, likeness.mouth_shift)),
        bulge(jaw, (1.0, 0.45), (likeness.jaw_width, 1.0)),
        bulge(face.chin, (0.7, 0.4), shift=(0.0, likeness.chin_shift)),
        bulge(middle, (1.1, 0.4), (likeness.cheek_width, 1.0)),
        bulge(middle, (1.6, 1.8), (likeness.head_width, likeness.head_height)),
    ]


def _painted(bgr: Image, likeness: Likeness) -> Image:
    x, y = pixel_grid((bgr.shape[0], bgr.shape[1]))
    skin, hair = _skin_and_hair(bgr, x, y)
    colour = bgr.astype(np.float32)
    for mask, tint in ((skin, likeness.skin), (hair, likeness.hair)):
        colour *= 1.0 + mask[:, :, None] * (np.array(tint, np.float32) - 1.0)
    colour *= 1.0 - likeness.brow_weight * _brows(bgr, ASTRONAUT)[:, :, None]
    return np.clip(colour, 0, 255).astype(np.uint8)


def _skin_and_hair(bgr: Image, x: Field, y: Field) -> tuple[Field, Field]:
    """Soft masks 0..1. The astronaut's hair is saturated and lies outside the oval of the face."""
    hsv = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV).astype(np.float32)
    light = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
    oval = _oval(x, y, (448, 268), (92, 108), 3)
    head = _oval(x, y, (454, 170), (160, 144), 4)
    below_fringe = oval * np.clip((y - 168) / 24, 0, 1)
    skin = oval * np.clip((light - 70) / 60, 0, 1)
    coloured = np.clip((hsv[:, :, 1] - 70) / 30, 0, 1) * np.clip((235 - hsv[:, :, 2]) / 20, 0, 1)
    hair = head * coloured * (1 - below_fringe)
    return cv2.GaussianBlur(skin, (0, 0), 2), cv2.GaussianBlur(hair, (0, 0), 2)


def _oval(x: Field, y: Field, centre: Point, radii: Point, power: int) -> NDArray[np.float32]:
    radius = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
    return np.asarray(np.exp(-(radius**power)), np.float32)


def _brows(bgr: Image, face: Landmarks) -> Field:
    """Mask 0..1 of two brushed brows."""
    mask = np.zeros(bgr.shape[:2], np.float32)
    for brow in face.brows:
        cv2.polylines(mask, [np.rint(brow).astype(np.int32)], False, 1.0, 5, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.6), np.float32)
