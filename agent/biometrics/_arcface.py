"""ArcFace-class networks (arXiv 1801.07698) that a site brings: one face of 112 x 112 in, one embedding out.

The site names the file and its SHA-256. What the network wants is read from the file: the side of its input, whether
the subtraction of the mean is part of it, the length of its embedding.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import embeddings, parameters
from agent.biometrics._alignment import SIDE, aligned
from agent.biometrics._onnx import open_session
from agent.biometrics._onnx_nodes import first_operations
from agent.biometrics.errors import ModelError

_REMEDY = "Set the face modality's model to an ArcFace-class ONNX file, and model_sha256 to its hash; or set neither."
_DIMENSIONS = (64, 1024)
_SIDES = (64, 256)
_FIRST_OPERATIONS = 8
_BLACK = 0
"""OpenCV's way to go on beyond a picture that these networks were trained with."""


class ArcFaceEngine:
    """One network, which loads on first use and runs in one thread."""

    def __init__(self, path: Path, sha256: str) -> None:
        self._path, self._sha256 = path, sha256
        self._lock = threading.Lock()
        self._session: Any = None
        self._side = SIDE
        self._offset, self._scale = 0.0, 1.0

    def load(self) -> None:
        """Check and load the network and run it once; raises `ModelError`."""
        with self._lock:
            if self._session is None:
                self._session = self._open()

    def describe(self, rgb: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The embedding `[n]` at length one of the face with dlib's landmarks `[5, 2]`.

        Raises `ModelError` for values that are not numbers.
        """
        self.load()
        return self._run(self._session, aligned(rgb, points, self._side, _BLACK))

    def _open(self) -> Any:
        _require_size(self._path)
        session = open_session(self._path, self._sha256)
        self._side = _input_side(session, self._path.name)
        operations = first_operations(self._path.read_bytes(), _FIRST_OPERATIONS)
        inside = {"Sub", "Mul"} <= set(operations) or {"Sub", "Div"} <= set(operations)
        self._offset, self._scale = (0.0, 1.0) if inside else (127.5, 127.5)
        self._run(session, np.full((self._side, self._side, 3), 127, np.uint8))
        return session

    def _run(self, session: Any, face: NDArray[np.uint8]) -> NDArray[np.float64]:
        planes = (face.transpose(2, 0, 1)[np.newaxis].astype(np.float32) - self._offset) / self._scale
        try:
            (output,) = session.run(None, {session.get_inputs()[0].name: planes})
        except Exception:  # noqa: BLE001  # the library raises classes of its own, with whatever the network provoked
            raise _error(self._path.name, "fails on a picture") from None
        values = np.asarray(output)
        if values.ndim != 2 or len(values) != 1 or not _DIMENSIONS[0] <= values.shape[1] <= _DIMENSIONS[1]:
            raise _error(self._path.name, f"returns {values.shape}, not one embedding of 64 to 1024 values")
        if values.dtype.kind != "f" or not np.isfinite(values).all() or not values.any():
            raise _error(self._path.name, "returns values that are not numbers, or nothing")
        return embeddings.unit(values[0].astype(np.float64))


def _require_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"the model file {path.name} cannot be read: {error.strerror}", remedy=_REMEDY) from None
    if size > parameters.FACE_MODEL_BYTES:
        raise _error(path.name, f"has {size} bytes, more than a node has room for")


def _input_side(session: Any, name: str) -> int:
    """The side of the one input, float32 `[1 or free, 3, side, side]`; a free side is ArcFace's."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
        raise _error(name, "does not take one picture and return one embedding")
    shape = [size if isinstance(size, int) else None for size in inputs[0].shape]
    if len(shape) != 4 or shape[0] not in {None, 1} or shape[1] != 3 or shape[2] != shape[3]:
        raise _error(name, f"takes {inputs[0].shape}, not [1, 3, side, side]")
    side = shape[2] or SIDE
    if not _SIDES[0] <= side <= _SIDES[1]:
        raise _error(name, f"takes pictures of {side} pixels, not 64 to 256")
    return side


def _error(name: str, what: str) -> ModelError:
    return ModelError(f"the face model {name} {what}", remedy=_REMEDY)
