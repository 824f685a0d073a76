"""The native NIST library: minutiae by mindtct, comparison by bozorth3, quality by NFIQ 2."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import minutiae
from agent.biometrics.errors import ModelError
from agent.biometrics.minutiae import Minutia


@dataclass(frozen=True)
class Extraction:
    """Minutiae as an int16 vector (possibly empty) and the NFIQ 2 score 0..100, 0 where it cannot be computed."""

    vector: NDArray[np.int16]
    nfiq2: int


@cache
def model() -> str:
    """Name of the extractor as features carry it; raises `ModelError`."""
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

    def extract(self, pixels: NDArray[np.uint8]) -> Extraction:
        """Minutiae and quality of uint8 `[height, width]` at 500 dpi, ridges dark."""
        import cv2

        encoded = cv2.imencode(".png", pixels)[1].tobytes()
        with self._lock:
            self._load()
            found, nfiq2 = self._minutiae(encoded)
            return Extraction(minutiae.to_vector(self._convert(item) for item in found.get()), nfiq2)

    def compare(self, one: NDArray[np.int16], other: NDArray[np.int16]) -> int:
        """bozorth3 score of two vectors that `minutiae.check_vector` accepts."""
        with self._lock:
            self._load()
            loaded = [self._without_nfiq2.load_iso_19794_2_2005(minutiae.to_native(vector)) for vector in (one, other)]
            return int(loaded[0].compare(loaded[1]))

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

    def _minutiae(self, encoded: bytes) -> tuple[Any, int]:
        try:
            found = self._with_nfiq2.extract_minutiae(encoded)
            return found, min(100, max(0, int(found.quality().score)))
        except self._nbis.NbisError.Nfiq2ComputeFailed:
            return self._without_nfiq2.extract_minutiae(encoded), 0

    def _convert(self, item: Any) -> Minutia:
        kind = 1 if item.kind() == self._nbis.MinutiaKind.RIDGE_ENDING else 2
        angle = round(item.angle() * 256 / 360) % 256
        reliability = min(63, max(0, int(item.reliability() * 63)))
        return Minutia(int(item.x()), int(item.y()), angle, kind, reliability)


def _settings(nbis: Any, *, nfiq2: bool) -> Any:
    return nbis.NbisExtractorSettings(
        min_quality=0.0, get_center=False, check_fingerprint=False, compute_nfiq2=nfiq2, ppi=500.0
    )
