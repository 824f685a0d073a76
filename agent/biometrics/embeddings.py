"""Embeddings as int16 vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.errors import BiometricError

_INT16 = np.iinfo(np.int16)


def quantise(embedding: NDArray[np.floating], scale: float) -> NDArray[np.int16]:
    """`embedding` times `scale`, rounded to int16; raises `BiometricError` when a value is not finite."""
    if not np.isfinite(embedding).all():
        raise BiometricError("the model returned values that are not numbers")
    quantised: NDArray[np.int16] = np.clip(np.rint(embedding * scale), _INT16.min, _INT16.max).astype(np.int16)
    return quantised


def mean(vectors: Sequence[NDArray[np.int16]], scale: float) -> NDArray[np.float64]:
    """The mean embedding of int16 vectors `[n]`."""
    average: NDArray[np.float64] = np.stack(vectors).mean(axis=0, dtype=np.float64) / scale
    return average


def unit(embedding: NDArray[np.floating]) -> NDArray[np.float64]:
    """The embedding at length one; raises `BiometricError` for one of length zero."""
    length = float(np.linalg.norm(embedding))
    if length < 1e-6:
        raise BiometricError("the model returned an embedding of length zero")
    return (embedding / length).astype(np.float64)
