"""dlib's faces: found, five landmarks, and the 128-d descriptor as face_recognition computes it.

Detector and descriptor are dlib's networks in ONNX form (agent/models/README.md): dlib's wheel computes them without a
linear algebra library, twelve times slower. The landmarks and the cut-out of the face are dlib's own.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._face_finder import Box, FaceFinder
from agent.biometrics._files import require_sha256
from agent.biometrics._onnx import open_shipped
from agent.biometrics.errors import ModelError

__all__ = ["Box", "DlibEngine", "shared_engine"]

_CHIP = 150
_CHIP_PADDING = 0.25


class DlibEngine:
    """The detector, the 5-point predictor and the descriptor; each loads on first use.

    The 68-point predictor is never loaded: its training data excludes commercial use.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._finder = FaceFinder()
        self._dlib: Any = None
        self._detector: Any = None
        self._predictor: Any = None
        self._network: Any = None

    def load(self) -> None:
        """Load and check every model; raises `ModelError`."""
        self._finder.load()
        with self._lock:
            self._load_predictor()
            self._load_network()

    def detect(self, rgb: NDArray[np.uint8], near: Box | None = None) -> list[Box]:
        """Faces in uint8 `[height, width, 3]`, the surest first.

        With `near`, the face of a frame shortly before, only its surroundings are searched.
        """
        return self._finder.find(rgb) if near is None else self._finder.follow(rgb, near)

    def detect_straight(self, rgb: NDArray[np.uint8]) -> list[Box]:
        """Faces of 80 pixels and more by dlib's gradient detector: it misses more, but its boxes move with the face.

        Landmarks depend on the box, and those of `detect` jump by its stride, too much to measure a blink by.
        """
        with self._lock:
            self._load_predictor()
            found, confidences, _ = self._detector.run(rgb, 0, 0.0)
        pairs = zip(found, confidences, strict=True)
        return [Box(one.left(), one.top(), one.right(), one.bottom(), confidence) for one, confidence in pairs]

    def points(self, rgb: NDArray[np.uint8], box: Box) -> NDArray[np.float64]:
        """Five landmarks `[5, 2]` in pixels: both corners of each eye, then the base of the nose."""
        with self._lock:
            shape = self._shape(rgb, box)
        return np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)

    def describe(self, rgb: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The descriptor `[128]` of the face with landmarks `[5, 2]`: face_recognition's to within 0.001 a value."""
        with self._lock:
            self._load_predictor()
            places = [self._dlib.point(round(x), round(y)) for x, y in points]
            shape = self._dlib.full_object_detection(self._dlib.rectangle(), places)
            chip = self._dlib.get_face_chip(rgb, shape, _CHIP, _CHIP_PADDING)
        return self.describe_chip(chip)

    def describe_chip(self, chip: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The descriptor of a face that is cut out already: uint8 `[150, 150, 3]`."""
        with self._lock:
            self._load_network()
        descriptor: NDArray[np.float32] = self._network.run(["out"], {"rgb": chip[np.newaxis]})[0][0]
        return descriptor.astype(np.float64)

    def _shape(self, rgb: NDArray[np.uint8], box: Box) -> Any:
        self._load_predictor()
        return self._predictor(rgb, self._dlib.rectangle(box.left, box.top, box.right, box.bottom))

    def _load_predictor(self) -> None:
        if self._predictor is not None:
            return
        try:
            import dlib
            import face_recognition_models as models
        except ImportError as error:
            raise ModelError(f"the face library does not load: {error}") from None
        points = Path(models.pose_predictor_five_point_model_location())
        require_sha256(points, parameters.FACE_POINTS_SHA256)
        self._predictor = dlib.shape_predictor(str(points))
        self._detector = dlib.get_frontal_face_detector()
        self._dlib = dlib

    def _load_network(self) -> None:
        if self._network is None:
            self._network = open_shipped(parameters.FACE_MODEL_FILE, parameters.FACE_MODEL_SHA256)


@cache
def shared_engine() -> DlibEngine:
    """The engine of this process, so that its models are in memory once."""
    return DlibEngine()
