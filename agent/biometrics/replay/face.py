"""Faces: frames in which a face looks up exactly as in earlier frames.

One presentation is traced by up to seven of its frames, cut out about the eyes. Skin, lids, mouth and light of a live
face differ from one day to the next by more than any encoding does; the frames of one sitting may be alike, and are one
only if they are equal to the last bit (docs/biometrics/replay.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.biometrics._dlib import Box, shared_engine
from agent.biometrics.live_frames import LiveFrames
from agent.biometrics.parameters import FACE_FRAMES_MAXIMUM
from agent.biometrics.replay._sheet import Geometry, Sheet, Signs
from hal import Frame

OVERALL: Final = 0.985
LOCAL: Final = 0.955
"""Least likeness of a repeated frame, and of nine tenths of its tiles."""

GEOMETRY: Final = Geometry(side=64, wide=88, overlap=0.6, angles=(-2.0, 0.0, 2.0), promising=0.6)
FRAMES: Final = FACE_FRAMES_MAXIMUM
"""Frames that trace a presentation: as many as are recognised, or an unusable one would choose others of a copy."""

_HASH = 16
"""Bytes of a frame's hash."""

_EYES = 26.0
"""Points between the eyes."""

_BELOW = 0.45
"""How far below the eyes the middle lies, of their distance."""

_BAND = (1.0, 2.5)
"""Deviations of two Gaussians, points: lines are what lies between them."""

_AREA = 5.0
"""Deviation of the Gaussian within which contrast is evened out, points."""


def trace(frames: Sequence[Frame]) -> bytes:
    """What a comparison with earlier frames needs of these: of each of up to seven a hash and a sheet.

    Of `LiveFrames` the face at its place is traced, which is the one that was recognised.
    """
    places = frames.places if isinstance(frames, LiveFrames) and frames.places else [None] * len(frames)
    chosen = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
    return b"".join(_hash(frames[index]) + _sheet(frames[index], places[index]) for index in chosen)


def digest(trace: bytes) -> bytes:
    """What is kept of it: 536 bytes a frame."""
    return b"".join(tag + Sheet.from_bytes(GEOMETRY, sheet).signs().to_bytes() for tag, sheet in _split(trace))


def replayed(past: Sequence[bytes], trace: bytes) -> bool:
    """Whether every frame is one of an earlier presentation, be they of different ones; `ValueError` for foreign bytes.

    Frames of a live answer are none of them: whoever mixes old answers has nothing else.
    """
    probes = [Sheet.from_bytes(GEOMETRY, sheet) for _, sheet in _split(trace)]
    kept = [Signs.from_bytes(GEOMETRY, data) for one in past for _, data in _split(one, GEOMETRY.sign_bytes)]
    return bool(probes) and all(any(same(probe, one) for one in kept) for probe in probes)


def repeated(past: Sequence[bytes], trace: bytes) -> bool:
    """Whether any frame is, bit by bit, one of the past."""
    known = {tag for one in past for tag, _ in _split(one, GEOMETRY.sign_bytes)}
    return any(tag in known for tag, _ in _split(trace))


def same(sheet: Sheet, past: Signs) -> bool:
    """Whether the two are one picture."""
    found = sheet.likeness(past)
    return found.overall >= OVERALL and found.local >= LOCAL


def _split(data: bytes, length: int = GEOMETRY.wide**2) -> list[tuple[bytes, bytes]]:
    """Hash and sheet of each frame."""
    step = _HASH + length
    if len(data) % step or len(data) > FRAMES * step:
        raise ValueError("what is kept of a face has another length")
    return [(data[at : at + _HASH], data[at + _HASH : at + step]) for at in range(0, len(data), step)]


def _hash(frame: Frame) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(frame.bgr).tobytes()).digest()[:_HASH]


def _sheet(frame: Frame, place: Box | None = None) -> bytes:
    picture = np.ascontiguousarray(frame.bgr)
    eyes = _eyes(picture, place)
    values = np.zeros((GEOMETRY.wide,) * 2, np.float32) if eyes is None else _lines(picture, *eyes)
    return Sheet(GEOMETRY, values).to_bytes()


def _eyes(picture: NDArray[np.uint8], place: Box | None) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Both eyes of the face at `place`, else of the surest one, the one on the left first, in pixels."""
    rgb = np.ascontiguousarray(picture[:, :, ::-1])
    boxes = shared_engine().detect(rgb)
    if place is not None:
        boxes = [box for box in boxes if box.is_about(place)] or [place]
    if not boxes:
        return None
    points = shared_engine().points(rgb, boxes[0])
    one, other = points[0:2].mean(axis=0), points[2:4].mean(axis=0)
    return (one, other) if one[0] < other[0] else (other, one)


def _lines(picture: NDArray[np.uint8], left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float32]:
    """The face upright, its lines of equal contrast everywhere, `[wide, wide]`."""
    axis = right - left
    pitch = max(1e-3, float(np.hypot(*axis)) / _EYES)
    middle = (left + right) / 2 + _BELOW * np.array([-axis[1], axis[0]])
    cos, sin = axis / np.hypot(*axis) / pitch
    matrix = np.array([[cos, sin, 0.0], [-sin, cos, 0.0]])
    matrix[:, 2] = GEOMETRY.wide / 2 - matrix[:, :2] @ middle
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    if pitch > 1.3:
        grey = cv2.GaussianBlur(grey, (0, 0), 0.45 * pitch).astype(np.float32)
    face = cv2.warpAffine(grey, matrix, (GEOMETRY.wide,) * 2, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lines = cv2.GaussianBlur(face, (0, 0), _BAND[0]) - cv2.GaussianBlur(face, (0, 0), _BAND[1])
    contrast = np.sqrt(cv2.GaussianBlur(lines * lines, (0, 0), _AREA))
    return np.asarray(lines / (contrast + 1.0), np.float32)
