"""Fingerprints: impression to quality, minutiae and score."""

from __future__ import annotations

from itertools import starmap

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._nbis import Extraction, NbisEngine, model
from agent.biometrics.errors import BiometricError, CaptureRefused
from agent.biometrics.grading import Grading
from agent.biometrics.minutiae import FIELDS
from agent.biometrics.settings import FingerprintSettings
from agent.biometrics.values import Features, Modality, Purpose, Quality, Sample
from hal import FingerprintImage

_BLOCK = 16
_BLOCK_CONTRAST = 14.0
_BLOCK_MM2 = (_BLOCK * 25.4 / parameters.FINGERPRINT_DPI) ** 2


class FingerprintPipeline:
    """Minutiae of press sensors' images, quality by NFIQ 2, comparison by bozorth3."""

    modality = Modality.FINGERPRINT

    def __init__(self, settings: FingerprintSettings | None = None, engine: NbisEngine | None = None) -> None:
        self.settings = settings or FingerprintSettings()
        self._engine = engine or NbisEngine()

    @property
    def model(self) -> str:
        """Name of the extractor; raises `ModelError` where it is not installed."""
        return model()

    @property
    def threshold(self) -> parameters.Threshold:
        """From which score a match is accepted."""
        return parameters.THRESHOLDS[self.modality]

    @property
    def alike(self) -> float:
        """The least score of each sample of a template against the others."""
        return parameters.ALIKE[self.modality]

    @property
    def samples(self) -> tuple[int, int]:
        """The least and the greatest number of samples of a template."""
        return parameters.SAMPLES_MINIMUM[self.modality], parameters.SAMPLES_MAXIMUM[self.modality]

    def warm_up(self) -> None:
        """Load the native library and run it once; raises `ModelError`."""
        self._engine.load()

    def assess(self, image: FingerprintImage, purpose: Purpose = Purpose.VERIFY) -> Quality:  # noqa: ARG002
        """Quick look for live feedback, without minutiae: area, pressure, moisture. Raises `BiometricError`.

        Neither depends on the purpose.
        """
        return _look(normalise(image)).quality()

    def extract(self, image: FingerprintImage, purpose: Purpose = Purpose.VERIFY) -> Sample:
        """Minutiae of one impression; raises `CaptureRefused` with every reason, `BiometricError`."""
        pixels = normalise(image)
        grading = _look(pixels)
        extraction = self._engine.extract(pixels)
        _judge_extraction(grading, extraction, purpose)
        quality = grading.quality()
        if not quality.acceptable:
            raise CaptureRefused(quality)
        return Sample(Features(self.modality, self.model, extraction.vector), quality)

    def compare(self, enrolled: tuple[NDArray[np.int16], ...], probes: tuple[NDArray[np.int16], ...]) -> float:
        """The best probe's sum of its two best bozorth3 scores over the enrolled impressions."""
        return float(max(self._against_all(enrolled, probe) for probe in probes))

    def _against_all(self, enrolled: tuple[NDArray[np.int16], ...], probe: NDArray[np.int16]) -> int:
        scores = starmap(self._engine.compare, ((impression, probe) for impression in enrolled))
        return sum(sorted(scores)[-2:])


def normalise(image: FingerprintImage) -> NDArray[np.uint8]:
    """The impression at 500 dpi, uint8 `[height, width]`; raises `BiometricError` for an image out of bounds."""
    low, high = parameters.FINGERPRINT_DPI_RANGE
    if image.pixels.dtype != np.uint8 or image.pixels.ndim != 2 or not low <= image.dpi <= high:
        raise BiometricError(f"the reader sent no 8-bit grey image of {low} to {high} dpi")
    scale = parameters.FINGERPRINT_DPI / image.dpi
    height, width = (round(side * scale) for side in image.pixels.shape)
    least, most = parameters.FINGERPRINT_SIDE_RANGE
    if not (least <= height <= most and least <= width <= most):
        raise BiometricError(f"the reader sent an image of {width} x {height} pixels at 500 dpi, not {least} to {most}")
    if scale == 1.0:
        return np.ascontiguousarray(image.pixels)
    import cv2

    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    resized: NDArray[np.uint8] = cv2.resize(image.pixels, (width, height), interpolation=method)
    return resized


def _look(pixels: NDArray[np.uint8]) -> Grading:
    """Area and tone of the part that shows ridges."""
    grading = Grading()
    height, width = (side // _BLOCK * _BLOCK for side in pixels.shape)
    blocks = pixels[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).astype(np.float32)
    ridged = blocks.std(axis=(1, 3)) >= _BLOCK_CONTRAST
    area = float(ridged.sum()) * _BLOCK_MM2
    grading.judge(
        "area_mm2",
        area,
        parameters.FINGER_AREA_MM2,
        "Lay the finger flat and in the middle, so that more of it touches.",
    )
    if ridged.any():
        _judge_tone(grading, float(blocks.mean(axis=(1, 3))[ridged].mean()))
    return grading


def _judge_tone(grading: Grading, tone: float) -> None:
    reason = None
    if tone < parameters.FINGER_DARK:
        reason = "Press more lightly, and dry the finger and the sensor."
    elif tone > parameters.FINGER_PALE:
        reason = "Press the finger more firmly; breathe on it if it is dry."
    grading.grade("tone", tone, 100.0 if reason is None else 0.0, reason)


def _judge_extraction(grading: Grading, extraction: Extraction, purpose: Purpose) -> None:
    count = extraction.vector.size // FIELDS
    least = parameters.MINUTIAE_MINIMUM[purpose]
    grading.grade(
        "minutiae",
        count,
        100.0 * count / parameters.MINUTIAE_GOOD,
        "Show more of the fingertip: too few ridge details were found." if count < least else None,
    )
    grading.grade(
        "nfiq2",
        extraction.nfiq2,
        float(extraction.nfiq2),
        "Clean the finger and the sensor, press evenly and hold still."
        if extraction.nfiq2 < parameters.NFIQ2_MINIMUM[purpose]
        else None,
    )
