"""From pairs of minutiae to a smooth map of one impression's places onto another's.

A rigid motion, and what the pairs say beyond it as the mean of a Gaussian process: it follows the skin where there are
pairs and falls back to the rigid motion away from them, so that few pairs cannot bend the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.ridges.registration import Floats, Place

_REACH = 60.0
"""Pixels at 500 dpi (3 mm) over which skin moves together."""
_NOISE = 0.07
"""Variance of a minutia's place against that of the skin's stretch."""
_LEVER = 30.0
"""At this distance (pixels) a pair's place says as much about the rotation as its direction does."""


def elastic(one: Floats, other: Floats) -> Place:
    """The map of `other`'s places onto `one`'s that paired minutiae ask for.

    Both float32 `[n, 3]`, n at least 1: x and y in pixels at 500 dpi, y down; the direction in radians, anticlockwise.
    """
    target, source = _complex(one[:, 0], one[:, 1]), _complex(other[:, 0], other[:, 1])
    turn = _turn(target, source, one[:, 2] - other[:, 2])
    from_middle, to_middle = source.mean(), target.mean()
    rest = target - to_middle - turn * (source - from_middle)
    pull = np.linalg.solve(_kin(source, source) + _NOISE * np.eye(len(source)), rest).astype(np.complex64)

    def place(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        at = _complex(x, y)
        laid = to_middle + turn * (at - from_middle) + _kin(at, source) @ pull
        return np.asarray(laid.real, np.float32), np.asarray(laid.imag, np.float32)

    return place


def _turn(target: NDArray[np.complex64], source: NDArray[np.complex64], turned: Floats) -> np.complex64:
    """The rotation, as a complex number of length 1, that places and directions ask for together."""
    places = ((target - target.mean()) * np.conj(source - source.mean())).sum() / _LEVER**2
    total = places + np.exp(-1j * turned.astype(np.float64)).sum()
    return np.complex64(total / max(abs(total), 1e-9))


def _kin(places: NDArray[np.complex64], source: NDArray[np.complex64]) -> Floats:
    apart = places[:, np.newaxis] - source
    return np.asarray(np.exp((apart.real**2 + apart.imag**2) / np.float32(-2 * _REACH**2)), np.float32)


def _complex(x: Floats, y: Floats) -> NDArray[np.complex64]:
    return (x + 1j * y).astype(np.complex64)
