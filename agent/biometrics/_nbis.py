"""The native NIST library: minutiae by mindtct, quality by NFIQ 2."""

from __future__ import annotations

import threading
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.errors import ModelError
from agent.biometrics.finger.foreground import interior
from agent.biometrics.minutiae import CELL, Minutia

_FINE, _COARSE, _REACH = 1.0, 6.0, 14.0
"""Deviations of Gaussians in pixels: ridges lie between the first two, the third evens their contrast out."""
_GREY, _CONTRAST, _NOISE = 128.0, 55.0, 5.0
"""Grey values: the middle, the contrast that all ridges get, and how weak a contrast is noise."""


@cache
def library() -> str:
    """Name and version of the library; raises `ModelError`."""
    try:
        return f"nbis-py-{version('nbis-py')}"
    except PackageNotFoundError:
        raise ModelError("the fingerprint library nbis-py is not installed") from None


class NbisEngine:
    """One thread at a time enters the native code, which keeps its state in globals."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nbis: Any = None
        self._with_nfiq2: Any = None
        self._without_nfiq2: Any = None

    def load(self) -> None:
        """Load the library and the NFIQ 2 model; raises `ModelError`."""
        with self._lock:
            self._load()

    def minutiae(self, pixels: NDArray[np.uint8], foreground: NDArray[np.bool_]) -> list[Minutia]:
        """Minutiae of uint8 `[height, width]` at 500 dpi, ridges dark, inside the foreground in cells.

        Raises `ModelError`.
        """
        encoded = _encode(even(pixels))
        with self._lock:
            self._load()
            found = [self._convert(item) for item in self._without_nfiq2.extract_minutiae(encoded).get()]
        kept = np.pad(np.kron(interior(foreground), np.ones((CELL, CELL), np.bool_)), (0, CELL), mode="edge")
        return [minutia for minutia in found if kept[minutia.y, minutia.x]]

    def nfiq2(self, pixels: NDArray[np.uint8]) -> int:
        """The NFIQ 2 score 0..100 of uint8 `[height, width]` at 500 dpi; 0 where it cannot be computed."""
        encoded = _encode(pixels)
        with self._lock:
            self._load()
            try:
                return min(100, max(0, int(self._with_nfiq2.extract_minutiae(encoded).quality().score)))
            except self._nbis.NbisError.Nfiq2ComputeFailed:
                return 0

    def _load(self) -> None:
        if self._nbis is not None:
            return
        try:
            import nbis
        except (ImportError, OSError) as error:
            raise ModelError(f"the fingerprint library nbis-py does not load: {error}") from None
        self._with_nfiq2 = nbis.new_nbis_extractor(_settings(nbis, nfiq2=True))
        self._without_nfiq2 = nbis.new_nbis_extractor(_settings(nbis, nfiq2=False))
        self._nbis = nbis

    def _convert(self, item: Any) -> Minutia:
        kind = 1 if item.kind() == self._nbis.MinutiaKind.RIDGE_ENDING else 2
        angle = round(item.angle() * 256 / 360) % 256
        reliability = min(63, max(0, int(item.reliability() * 63)))
        return Minutia(int(item.x()), int(item.y()), angle, kind, reliability)


def even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The ridges of uint8 `[height, width]` alone, as that too, with the same contrast everywhere.

    mindtct breaks fewer of them, and invents fewer.
    """
    import cv2

    grey = pixels.astype(np.float32)
    ridges = cv2.GaussianBlur(grey, (0, 0), _FINE) - cv2.GaussianBlur(grey, (0, 0), _COARSE)
    deviation = np.sqrt(cv2.GaussianBlur(ridges * ridges, (0, 0), _REACH))
    return np.asarray(np.clip(_GREY + _CONTRAST * ridges / (deviation + _NOISE), 0, 255), np.uint8)


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def _settings(nbis: Any, *, nfiq2: bool) -> Any:
    return nbis.NbisExtractorSettings(
        min_quality=0.0, get_center=False, check_fingerprint=False, compute_nfiq2=nfiq2, ppi=500.0
    )
