"""Sheets: pictures of which only the sign of the local contrast counts, and how like two of them are once aligned.

The sign of a band-passed picture survives noise, other light, other encoding and rescaling; one bit a point keeps it.
Ridge lines or the lines of a face give a band with a period of few points, so that two sheets agree all over only where
each line lies on its like to a fraction of its width: skin that was laid down a second time, or a face that looked up
again, never does. A probe stays graded and is moved by fractions of a point; what is kept of the past are the signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Spectrum = NDArray[np.complexfloating[Any, Any]]
_BLOCK = 8
"""Points a side of what is kept as there or not there."""

_SCALE = 32.0
"""Contrast 1.0 in a probe's bytes."""

_ROUNDS = 4
_STEP = (1.0, 0.5, 0.5, 0.012)
"""First steps of the search: degrees, points across, points down, share of the size."""

_GAIN = 1e-4
"""Likeness that a step of the search must win."""

_TILE = 0.2
"""Side of the tiles that are judged one by one, of the side of a sheet."""

_LEAST_SEEN = 0.1
"""Share of a sheet that must be there for any statement."""


@dataclass(frozen=True)
class Geometry:
    """`side` points a side are kept; a probe has a margin around them, `wide` a side. `overlap`: the least share of a
    probe that the other sheet must cover. `angles`: turns in degrees that are tried. `promising`: a coarse likeness
    below it is not refined. `sizes`: changes of size that are tried with each turn.
    """

    side: int
    wide: int
    overlap: float
    angles: tuple[float, ...]
    promising: float
    sizes: tuple[float, ...] = (1.0,)

    @property
    def sign_bytes(self) -> int:
        """Length of `Signs.to_bytes`."""
        return self.side**2 // 8 + -(-((self.side // _BLOCK) ** 2) // 8)

    @property
    def transform(self) -> int:
        """Side of the Fourier transform, with room for shifts."""
        return self.side + _BLOCK


@dataclass(frozen=True)
class Likeness:
    """-1 to 1: `overall`, and `local`, which nine tenths of the tiles reach."""

    overall: float
    local: float


