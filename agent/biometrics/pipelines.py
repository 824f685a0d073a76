"""The three pipelines, and what is alike in them: making, enrolment and matching."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics.errors import BiometricError, StraySample
from agent.biometrics.face import FacePipeline
from agent.biometrics.fingerprint import FingerprintPipeline
from agent.biometrics.settings import FaceSettings, FingerprintSettings, VoiceSettings
from agent.biometrics.template import Template
from agent.biometrics.values import Features, MatchResult, Modality, Purpose, Quality, Sample
from agent.biometrics.voice import VoicePipeline

Capture_contra = TypeVar("Capture_contra", contravariant=True)
Vectors = tuple[NDArray[np.int16], ...]


class Pipeline(Protocol[Capture_contra]):
    """From a capture to features and a score; models are loaded on first use or by `warm_up`."""

    @property
    def modality(self) -> Modality:
        """What the pipeline senses."""
        ...

    @property
    def model(self) -> str:
        """Name of the model as features carry it: with its hash, and the settings that change features."""
        ...

    @property
    def threshold(self) -> parameters.Threshold:
        """From which score a match is accepted."""
        ...

    @property
    def alike(self) -> float:
        """The least score of each sample of a template against the others."""
        ...

    @property
    def samples(self) -> tuple[int, int]:
        """The least and the greatest number of samples of a template."""
        ...

    def warm_up(self) -> None:
        """Load and run the models once; raises `ModelError`."""
        ...

    def assess(self, capture: Capture_contra, purpose: Purpose = Purpose.VERIFY) -> Quality:
        """A quick quality for live feedback; raises `BiometricError` for a malformed capture only."""
        ...

    def extract(self, capture: Capture_contra, purpose: Purpose = Purpose.VERIFY) -> Sample:
        """Features and quality; raises `CaptureRefused` with every reason, `BiometricError`."""
        ...

    def compare(self, enrolled: Vectors, probes: Vectors) -> float:
        """Score of checked vectors; higher is more alike."""
        ...


@runtime_checkable
class Consistent(Protocol):
    """What a pipeline has besides if its features carry more than the vector that is compared."""

    def consistent(self, enrolled: Sequence[bytes], probe: bytes) -> bool:
        """Whether `Features.side` of a probe agrees with those of a template; raises `BiometricError`."""
        ...


@runtime_checkable
class Embedding(Protocol):
    """What a pipeline has besides if its vectors are embeddings that a secret can be bound to."""

    @property
    def code(self) -> str:
        """Name of the kind of embedding."""
        ...

    def embedding(self, vectors: Vectors) -> NDArray[np.float64]:
        """The one embedding `[d]` of checked vectors of one person, at length one and centred."""
        ...


def make_pipeline(modality: Modality, settings: Mapping[str, object] | None = None) -> Pipeline[Any]:
    """The pipeline of a modality with `settings` by name; raises `BiometricError` for those it does not have.

    Values may be text, as a command line gives them.
    """
    form, make = _MAKERS[modality]
    try:
        return make(msgspec.convert(dict(settings or {}), form, strict=False))
    except msgspec.ValidationError as error:
        known = ", ".join(form.__struct_fields__) or "none"
        raise BiometricError(f"{modality} settings: {error}", remedy=f"Settings of {modality}: {known}.") from None


def enrol(pipeline: Pipeline[Any], samples: Sequence[Features]) -> Template:
    """A template of several captures of one person.

    Every capture must match the others, so that none of another person or finger enters: else `StraySample` names it.
    Raises `BiometricError` for too few or too many samples, `ModelMismatch`.
    """
    template = Template.of(samples)
    if len(template.vectors) > 1:
        _require_alike(pipeline, template)
    return template


def match(pipeline: Pipeline[Any], template: Template, probe: Features | Sequence[Features]) -> MatchResult:
    """Compare one capture, or several of the same person, with a template; raises `BiometricError`."""
    probes = [probe] if isinstance(probe, Features) else list(probe)
    if not probes:
        raise BiometricError("there is no capture to compare")
    for one in probes:
        template.require_comparable(one)
    score = pipeline.compare(template.vectors, tuple(one.vector for one in probes))
    threshold = pipeline.threshold
    share = (score - threshold.accept) / (threshold.typical - threshold.accept)
    beside = not isinstance(pipeline, Consistent) or all(pipeline.consistent(template.sides, p.side) for p in probes)
    return MatchResult(score, threshold.accept, round(100 * min(1.0, max(0.0, share))) if beside else 0, beside)


def _require_alike(pipeline: Pipeline[Any], template: Template) -> None:
    scores = [
        pipeline.compare(template.vectors[:index] + template.vectors[index + 1 :], (vector,))
        for index, vector in enumerate(template.vectors)
    ]
    worst = int(np.argmin(scores))
    if scores[worst] < pipeline.alike:
        raise StraySample(template.modality, worst)


class Pipelines:
    """One pipeline per modality, each with the settings given or its usual ones."""

    def __init__(
        self,
        fingerprint: FingerprintPipeline | None = None,
        face: FacePipeline | None = None,
        voice: VoicePipeline | None = None,
    ) -> None:
        self.fingerprint = fingerprint or FingerprintPipeline()
        self.face = face or FacePipeline()
        self.voice = voice or VoicePipeline()

    def warm_up(self, modalities: Iterable[Modality] = Modality) -> None:
        """Load the models of the modalities and run each once; raises `ModelError`."""
        for modality in modalities:
            self.of(modality).warm_up()

    def enrol(self, samples: Sequence[Features]) -> Template:
        """`enrol` with the pipeline of the samples."""
        template = Template.of(samples)
        return enrol(self.of(template.modality), samples)

    def match(self, template: Template, probe: Features | Sequence[Features]) -> MatchResult:
        """`match` with the pipeline of the template."""
        return match(self.of(template.modality), template, probe)

    def of(self, modality: Modality) -> Pipeline[Any]:
        """The modality's pipeline."""
        pipelines: dict[Modality, Pipeline[Any]] = {
            Modality.FINGERPRINT: self.fingerprint,
            Modality.FACE: self.face,
            Modality.VOICE: self.voice,
        }
        return pipelines[modality]


_MAKERS: Mapping[Modality, tuple[Any, Callable[[Any], Pipeline[Any]]]] = {
    Modality.FINGERPRINT: (FingerprintSettings, FingerprintPipeline),
    Modality.FACE: (FaceSettings, FacePipeline),
    Modality.VOICE: (VoiceSettings, VoicePipeline),
}
