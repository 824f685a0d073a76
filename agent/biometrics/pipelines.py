"""The three pipelines together, and what is alike in them: enrolment and matching."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics.errors import BiometricError, StraySample
from agent.biometrics.face import FacePipeline
from agent.biometrics.fingerprint import FingerprintPipeline
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
        """Name of the model as features carry it."""
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


class Pipelines:
    """One pipeline per modality. A node's process keeps one object of this class: models are loaded once."""

    def __init__(
        self,
        fingerprint: FingerprintPipeline | None = None,
        face: FacePipeline | None = None,
        voice: VoicePipeline | None = None,
    ) -> None:
        self.fingerprint = fingerprint or FingerprintPipeline()
        self.face = face or FacePipeline()
        self.voice = voice or VoicePipeline()

    def model(self, modality: Modality) -> str:
        """Name of the modality's model."""
        return self._pipeline(modality).model

    def warm_up(self, modalities: Iterable[Modality] = Modality) -> None:
        """Load the models of the modalities and run each once; raises `ModelError`."""
        for modality in modalities:
            self._pipeline(modality).warm_up()

    def enrol(self, samples: Sequence[Features]) -> Template:
        """A template of several captures of one person.

        Every capture must match the others, so that none of another person or finger enters: else `StraySample` names
        it. Raises `BiometricError` for too few or too many samples, `ModelMismatch`.
        """
        template = Template.of(samples)
        if len(template.vectors) > 1:
            self._require_alike(template)
        return template

    def match(self, template: Template, probe: Features | Sequence[Features]) -> MatchResult:
        """Compare one capture, or several of the same person, with a template; raises `BiometricError`."""
        probes = [probe] if isinstance(probe, Features) else list(probe)
        if not probes:
            raise BiometricError("there is no capture to compare")
        for one in probes:
            template.require_comparable(one)
        score = self._pipeline(template.modality).compare(template.vectors, tuple(one.vector for one in probes))
        threshold = parameters.THRESHOLDS[template.modality]
        share = (score - threshold.accept) / (threshold.typical - threshold.accept)
        return MatchResult(score, threshold.accept, round(100 * min(1.0, max(0.0, share))))

    def _require_alike(self, template: Template) -> None:
        compare = self._pipeline(template.modality).compare
        scores = [
            compare(template.vectors[:index] + template.vectors[index + 1 :], (vector,))
            for index, vector in enumerate(template.vectors)
        ]
        worst = int(np.argmin(scores))
        if scores[worst] < parameters.ALIKE[template.modality]:
            raise StraySample(template.modality, worst)

    def _pipeline(self, modality: Modality) -> FingerprintPipeline | FacePipeline | VoicePipeline:
        match modality:
            case Modality.FINGERPRINT:
                return self.fingerprint
            case Modality.FACE:
                return self.face
            case Modality.VOICE:
                return self.voice
