"""Frames to cues, fast enough to follow a camera: the face is looked for where it was in the frame before."""

from __future__ import annotations

import zlib
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._dlib import Box
from agent.biometrics.errors import BiometricError
from agent.biometrics.liveness.cues import Cue, Head, Landmarks
from agent.biometrics.liveness.eyes import Patch, eye_patches, openness, typical
from hal import Frame

Rgb = NDArray[np.uint8]

_NEAR = 0.7
"""How far around the last rectangle a face is looked for, in its widths."""

_SEARCHED_WIDTH = 110.0
"""Pixels to which a known face is brought before it is looked for; the detector needs 80."""

_FACE_SIDE = 32


class Finder(Protocol):
    """What finds faces and their five points: `DlibEngine`."""

    def detect_straight(self, rgb: Rgb) -> list[Box]:
        """Faces in uint8 `[height, width, 3]`, in boxes that move with them."""
        ...

    def points(self, rgb: Rgb, box: Box) -> NDArray[np.float64]:
        """Both corners of each eye and the base of the nose, `[5, 2]`."""
        ...


class FaceTracker:
    """The face of one presentation, frame by frame. Its open eyes are learnt from the first frames."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._seen: set[int] = set()
        self.forget()

    def forget(self) -> None:
        """Begin anew with the eyes and the place of the face."""
        self.box: Box | None = None
        self._opened: tuple[Patch, Patch] | None = None
        self._learning: list[tuple[Patch, Patch]] = []
        self._before: NDArray[np.float32] | None = None

    def see(self, frame: Frame) -> Cue:
        """What the frame tells; raises `BiometricError` for one that is no 8-bit colour picture."""
        rgb = _rgb(frame)
        self.box = self._find(rgb)
        head = self._head(rgb, self.box) if self.box is not None else None
        return Cue(frame.captured_ns, frame.sequence, frame.lost, head, self._is_repeated(rgb))

    def _is_repeated(self, rgb: Rgb) -> bool:
        """Whether these bytes came before: no sensor gives the same picture twice."""
        digest = zlib.crc32(rgb.data)
        repeated = digest in self._seen
        self._seen.add(digest)
        return repeated

    def _head(self, rgb: Rgb, box: Box) -> Head | None:
        landmarks = Landmarks(self._finder.points(rgb, box))
        head = landmarks.head()
        if head is None:
            return None
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        eyes = eye_patches(grey, landmarks)
        steady = self._steady(grey, head)
        opened = openness(eyes, self._opened) if self._opened is not None else None
        self._learn(eyes)
        return Head(head.yaw, head.height, head.roll, head.x, head.y, head.size, opened, steady)

    def _learn(self, eyes: tuple[Patch, Patch]) -> None:
        if self._opened is None:
            self._learning.append(eyes)
            if len(self._learning) >= parameters.LIVENESS_BASELINE_FRAMES:
                self._opened = typical(self._learning)

    def _steady(self, grey: NDArray[np.uint8], head: Head) -> float | None:
        """How much the face, brought to one place and size, is like that of the frame before."""
        face = _aligned(grey, head)
        before, self._before = self._before, face
        return None if before is None else float(np.mean(face * before))

    def _find(self, rgb: Rgb) -> Box | None:
        near = self._find_near(rgb, self.box) if self.box is not None else None
        return near if near is not None else self._find_anywhere(rgb)

    def _find_near(self, rgb: Rgb, last: Box) -> Box | None:
        margin = round(_NEAR * last.width)
        left, top = max(0, last.left - margin), max(0, last.top - margin)
        region = rgb[top : last.bottom + margin, left : last.right + margin]
        if min(region.shape[:2]) < last.width // 2:
            return None
        found = self._surest(region, min(1.0, _SEARCHED_WIDTH / last.width))
        if found is None:
            return None
        return Box(found.left + left, found.top + top, found.right + left, found.bottom + top, found.confidence)

    def _find_anywhere(self, rgb: Rgb) -> Box | None:
        return self._surest(rgb, min(1.0, parameters.FACE_SEARCH_SIDE[1] / max(rgb.shape[:2])))

    def _surest(self, rgb: Rgb, factor: float) -> Box | None:
        if factor == 1.0:
            searched = np.ascontiguousarray(rgb)
        else:
            searched = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        boxes = self._finder.detect_straight(searched)
        if not boxes:
            return None
        return max(boxes, key=lambda box: box.confidence).scaled(1.0 / factor)


def _aligned(grey: NDArray[np.uint8], head: Head) -> NDArray[np.float32]:
    """The face level, in one size, without mean and of unit deviation, float32 `[32, 32]`."""
    scale = _FACE_SIDE / (2.4 * head.size)
    matrix = cv2.getRotationMatrix2D((head.x, head.y), head.roll, scale)
    matrix[:, 2] += np.array([_FACE_SIDE / 2 - head.x, _FACE_SIDE / 3 - head.y])
    cut = cv2.warpAffine(grey, matrix, (_FACE_SIDE, _FACE_SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    face = cut.astype(np.float32)
    return np.asarray((face - face.mean()) / (face.std() + 1e-3), np.float32)


def _rgb(frame: Frame) -> Rgb:
    picture = frame.bgr
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or min(picture.shape[:2]) < 64:
        raise BiometricError("the camera sent no 8-bit colour picture")
    return np.ascontiguousarray(picture[:, :, ::-1])
