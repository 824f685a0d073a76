"""Impressions and pictures of faces, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.evaluation.errors import EvaluationError, LeftOut
from hal import FingerprintImage, Frame

IMPRESSIONS = frozenset({".png", ".tif", ".tiff", ".bmp", ".pgm"})
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".pgm", ".ppm", ".bmp"})
DEFAULT_DPI = 500
LEAST_DPI = 200
"""A file that states less is taken to state none: 72 and 96 are what programs write that know nothing of a sensor."""
SMALL_SIDE = 240
"""A picture of a face whose longer side is below this is smaller than any camera's, and is enlarged."""
ENLARGED_SIDE = 320
_UNDECODABLE = "the file holds no picture that can be read"


def impression(path: Path, dpi: int | None = None) -> FingerprintImage:
    """The impression in a file, grey, at `dpi` or what the file states, else 500; raises `LeftOut`."""
    return FingerprintImage(_decode(path, colour=False), dpi or stated_dpi(path) or DEFAULT_DPI, 0, 0)


def face(path: Path, *, enlarge: bool) -> Sequence[Frame]:
    """The picture in a file as the one frame of a capture; `enlarge` a small one. Raises `LeftOut`."""
    picture = _decode(path, colour=True)
    return [Frame(_enlarged(picture) if enlarge else picture, 0, 0)]


def stated_dpi(path: Path) -> int | None:
    """The resolution that a PNG, TIFF or BMP states, to the nearest 1; None where it states none of a sensor."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise missing("Pillow") from None
    try:
        with Image.open(path) as picture:
            across = float(picture.info.get("dpi", (0, 0))[0])
    except (OSError, UnidentifiedImageError, ValueError, ZeroDivisionError, Image.DecompressionBombError):
        return None
    return round(across) if across >= LEAST_DPI else None


def missing(package: str) -> EvaluationError:
    """That a package of the extra `evaluation` is not installed."""
    return EvaluationError(
        f"{package} is not installed", remedy="Install Keyvigil with the extra: keyvigil[evaluation]."
    )


def _enlarged(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A small picture at the whole factor that brings its longer side to `ENLARGED_SIDE` at least; others unchanged."""
    longer = max(picture.shape[:2])
    if longer >= SMALL_SIDE:
        return picture
    import cv2

    factor = -(-ENLARGED_SIDE // longer)
    larger: NDArray[np.uint8] = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return larger


def _decode(path: Path, *, colour: bool) -> NDArray[np.uint8]:
    """Pixels uint8 `[h, w]` or `[h, w, 3]` BGR."""
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE) if data.size else None
    except (OSError, cv2.error):
        pixels = None
    if pixels is None:
        raise LeftOut(_UNDECODABLE)
    decoded: NDArray[np.uint8] = pixels
    return decoded
