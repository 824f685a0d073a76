"""Fingerprints: impression to quality, minutiae and score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._leader import LeaderEngine
from agent.biometrics._nbis import NbisEngine, library
from agent.biometrics.errors import BiometricError, CaptureRefused
from agent.biometrics.finger.comparison import compare
from agent.biometrics.finger.foreground import foreground, ridged
from agent.biometrics.finger.prepared import Prepared, PreparedVectors
from agent.biometrics.grading import Grading
from agent.biometrics.minutiae import CELL, Impression, Minutia, most_reliable, to_vector
from agent.biometrics.settings import FingerprintSettings
from agent.biometrics.values import Features, Modality, Purpose, Quality, Sample
from hal import FingerprintImage

_CELL_MM2 = (CELL * 25.4 / parameters.FINGERPRINT_DPI) ** 2


class FingerprintPipeline:
    """Minutiae of press sensors' images by a network or by mindtct, quality by NFIQ 2, comparison by cylinder codes."""

    modality = Modality.FINGERPRINT

    def __init__(
        self,
        settings: FingerprintSettings | None = None,
        nbis: NbisEngine | None = None,
        leader: LeaderEngine | None = None,
    ) -> None:
        self.settings = settings or FingerprintSettings()
        self._nbis = nbis or NbisEngine()
        self._leader = leader or LeaderEngine()
        self._prepared = PreparedVectors()

    @property
    def model(self) -> str:
        """Name of the extractor; raises `ModelError` where it is not installed."""
        if self.settings.extractor == "neural":
            return f"leader/{parameters.LEADER_SHA256}"
        return f"mindtct/{library()}"

    @property
    def threshold(self) -> parameters.Threshold:
        """From which score a match is accepted."""
        shipped = parameters.FINGERPRINT_THRESHOLDS[self.settings.extractor]
        return shipped.moved(self.settings.threshold)

    @property
    def alike(self) -> float:
        """The least score of each sample of a template against the others."""
        return parameters.ALIKE[self.modality]

    @property
    def samples(self) -> tuple[int, int]:
        """The least and the greatest number of samples of a template."""
        return parameters.SAMPLES_MINIMUM[self.modality], parameters.SAMPLES_MAXIMUM[self.modality]

    def warm_up(self) -> None:
        """Load the native library and the network; raises `ModelError`."""
        self._nbis.load()
        if self.settings.extractor == "neural":
            self._leader.load()

    def assess(self, image: FingerprintImage, purpose: Purpose = Purpose.VERIFY) -> Quality:
        """Quick look for live feedback, without minutiae: area, pressure, moisture. Raises `BiometricError`."""
        return _look(normalise(image), purpose).quality()

    def extract(self, image: FingerprintImage, purpose: Purpose = Purpose.VERIFY) -> Sample:
        """Minutiae of one impression; raises `CaptureRefused` with every reason, `BiometricError`."""
        pixels = normalise(image)
        grading = _look(pixels, purpose)
        cells = foreground(pixels)
        if not cells.any():
            raise CaptureRefused(grading.quality())
        minutiae = most_reliable(self.minutiae(pixels, cells))
        _judge_minutiae(grading, len(minutiae), purpose)
        _judge_nfiq2(grading, self._nbis.nfiq2(pixels), purpose)
        quality = grading.quality()
        if not quality.acceptable:
            raise CaptureRefused(quality)
        return Sample(Features(self.modality, self.model, to_vector(Impression(minutiae, cells))), quality)

    def minutiae(self, pixels: NDArray[np.uint8], cells: NDArray[np.bool_]) -> list[Minutia]:
        """Minutiae of uint8 `[height, width]` at 500 dpi with its foreground, by the extractor of the settings."""
        if self.settings.extractor == "neural":
            return self._leader.minutiae(pixels, cells)
        return self._nbis.minutiae(pixels, cells)

    def compare(self, enrolled: tuple[NDArray[np.int16], ...], probes: tuple[NDArray[np.int16], ...]) -> float:
        """The best probe's mean of its two best scores over the enrolled impressions; raises `BiometricError`."""
        impressions = [self._prepared.of(vector) for vector in enrolled]
        return max(_against_all(impressions, self._prepared.of(probe)) for probe in probes)


def _against_all(enrolled: list[Prepared], probe: Prepared) -> float:
    scores = sorted(compare(impression, probe) for impression in enrolled)[-2:]
    return sum(scores) / len(scores)


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


def _look(pixels: NDArray[np.uint8], purpose: Purpose) -> Grading:
    """Area and tone of the part that shows ridges."""
    grading = Grading()
    cells, tones = ridged(pixels)
    grading.judge(
        "area_mm2",
        float(cells.sum()) * _CELL_MM2,
        parameters.FINGER_AREA_MM2,
        "Lay the finger flat and in the middle, so that more of it touches.",
    )
    if cells.any():
        _judge_tone(grading, float(tones[cells].mean()), purpose)
    return grading


def _judge_tone(grading: Grading, tone: float, purpose: Purpose) -> None:
    reason = None
    if tone < parameters.FINGER_DARK:
        reason = "Press more lightly, and dry the finger and the sensor."
    elif tone > parameters.FINGER_PALE[purpose]:
        reason = "Press the finger more firmly; breathe on it if it is dry."
    grading.grade("tone", tone, 100.0 if reason is None else 0.0, reason)


def _judge_minutiae(grading: Grading, count: int, purpose: Purpose) -> None:
    least = parameters.MINUTIAE_MINIMUM[purpose]
    grading.grade(
        "minutiae",
        count,
        100.0 * count / parameters.MINUTIAE_GOOD,
        "Show more of the fingertip: too few ridge details were found." if count < least else None,
    )


def _judge_nfiq2(grading: Grading, nfiq2: int, purpose: Purpose) -> None:
    grading.grade(
        "nfiq2",
        nfiq2,
        float(nfiq2),
        "Clean the finger and the sensor, press evenly and hold still."
        if nfiq2 < parameters.NFIQ2_MINIMUM[purpose]
        else None,
    )
