"""Where faces are: dlib's convolutional detector (max-margin object detection, arXiv 1502.00046) over a pyramid.

The network answers with a margin for a window of 80 x 80 pixels every eight pixels. Coarse levels are looked at first:
a large face costs little, and finer levels are searched only for another person about as far away as the first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._onnx import open_shipped

_WINDOW = 80
_STRIDE = 8
_FIRST = 14
"""Middle of the network's first window in pixels."""
_STEP = 5 / 6
_BORDER = 24
"""Empty pixels around a level, so that a face at the edge of the picture is found."""
_EMPTY = (123, 117, 104)
"""The mean colour of the network's training, which it sees as nothing."""
_LEAST_SIDE = 60
_CANDIDATE = -0.5
"""Windows from this margin on share in placing a face; alone they are none."""


@dataclass(frozen=True)
class Box:
    """A face's rectangle in pixels of the picture; it may reach over the edge.

    `confidence` is the detector's margin: a face is at 0.7 to 1.1, whatever else it finds below 0.4.
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

    def is_about(self, other: Box) -> bool:
        """Whether the two are of one face: the middle of each lies within the other."""
        return self._holds_middle_of(other) and other._holds_middle_of(self)

    def _holds_middle_of(self, other: Box) -> bool:
        across, down = (other.left + other.right) / 2, (other.top + other.bottom) / 2
        return self.left <= across <= self.right and self.top <= down <= self.bottom

    def scaled(self, factor: float) -> Box:
        """The rectangle in a picture that is `factor` times as large."""
        left, top, right, bottom = (round(side * factor) for side in (self.left, self.top, self.right, self.bottom))
        return Box(left, top, right, bottom, self.confidence)


class FaceFinder:
    """The detector; it loads on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None

    def load(self) -> None:
        """Check and load the network; raises `ModelError`."""
        with self._lock:
            if self._session is None:
                self._session = open_shipped(parameters.FACE_FINDER_FILE, parameters.FACE_FINDER_SHA256)

    def find(self, rgb: NDArray[np.uint8]) -> list[Box]:
        """Faces in uint8 `[height, width, 3]`, the surest first; of an eighth of the longer side and wider."""
        self.load()
        windows: list[tuple[float, ...]] = []
        finer = parameters.FACE_FINER_LEVELS
        for factor in _factors(rgb.shape[0], rgb.shape[1]):
            windows += self._windows(_level(rgb, factor), factor, (-_BORDER / factor, -_BORDER / factor))
            if any(window[4] >= parameters.FACE_FOUND for window in windows):
                finer -= 1
            if finer < 0:
                break
        return list(_merge(windows))

    def follow(self, rgb: NDArray[np.uint8], near: Box) -> list[Box]:
        """Like `find`, but only where and as large as a face could be one frame after `near`: a fifth of the time."""
        self.load()
        windows: list[tuple[float, ...]] = []
        for factor in (_WINDOW / near.width * step for step in (_STEP, 1.0, 1 / _STEP)):
            picture, origin = _surroundings(rgb, near, factor)
            windows += self._windows(picture, factor, origin)
        return list(_merge(windows))

    def _windows(
        self, picture: NDArray[np.uint8], factor: float, origin: tuple[float, float]
    ) -> Iterator[tuple[float, ...]]:
        """Left, top, right, bottom and margin in the whole picture, of which `picture` is a part at `factor`."""
        margins = self._session.run(["out"], {"rgb": picture[np.newaxis]})[0][0, 0]
        for row, column in zip(*np.nonzero(margins > _CANDIDATE), strict=True):
            left = origin[0] + (_STRIDE * column + _FIRST - _WINDOW / 2) / factor
            top = origin[1] + (_STRIDE * row + _FIRST - _WINDOW / 2) / factor
            size = _WINDOW / factor
            yield left, top, left + size, top + size, float(margins[row, column])


def _factors(height: int, width: int) -> Iterator[float]:
    """How much larger than the picture each level of the pyramid is, the coarsest first."""
    least, most = parameters.FACE_SEARCH_SIDE
    longest = max(height, width)
    finest = min(max(least, 2 * longest), most) / longest
    count = int(np.log(_LEAST_SIDE / (finest * min(height, width))) / np.log(_STEP))
    return (finest * _STEP**index for index in range(max(count, 0), -1, -1))


def _level(rgb: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    import cv2

    smoothing = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    size = max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor))
    resized = rgb if size == rgb.shape[1::-1] else cv2.resize(rgb, size, interpolation=smoothing)
    level: NDArray[np.uint8] = cv2.copyMakeBorder(
        resized, _BORDER, _BORDER, _BORDER, _BORDER, cv2.BORDER_CONSTANT, value=_EMPTY
    )
    return level


def _surroundings(rgb: NDArray[np.uint8], near: Box, factor: float) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """A square around a face at `factor`, and where its corner is in the picture."""
    import cv2

    size = parameters.FACE_FOLLOW_SIZE * near.width
    left = (near.left + near.right - size) / 2
    top = (near.top + near.bottom - size) / 2
    onto = np.array([[factor, 0.0, -factor * left], [0.0, factor, -factor * top]])
    side = round(size * factor)
    square: NDArray[np.uint8] = cv2.warpAffine(
        rgb, onto, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_EMPTY
    )
    return square, (left, top)


def _merge(windows: Iterable[tuple[float, ...]]) -> Iterator[Box]:
    """One box per face: the mean of the windows that overlap its best one, weighted by their margins."""
    left = np.array(sorted(windows, key=lambda window: -window[4])).reshape(-1, 5)
    while len(left) and left[0, 4] >= parameters.FACE_FOUND:
        union, covered = _overlap(left[0], left)
        own = left[union > parameters.FACE_SAME_UNION]
        place = np.average(own[:, :4], axis=0, weights=(own[:, 4] + 1.0) ** 2)
        edges = [round(float(edge)) for edge in place]
        yield Box(edges[0], edges[1], edges[2], edges[3], float(left[0, 4]))
        left = left[(union <= parameters.FACE_SAME_UNION) & (covered <= parameters.FACE_SAME_COVER)]


def _overlap(one: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shared area as a share of the union, and of the smaller of the two, for windows `[n, 5]`."""
    across = np.minimum(one[2], others[:, 2]) - np.maximum(one[0], others[:, 0])
    down = np.minimum(one[3], others[:, 3]) - np.maximum(one[1], others[:, 1])
    shared = np.clip(across, 0, None) * np.clip(down, 0, None)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    own = (one[2] - one[0]) * (one[3] - one[1])
    return shared / (own + areas - shared), shared / np.minimum(own, areas)
