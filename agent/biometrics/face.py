"""Faces: frames to quality, one averaged vector and score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import _face_quality, embeddings, parameters
from agent.biometrics._alignment import SIDE, TEMPLATE
from agent.biometrics._dlib import Box, DlibEngine, shared_engine
from agent.biometrics._face_models import choose, threshold
from agent.biometrics.errors import BiometricError, CaptureRefused
from agent.biometrics.live_frames import LiveFrames
from agent.biometrics.settings import FaceSettings
from agent.biometrics.values import Features, Modality, Purpose, Quality, Sample
from hal import Frame

_NO_FACE = "Look into the camera from about half a metre, with the whole face in the picture."
_SECOND_FACE = "Only one person may be in the picture."
_OTHER_FACE = "Stay in front of the camera: the pictures do not all show the same face."


@dataclass(frozen=True, eq=False)
class _Sighting:
    """A face in a frame, acceptable or not."""

    frame: Frame
    rgb: NDArray[np.uint8]
    quality: Quality
    points: NDArray[np.float64] | None = None
    box: Box | None = None


class FacePipeline:
    """One vector of up to seven frames, by dlib's network or one that the site brings."""

    modality = Modality.FACE

    def __init__(self, settings: FaceSettings | None = None, engine: DlibEngine | None = None) -> None:
        self.settings = settings or FaceSettings()
        self._engine = engine or shared_engine()
        self._model = choose(self.settings, self._engine)
        self._threshold = threshold(self.settings, self._model)

    @property
    def model(self) -> str:
        """Name and SHA-256 of the network, and whether pictures were taken as aligned."""
        return self._model.name + ("/aligned" if self.settings.aligned else "")

    @property
    def threshold(self) -> parameters.Threshold:
        """From which score a match is accepted."""
        return self._threshold

    @property
    def alike(self) -> float:
        """The least score of each sample of a template against the others."""
        return self._model.decision.alike

    @property
    def samples(self) -> tuple[int, int]:
        """The least and the greatest number of samples of a template."""
        return parameters.SAMPLES_MINIMUM[self.modality], parameters.SAMPLES_MAXIMUM[self.modality]

    def warm_up(self) -> None:
        """Load every model and run each once; raises `ModelError`."""
        blank = np.zeros((160, 160, 3), dtype=np.uint8)
        self._engine.load()
        self._model.load()
        self._engine.detect(blank)
        self._model.describe(blank, self._engine.points(blank, Box(30, 30, 130, 130)))

    def assess(self, frames: Sequence[Frame], purpose: Purpose = Purpose.VERIFY) -> Quality:
        """The quality of the newest frame, for live feedback; raises `BiometricError` for a malformed frame."""
        if not frames:
            return Quality(0, (_NO_FACE,))
        return self._sight(frames[-1], purpose, None).quality

    def extract(self, frames: Sequence[Frame], purpose: Purpose = Purpose.VERIFY) -> Sample:
        """The mean vector of the seven best acceptable frames, and their mean quality.

        Of `LiveFrames` only the face that answered is looked at: with another one before it a frame is not acceptable.
        Raises `CaptureRefused` when no frame is acceptable or the frames show different faces, `BiometricError`.
        """
        seen = list(self._sight_all(frames, purpose))
        sightings = sorted(seen, key=_merit, reverse=True)
        if not sightings or not sightings[0].quality.acceptable:
            raise CaptureRefused(sightings[0].quality if sightings else Quality(0, (_NO_FACE,)))
        best = [one for one in sightings if one.quality.acceptable][: parameters.FACE_FRAMES_MAXIMUM]
        vectors = [self._model.describe(one.rgb, one.points) for one in best if one.points is not None]
        if self._least_alike(vectors) < self._model.decision.together:
            raise CaptureRefused(Quality(0, (_OTHER_FACE,)))
        vector = embeddings.quantise(np.mean(vectors, axis=0), self._model.scale)
        used = _traced([one for one in seen if one in best])
        quality = _mean_quality([one.quality for one in best])
        return Sample(Features(self.modality, self.model, vector), quality, used)

    def compare(self, enrolled: tuple[NDArray[np.int16], ...], probes: tuple[NDArray[np.int16], ...]) -> float:
        """How alike the mean of the enrolled and the mean of the probes' vectors are, as the model measures it."""
        scale = self._model.scale
        return self._model.alike(embeddings.mean(enrolled, scale), embeddings.mean(probes, scale))

    @property
    def code(self) -> str:
        """What the embedding is bound by."""
        return self._model.code

    def embedding(self, vectors: tuple[NDArray[np.int16], ...]) -> NDArray[np.float64]:
        """Direction `[n]` of the mean vector from the model's centre."""
        return embeddings.unit(self._model.centred(embeddings.mean(vectors, self._model.scale)))

    def _least_alike(self, vectors: Sequence[NDArray[np.float64]]) -> float:
        """The least likeness of any two."""
        return min((self._model.alike(one, other) for one, other in combinations(vectors, 2)), default=1.0)

    def _sight_all(self, frames: Sequence[Frame], purpose: Purpose) -> Iterator[_Sighting]:
        """What each frame shows; a face is looked for first where the frame before had it."""
        near: Box | None = None
        places = frames.places if isinstance(frames, LiveFrames) else [None] * len(frames)
        for frame, place in zip(frames, places, strict=True):
            sighting = self._sight(frame, purpose, near, place)
            near = sighting.box if sighting.quality.acceptable else None
            yield sighting

    def _sight(self, frame: Frame, purpose: Purpose, near: Box | None, place: Box | None = None) -> _Sighting:
        rgb = _rgb(frame)
        if self.settings.aligned:
            points = TEMPLATE * min(rgb.shape[:2]) / SIDE
            return _Sighting(frame, rgb, _face_quality.judge(rgb, points, purpose, None), points)
        boxes = (self._engine.detect(rgb, near) if near else []) or self._engine.detect(rgb)
        if not boxes:
            return _Sighting(frame, rgb, Quality(0, (_NO_FACE,)))
        box = boxes[0]
        answered = place is None or box.is_about(place)
        if not answered or any(_is_second_person(other, box) for other in boxes[1:]):
            return _Sighting(frame, rgb, Quality(0, (_SECOND_FACE,)))
        points = self._engine.points(rgb, box)
        return _Sighting(frame, rgb, _face_quality.judge(rgb, points, purpose, box.confidence), points, box)


