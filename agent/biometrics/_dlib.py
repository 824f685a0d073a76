"""dlib: face detection, five landmarks and the 128-d descriptor, as face_recognition calls them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._files import require_sha256
from agent.biometrics.errors import ModelError


@dataclass(frozen=True)
class Box:
    """A face's rectangle in pixels of the picture; it may reach over the edge.

    `confidence` is the detector's margin: false finds stay below 0.5, a face in good light is at 1 to 3.
    """

    left: int
    top: int
    right: int
    bottom: int
    confidence: float = 0.0

    @property
    def width(self) -> int:
        """Pixels from edge to edge."""
        return self.right - self.left

    def scaled(self, factor: float) -> Box:
        """The rectangle in a picture that is `factor` times as large."""
        left, top, right, bottom = (round(side * factor) for side in (self.left, self.top, self.right, self.bottom))
        return Box(left, top, right, bottom, self.confidence)


class DlibEngine:
    """The detector (HOG), the 5-point predictor and the network; one thread at a time uses them.

    The 68-point predictor is never loaded: its training data excludes commercial use.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dlib: Any = None
        self._detector: Any = None
        self._predictor: Any = None
        self._network: Any = None

    def load(self) -> None:
        """Load and check both models; raises `ModelError`."""
        with self._lock:
            self._load()

    def detect(self, rgb: NDArray[np.uint8], upsample: int = 0) -> list[Box]:
        """Faces in uint8 `[height, width, 3]` of 80 pixels or more, half of that for each `upsample`."""
        with self._lock:
            self._load()
            found, confidences, _ = self._detector.run(rgb, upsample, 0.0)
        pairs = zip(found, confidences, strict=True)
        return [Box(one.left(), one.top(), one.right(), one.bottom(), confidence) for one, confidence in pairs]

    def points(self, rgb: NDArray[np.uint8], box: Box) -> NDArray[np.float64]:
        """Five landmarks `[5, 2]` in pixels: both corners of each eye, then the base of the nose."""
        with self._lock:
            self._load()
            shape = self._shape(rgb, box)
        return np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)

    def describe(self, rgb: NDArray[np.uint8], box: Box) -> NDArray[np.float64]:
        """The descriptor `[128]`, equal to `face_recognition.face_encodings` of that rectangle."""
        with self._lock:
            self._load()
            return np.array(self._network.compute_face_descriptor(rgb, self._shape(rgb, box), 1), dtype=np.float64)

    def _shape(self, rgb: NDArray[np.uint8], box: Box) -> Any:
        return self._predictor(rgb, self._dlib.rectangle(box.left, box.top, box.right, box.bottom))

    def _load(self) -> None:
        if self._dlib is not None:
            return
        try:
            import dlib
            import face_recognition_models as models
        except ImportError as error:
            raise ModelError(f"the face library does not load: {error}") from None
        points = Path(models.pose_predictor_five_point_model_location())
        network = Path(models.face_recognition_model_location())
        require_sha256(points, parameters.FACE_POINTS_SHA256)
        require_sha256(network, parameters.FACE_MODEL_SHA256)
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(points))
        self._network = dlib.face_recognition_model_v1(str(network))
        self._dlib = dlib
