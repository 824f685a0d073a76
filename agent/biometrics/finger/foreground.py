"""Where an impression shows ridges, in cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.minutiae import CELL

_CONTRAST = 14.0


def ridged(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """The cells with the contrast of ridges, and the mean grey of each, as `[rows, columns]`."""
    rows, columns = (side // CELL for side in pixels.shape)
    cells = pixels[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL).astype(np.float32)
    return cells.std(axis=(1, 3)) >= _CONTRAST, cells.mean(axis=(1, 3))


def foreground(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The ridged cells, bool `[rows, columns]`, of uint8 `[height, width]` at 500 dpi, without holes and specks."""
    import cv2

    around = np.ones((3, 3), np.uint8)
    closed = cv2.morphologyEx(ridged(pixels)[0].astype(np.uint8), cv2.MORPH_CLOSE, around)
    return np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, around), np.bool_)


def interior(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The foreground cells without background beside them, where ridges end because the contact does.

    The edge of the image is no background.
    """
    padded = np.pad(cells, 1, constant_values=True)
    rows, columns = cells.shape
    shifted = [padded[row : row + rows, column : column + columns] for row in range(3) for column in range(3)]
    return np.asarray(np.logical_and.reduce(shifted), np.bool_)