def _rgb(frame: Frame) -> NDArray[np.uint8]:
    """The picture as contiguous RGB; raises `BiometricError` for any but uint8 `[height, width, 3]`."""
    picture = frame.bgr
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise BiometricError("the camera sent no 8-bit colour picture")
    if not (min(picture.shape[:2]) >= 64 and max(picture.shape[:2]) <= 4096):
        raise BiometricError(f"the camera sent a picture of {picture.shape[1]} x {picture.shape[0]} pixels")
    return np.ascontiguousarray(picture[:, :, ::-1])


def _traced(sightings: Sequence[_Sighting]) -> tuple[Frame, ...]:
    """The frames, with the place of the face that was recognised in each, where it was looked for."""
    places = [one.box for one in sightings if one.box is not None]
    frames = [one.frame for one in sightings]
    return LiveFrames.of(frames, places=places) if len(places) == len(frames) else tuple(frames)


def _is_second_person(other: Box, main: Box) -> bool:
    """Whether another find is large and sure enough to be somebody and not a pattern in the background."""
    large = other.width > parameters.FACE_SECOND_SHARE * main.width
    return large and other.confidence >= parameters.FACE_SECOND_CONFIDENCE


def _merit(sighting: _Sighting) -> tuple[bool, int, int]:
    """Order of frames: acceptable ones, then those with the fewest reasons, then by score."""
    quality = sighting.quality
    return quality.acceptable, -len(quality.reasons), quality.score


def _mean_quality(qualities: list[Quality]) -> Quality:
    names = qualities[0].measures
    measures = {name: round(float(np.mean([one.measures[name] for one in qualities])), 4) for name in names}
    return Quality(round(float(np.mean([one.score for one in qualities]))), (), {**measures, "frames": len(qualities)})
