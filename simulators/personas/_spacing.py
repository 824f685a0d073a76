"""Ridge spacing that suits an orientation field.

Where ridges spread apart, either they grow wider or new ones must begin. Were spacing independent of orientation,
those new ones would begin at places that the pattern class dictates, and fingers of one class would share minutiae.
Spacing here widens and narrows with the ridges as far as skin does; what remains, and chance, makes the minutiae.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array, eye_array, kron, vstack
from scipy.sparse.linalg import spsolve

from simulators.personas._fields import Field

STEP = 8
STIFFNESS = 0.3
TETHER = 0.004
GIVE = 0.22
"""Largest natural logarithm by which spacing follows the ridges."""


def spacing_factor(orientation: Field) -> Field:
    """Factor of the ridge period, about 0.8 to 1.25, shaped like `orientation` (radians, anticlockwise).

    Ridges are level lines of a phase whose gradient is the frequency f across them, so f·n has no curl: along a ridge
    the logarithm of f changes by the curl of n. Least squares on a grid of every eighth pixel, with the smoothness of
    skin (`STIFFNESS`) as the other aim.
    """
    size = (orientation.shape[1] // STEP, orientation.shape[0] // STEP)
    cos2 = cv2.resize(np.cos(2 * orientation), size, interpolation=cv2.INTER_AREA).astype(np.float64)
    sin2 = cv2.resize(np.sin(2 * orientation), size, interpolation=cv2.INTER_AREA).astype(np.float64)
    theta = 0.5 * np.arctan2(sin2, cos2)
    log_frequency = _solved(theta, cos2, sin2)
    log_frequency -= np.median(log_frequency)
    bounded = GIVE * np.tanh(log_frequency / GIVE)
    factor = cv2.resize(np.exp(-bounded).astype(np.float32), orientation.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(factor, np.float32)


def _solved(theta: NDArray[np.float64], cos2: NDArray[np.float64], sin2: NDArray[np.float64]) -> NDArray[np.float64]:
    right, down = _differences(theta.shape)
    norm = np.maximum(cos2**2 + sin2**2, 0.05)
    turn_right = _turn(right, cos2, sin2) / norm.ravel()
    turn_down = _turn(down, cos2, sin2) / norm.ravel()
    sin, cos = np.sin(theta).ravel(), np.cos(theta).ravel()
    along = diags_array(cos) @ right - diags_array(sin) @ down
    wanted = np.clip(sin * turn_right + cos * turn_down, -0.25, 0.25)
    system = vstack([along, STIFFNESS * right, STIFFNESS * down, TETHER * eye_array(theta.size)], format="csr")
    target = np.concatenate([wanted, np.zeros(3 * theta.size)])
    solution = spsolve((system.T @ system).tocsc(), system.T @ target)
    return np.asarray(solution, np.float64).reshape(theta.shape)


def _turn(step: csr_matrix, cos2: NDArray[np.float64], sin2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Change of the orientation along one axis, from its doubled angle, which has no jump."""
    change = cos2.ravel() * (step @ sin2.ravel()) - sin2.ravel() * (step @ cos2.ravel())
    return np.asarray(0.5 * change, np.float64)


def _differences(shape: tuple[int, ...]) -> tuple[csr_matrix, csr_matrix]:
    """Forward differences along columns and along rows of a raveled grid, zero at the far edge."""

    def one(length: int) -> csr_matrix:
        main = -np.ones(length)
        main[-1] = 0.0
        return diags_array([main, np.ones(length - 1)], offsets=[0, 1], format="csr")

    rows, columns = shape
    return kron(eye_array(rows), one(columns), format="csr"), kron(one(rows), eye_array(columns), format="csr")