_UNLIKE = Likeness(-1.0, -1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Signs:
    """What is kept of a sheet: -1, 0 (nothing there) or 1 as `[side, side]`."""

    geometry: Geometry
    values: Field

    def to_bytes(self) -> bytes:
        """One bit a point, then one bit for each block of 8 by 8 that is there."""
        there = _blocks(self.values != 0) >= 0.5
        return np.packbits(self.values > 0).tobytes() + np.packbits(there).tobytes()

    @classmethod
    def from_bytes(cls, geometry: Geometry, data: bytes) -> Signs:
        """Raises `ValueError` for another length."""
        if len(data) != geometry.sign_bytes:
            raise ValueError("a kept sheet has another length")
        side, count = geometry.side, geometry.side // _BLOCK
        bits = np.unpackbits(np.frombuffer(data, np.uint8))
        there = bits[side**2 : side**2 + count**2].reshape(count, count).repeat(_BLOCK, 0).repeat(_BLOCK, 1)
        signs = (2.0 * bits[: side**2].reshape(side, side) - 1.0) * there
        return cls(geometry, signs.astype(np.float32))

    @cached_property
    def spectra(self) -> tuple[Spectrum, Spectrum]:
        """Fourier transforms of the signs and of where there are any."""
        shape = (self.geometry.transform,) * 2
        return np.fft.rfft2(self.values, shape), np.fft.rfft2(np.abs(self.values), shape)


@dataclass(frozen=True, eq=False, repr=False)
class Sheet:
    """A probe: band-passed contrast of about unit size as `[wide, wide]`, 0 where there is nothing."""

    geometry: Geometry
    values: Field

    def to_bytes(self) -> bytes:
        """Eight bits a point."""
        return bytes(np.clip(np.rint(self.values * _SCALE), -127, 127).astype(np.int8))

    @classmethod
    def from_bytes(cls, geometry: Geometry, data: bytes) -> Sheet:
        """What `to_bytes` wrote; raises `ValueError` for another length."""
        if len(data) != geometry.wide**2:
            raise ValueError("a probe's sheet has another length")
        values = np.frombuffer(data, np.int8).reshape(geometry.wide, geometry.wide)
        return cls(geometry, values.astype(np.float32) / _SCALE)

    def signs(self) -> Signs:
        """What is kept."""
        return Signs(self.geometry, np.sign(self.moved((0.0, 0.0, 0.0, 1.0))))

    def moved(self, move: tuple[float, float, float, float]) -> Field:
        """The middle after a turn (degrees), a shift (points across, down) and a change of size."""
        wide, side = self.geometry.wide, self.geometry.side
        degrees, across, down, size = move
        matrix = cv2.getRotationMatrix2D(((wide - 1) / 2, (wide - 1) / 2), degrees, size)
        matrix[:, 2] += (across - (wide - side) / 2, down - (wide - side) / 2)
        return np.asarray(cv2.warpAffine(self.values, matrix, (side, side), flags=cv2.INTER_CUBIC), np.float32)

    def likeness(self, past: Signs) -> Likeness:
        """How like `past` this sheet can be made by moving it as a whole."""
        coarse, move = self._coarse(past)
        if coarse < self.geometry.promising:
            return Likeness(coarse, -1.0)
        move = self._refined(past, move)
        overall = self._agreement(past, move)
        return Likeness(overall, self._local(past, move)) if overall > self.geometry.promising else _UNLIKE

    @property
    def _ways(self) -> list[tuple[float, float]]:
        return [(angle, size) for size in self.geometry.sizes for angle in self.geometry.angles]

    @cached_property
    def _turned(self) -> tuple[Spectrum, Spectrum, Field]:
        turned = np.array([self.moved((angle, 0.0, 0.0, size)) for angle, size in self._ways])
        shape = (self.geometry.transform,) * 2
        weights = np.abs(turned)
        return np.conj(np.fft.rfft2(turned, shape)), np.conj(np.fft.rfft2(weights, shape)), weights.sum(axis=(1, 2))

    def _coarse(self, past: Signs) -> tuple[float, tuple[float, float, float, float]]:
        """The best of the turns, sizes and whole-point shifts, by correlation."""
        side = self.geometry.transform
        values, weights, totals = self._turned
        signs, there = past.spectra
        agreed = np.fft.irfft2(values * signs, (side, side))
        covered = np.fft.irfft2(weights * there, (side, side))
        enough = covered > np.maximum(self.geometry.overlap * totals, 1.0)[:, np.newaxis, np.newaxis]
        likeness = np.where(enough, agreed / np.maximum(covered, 1.0), -1.0)
        turn, down, across = np.unravel_index(int(likeness.argmax()), likeness.shape)
        shifts = [float(v if v < side / 2 else v - side) for v in (across, down)]
        angle, size = self._ways[int(turn)]
        return float(likeness.max()), (angle, shifts[0], shifts[1], size)

    def _refined(self, past: Signs, move: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """The move climbed from `move`, one parameter at a time, in steps that halve."""
        best, at = self._agreement(past, move), np.array(move)
        step = np.array(_STEP)
        for _ in range(_ROUNDS):
            for index in range(len(step)):
                for way in (step[index], -step[index]):
                    best, at = self._climbed(past, best, at, index, way)
            step /= 2
        return float(at[0]), float(at[1]), float(at[2]), float(at[3])

    def _climbed(
        self, past: Signs, best: float, at: NDArray[np.float64], index: int, way: float
    ) -> tuple[float, NDArray[np.float64]]:
        while True:
            tried = at.copy()
            tried[index] += way
            found = self._agreement(past, (tried[0], tried[1], tried[2], tried[3]))
            if found < best + _GAIN:
                return best, at
            best, at = found, tried

    def _agreement(self, past: Signs, move: tuple[float, float, float, float]) -> float:
        moved = self.moved(move)
        weights = np.abs(moved) * (past.values != 0)
        if np.count_nonzero(weights) < _LEAST_SEEN * weights.size:
            return -1.0
        return float((moved * past.values).sum() / weights.sum())

    def _local(self, past: Signs, move: tuple[float, float, float, float]) -> float:
        """What nine tenths of the tiles reach."""
        moved = self.moved(move)
        tile = max(3, int(_TILE * self.geometry.side)) | 1
        weights = cv2.blur((np.abs(moved) * (past.values != 0)).astype(np.float32), (tile, tile))
        agreed = cv2.blur((moved * past.values).astype(np.float32), (tile, tile))
        inner = slice(tile // 2, -(tile // 2), max(1, tile // 3))
        seen = weights[inner, inner]
        kept = seen > 0.5 * np.median(seen[seen > 0])
        return float(np.percentile(agreed[inner, inner][kept] / seen[kept], 10))


def _blocks(there: NDArray[np.bool_]) -> Field:
    """Share of true points in each block."""
    count = there.shape[0] // _BLOCK
    return np.asarray(there.reshape(count, _BLOCK, count, _BLOCK).mean(axis=(1, 3)), np.float32)
