"""What turns a face into a vector, and how alike two vectors are: dlib's network, or one that the site brings."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import embeddings, parameters
from agent.biometrics._arcface import ArcFaceEngine
from agent.biometrics._dlib import DlibEngine
from agent.biometrics._files import require_sha256
from agent.biometrics.errors import BiometricError, ModelError
from agent.biometrics.parameters import FaceDecision, Threshold
from agent.biometrics.settings import FaceSettings

Vector = NDArray[np.float64]
_LEAST_SPAN = 0.05
"""Between a threshold and the score of a full margin."""


class FaceModel(Protocol):
    """A network and what belongs to it. Vectors are kept as int16, `scale` times their values."""

    name: str
    scale: float
    decision: FaceDecision
    code: str
    """Name of the kind of embedding, for binding."""

    def load(self) -> None:
        """Load and check the network; raises `ModelError`."""
        ...

    def describe(self, rgb: NDArray[np.uint8], points: NDArray[np.float64]) -> Vector:
        """The vector `[n]` of the face with dlib's landmarks `[5, 2]`."""
        ...

    def alike(self, one: Vector, other: Vector) -> float:
        """How alike two vectors, or means of vectors, are; higher is more alike."""
        ...

    def centred(self, vector: Vector) -> Vector:
        """The vector from the centre of all faces."""
        ...


class DlibModel:
    """The shipped network; alike is 1 - Euclidean distance."""

    name = f"{parameters.FACE_MODEL}/sha256:{parameters.FACE_MODEL_SHA256}"
    scale = parameters.FACE_SCALE
    decision = parameters.FACE_DLIB
    code = parameters.FACE_CODE

    def __init__(self, engine: DlibEngine) -> None:
        self._engine = engine

    def load(self) -> None:
        """Load and check the network; raises `ModelError`."""
        self._engine.load()

    def describe(self, rgb: NDArray[np.uint8], points: NDArray[np.float64]) -> Vector:
        """The descriptor `[128]`."""
        return self._engine.describe(rgb, points)

    def alike(self, one: Vector, other: Vector) -> float:
        """1 - Euclidean distance."""
        return float(1.0 - np.linalg.norm(one - other))

    def centred(self, vector: Vector) -> Vector:
        """The descriptor from the mean of many faces: all descriptors lie within a narrow cone."""
        return vector - _shipped_centre()


class ArcFaceModel:
    """A network by path and hash; alike is the cosine."""

    scale = parameters.FACE_UNIT_SCALE
    decision = parameters.FACE_ARCFACE
    code = parameters.FACE_ARCFACE_CODE

    def __init__(self, path: Path, sha256: str) -> None:
        self.name = f"arcface/sha256:{sha256}"
        self._engine = ArcFaceEngine(path, sha256)

    def load(self) -> None:
        """Load and check the network; raises `ModelError`."""
        self._engine.load()

    def describe(self, rgb: NDArray[np.uint8], points: NDArray[np.float64]) -> Vector:
        """The embedding `[n]` at length one."""
        return self._engine.describe(rgb, points)

    def alike(self, one: Vector, other: Vector) -> float:
        """The cosine."""
        return float(embeddings.unit(one) @ embeddings.unit(other))

    def centred(self, vector: Vector) -> Vector:
        """The vector as it is: embeddings of these networks spread around zero (docs/profiles.md)."""
        return vector


@cache
def _shipped_centre() -> Vector:
    """The mean descriptor `[128]` of the shipped network; raises `ModelError`."""
    path = Path(str(files("agent") / "models" / parameters.FACE_CENTRE_FILE))
    require_sha256(path, parameters.FACE_CENTRE_SHA256)
    centre: Vector = np.load(path, allow_pickle=False).astype(np.float64)
    return centre


def choose(settings: FaceSettings, engine: DlibEngine) -> FaceModel:
    """The model that the settings name; raises `ModelError` for one without its hash."""
    if not settings.model:
        return DlibModel(engine)
    if not settings.model_sha256:
        raise ModelError(
            "a face model is set without its hash",
            remedy="Set model_sha256 to the SHA-256 of the file, as its maker gives it.",
        )
    return ArcFaceModel(Path(settings.model), settings.model_sha256.lower())


def threshold(settings: FaceSettings, model: FaceModel) -> Threshold:
    """The model's threshold, or the site's own; raises `BiometricError` for one outside the range that makes sense."""
    documented, own = model.decision.threshold, settings.threshold
    if not own:
        return documented
    if not model.decision.least <= own <= documented.typical:
        raise BiometricError(
            f"the face threshold {own:g} is outside {model.decision.least:g} to {documented.typical:g}",
            remedy="Set the threshold that `keyvigil evaluate face` recommends on your own people, or none.",
        )
    return Threshold(own, max(documented.typical, own + _LEAST_SPAN))
