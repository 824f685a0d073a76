"""Faces: frames to quality, one averaged descriptor and score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import _face_quality, embeddings, parameters
from agent.biometrics._dlib import Box, DlibEngine
from agent.biometrics.errors import BiometricError, CaptureRefused
from agent.biometrics.settings import FaceSettings
from agent.biometrics.values import Features, Modality, Purpose, Quality, Sample
from hal import Frame

_NO_FACE = "Look into the camera from about half a metre, with the whole face in the picture."
_SECOND_FACE = "Only one person may be in the picture."
_OTHER_FACE = "Stay in front of the camera: the pictures do not all show the same face."


@dataclass(frozen=True)
class _Sighting:
    """A face in a frame, acceptable or not."""

    rgb: NDArray[np.uint8]
    box: Box | None
    quality: Quality


class FacePipeline:
    """dlib's descriptor, averaged over up to five frames; Euclidean distance."""

    modality = Modality.FACE

    def __init__(self, settings: FaceSettings | None = None, engine: DlibEngine | None = None) -> None:
        self.settings = settings or FaceSettings()
        self._engine = engine or DlibEngine()

    @property
    def model(self) -> str:
        """Name and SHA-256 of the network."""
        return f"{parameters.FACE_MODEL}/sha256:{parameters.FACE_MODEL_SHA256}"

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
        """Load both models and run each once; raises `ModelError`."""
        blank = np.zeros((160, 160, 3), dtype=np.uint8)
        self._engine.detect(blank)
        self._engine.describe(blank, Box(30, 30, 130, 130))

    def assess(self, frames: Sequence[Frame], purpose: Purpose = Purpose.VERIFY) -> Quality:
        """The quality of the newest frame, for live feedback; raises `BiometricError` for a malformed frame."""
        if not frames:
            return Quality(0, (_NO_FACE,))
        return self._sight(frames[-1], purpose).quality

    def extract(self, frames: Sequence[Frame], purpose: Purpose = Purpose.VERIFY) -> Sample:
        """The mean descriptor of the five best acceptable frames, and their mean quality.

        Raises `CaptureRefused` when no frame is acceptable or the frames show different faces, `BiometricError`.
        """
        sightings = sorted((self._sight(frame, purpose) for frame in frames), key=_merit, reverse=True)
        if not sightings or not sightings[0].quality.acceptable:
            raise CaptureRefused(sightings[0].quality if sightings else Quality(0, (_NO_FACE,)))
        best = [one for one in sightings if one.quality.acceptable][: parameters.FACE_FRAMES_MAXIMUM]
        descriptors = np.array([self._engine.describe(one.rgb, one.box) for one in best if one.box is not None])
        if _spread(descriptors) > parameters.FACE_FRAME_SPREAD:
            raise CaptureRefused(Quality(0, (_OTHER_FACE,)))
        vector = embeddings.quantise(descriptors.mean(axis=0), parameters.FACE_SCALE)
        return Sample(Features(self.modality, self.model, vector), _mean_quality([one.quality for one in best]))

    def compare(self, enrolled: tuple[NDArray[np.int16], ...], probes: tuple[NDArray[np.int16], ...]) -> float:
        """1 - Euclidean distance between the mean of the enrolled and the mean of the probes' descriptors."""
        scale = parameters.FACE_SCALE
        gap = embeddings.mean(enrolled, scale) - embeddings.mean(probes, scale)
        return float(1.0 - np.linalg.norm(gap))

    def _sight(self, frame: Frame, purpose: Purpose) -> _Sighting:
        rgb = _rgb(frame)
        boxes = self._find(rgb)
        if not boxes:
            return _Sighting(rgb, None, Quality(0, (_NO_FACE,)))
        box = boxes[0]
        if any(_is_second_person(other, box) for other in boxes[1:]):
            return _Sighting(rgb, box, Quality(0, (_SECOND_FACE,)))
        points = self._engine.points(rgb, box)
        return _Sighting(rgb, box, _face_quality.judge(rgb, box, points, purpose))

    def _find(self, rgb: NDArray[np.uint8]) -> list[Box]:
        """Faces, the surest first, searched in a picture of bounded size for speed."""
        import cv2

        least, most = parameters.FACE_SEARCH_SIDE
        longest = max(rgb.shape[:2])
        factor = min(1.0, most / longest) if longest > least else least / longest
        searched = rgb if factor == 1.0 else cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        boxes = self._engine.detect(searched) or self._engine.detect(searched, upsample=1)
        found = boxes if factor == 1.0 else [box.scaled(1.0 / factor) for box in boxes]
        return sorted(found, key=lambda box: -box.confidence)


def _rgb(frame: Frame) -> NDArray[np.uint8]:
    """The picture as contiguous RGB; raises `BiometricError` for any but uint8 `[height, width, 3]`."""
    picture = frame.bgr
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise BiometricError("the camera sent no 8-bit colour picture")
    if not (min(picture.shape[:2]) >= 64 and max(picture.shape[:2]) <= 4096):
        raise BiometricError(f"the camera sent a picture of {picture.shape[1]} x {picture.shape[0]} pixels")
    return np.ascontiguousarray(picture[:, :, ::-1])


def _is_second_person(other: Box, main: Box) -> bool:
    """Whether another find is large and sure enough to be somebody and not a pattern in the background."""
    large = other.width > parameters.FACE_SECOND_SHARE * main.width
    return large and other.confidence >= parameters.FACE_SECOND_CONFIDENCE


def _spread(descriptors: NDArray[np.float64]) -> float:
    """The largest distance between any two of descriptors `[frames, 128]`."""
    return float(np.linalg.norm(descriptors[:, np.newaxis] - descriptors[np.newaxis], axis=2).max())


def _merit(sighting: _Sighting) -> tuple[bool, int, int]:
    """Order of frames: acceptable ones, then those with the fewest reasons, then by score."""
    quality = sighting.quality
    return quality.acceptable, -len(quality.reasons), quality.score


def _mean_quality(qualities: list[Quality]) -> Quality:
    names = qualities[0].measures
    measures = {name: round(float(np.mean([one.measures[name] for one in qualities])), 4) for name in names}
    return Quality(round(float(np.mean([one.score for one in qualities]))), (), {**measures, "frames": len(qualities)})
