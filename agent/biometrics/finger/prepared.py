"""Impressions as they are compared, each made once for as long as its vector is held."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.finger.cylinders import Cylinders, describe
from agent.biometrics.finger.geometry import Points, points
from agent.biometrics.minutiae import from_vector


@dataclass(frozen=True, eq=False, repr=False)
class Prepared:
    """An impression as it is compared; made of its vector alone."""

    points: Points
    cylinders: Cylinders
    foreground: NDArray[np.bool_]


def prepare(vector: NDArray[np.int16]) -> Prepared:
    """The form of a vector in which it is compared; raises `BiometricError`."""
    impression = from_vector(vector)
    places = points(impression.minutiae)
    return Prepared(places, describe(places), impression.foreground)


class PreparedVectors:
    """Keeps what was prepared of a vector until the vector itself is gone, so that no template outlives its unsealing.

    A vector must not change while it is in use.
    """

    def __init__(self) -> None:
        self._made: dict[int, tuple[weakref.ref[NDArray[np.int16]], Prepared]] = {}

    @property
    def held(self) -> int:
        """How many vectors are prepared at present."""
        return len(self._made)

    def of(self, vector: NDArray[np.int16]) -> Prepared:
        """`prepare(vector)`, made now or before; raises `BiometricError`."""
        key = id(vector)
        known = self._made.get(key)
        if known is not None and known[0]() is vector:
            return known[1]
        prepared = prepare(vector)
        self._made[key] = (weakref.ref(vector, lambda _: self._made.pop(key, None)), prepared)
        return prepared
