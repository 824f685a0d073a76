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

_FACE_SIDE = 32


class Finder(Protocol):
    """What finds faces and their five points: `DlibEngine`."""

    def detect(self, rgb: Rgb, near: Box | None = None) -> list[Box]:
        """Faces in uint8 `[height, width, 3]`, the surest first; only around `near` where that is given."""
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
        near = self._finder.detect(rgb, self.box) if self.box is not None else []
        found = near or self._finder.detect(rgb)
        return found[0] if found else None


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
