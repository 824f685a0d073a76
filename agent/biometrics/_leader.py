"""LEADER, a network that finds minutiae in a raw impression (Cappelli and Ferrara, arXiv 2602.15493)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._onnx import open_shipped, shrinking
from agent.biometrics.minutiae import CELL, Minutia

_MULTIPLE = 32
"""The network takes sides that are multiples of this."""
STRIP_PIXELS = 40_000
_STRIP_ROWS = 96
"""The fewest rows of a strip."""
_HALO = 32
"""Rows that strips share: near a cut the network errs."""
_ANGLE, _ENDING, _RELIABILITY = 1, 2, 3
"""Channels of the network's output."""


class LeaderEngine:
    """The network in one CPU thread. An impression passes in strips: memory stays near 80 MB while it runs."""

    def __init__(self, strip_pixels: int = STRIP_PIXELS) -> None:
        self._strip_pixels = strip_pixels
        self._lock = threading.Lock()
        self._session: Any = None
        self._options: Any = None

    def load(self) -> None:
        """Check and load the network; raises `ModelError`."""
        with self._lock:
            if self._session is None:
                self._session = open_shipped(parameters.LEADER_FILE, parameters.LEADER_SHA256, arena=True)
                self._options = shrinking()

    def minutiae(self, pixels: NDArray[np.uint8], foreground: NDArray[np.bool_]) -> list[Minutia]:
        """Minutiae of uint8 `[height, width]` at 500 dpi, ridges dark, with the foreground in cells.

        Reliability 1.0 of the network is 63. Raises `ModelError`.
        """
        self.load()
        top, bottom, left, right = _frame(foreground, pixels.shape)
        found: list[Minutia] = []
        for start, first, last in strips(bottom - top, right - left, self._strip_pixels):
            rows = slice(top + start[0], top + start[1])
            heads = self._run(pixels[rows, left:right])
            found += _read(heads, range(first - start[0], last - start[0]), left, top + start[0])
        return found

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = pixels.shape
        padded = np.pad(pixels, ((0, -height % _MULTIPLE), (0, -width % _MULTIPLE)), mode="edge").astype(np.float32)
        with self._lock:
            heads: NDArray[np.float32] = self._session.run(
                ["head_conc"], {"input": padded[np.newaxis, :, :, np.newaxis]}, self._options
            )[0][0]
        return heads[:height, :width]


def strips(height: int, width: int, pixels: int = STRIP_PIXELS) -> Iterator[tuple[tuple[int, int], int, int]]:
    """Rows to run `(start, end)` and the rows `first..last` of them to keep, which cover `height` once.

    A strip has about `pixels` pixels, or 96 rows where that is more.
    """
    most = pixels // (width + -width % _MULTIPLE) // _MULTIPLE * _MULTIPLE
    rows = max(_STRIP_ROWS, most)
    if rows >= height:
        yield (0, height), 0, height
        return
    first = 0
    while first < height:
        start = min(max(0, first - _HALO), height - rows)
        last = height if start + rows == height else start + rows - _HALO
        yield (start, start + rows), first, last
        first = last


def _frame(foreground: NDArray[np.bool_], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The rectangle of the foreground and a cell around it, within the image."""
    edges: list[int] = []
    for axis, side in ((1, shape[0]), (0, shape[1])):
        taken = np.flatnonzero(foreground.any(axis=axis))
        low, high = (int(taken[0]), int(taken[-1])) if taken.size else (0, side // CELL)
        edges += [max(0, (low - 1) * CELL), min(side, (high + 2) * CELL)]
    return edges[0], edges[1], edges[2], edges[3]


def _read(heads: NDArray[np.float32], rows: range, left: int, top: int) -> list[Minutia]:
    """Minutiae where the network leaves a peak; it gives directions anticlockwise in radians."""
    kept = heads[rows.start : rows.stop]
    y, x = np.nonzero(kept[..., _RELIABILITY] >= parameters.LEADER_RELIABILITY)
    values = kept[y, x]
    angles = np.round(values[:, _ANGLE] * (128 / np.pi)).astype(int) % 256
    kinds = np.where(values[:, _ENDING] >= 0.5, 1, 2)
    reliability = np.clip(np.round(values[:, _RELIABILITY] * 63), 0, 63).astype(int)
    columns = zip((x + left).tolist(), (y + top + rows.start).tolist(), angles, kinds, reliability, strict=True)
    return [Minutia(*(int(value) for value in column)) for column in columns]
