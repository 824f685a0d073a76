"""The biometric pipelines behind the agent's own interface to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from agent import biometrics
from agent.biometrics import Features, Modality, Template
from agent.capturing import Capture, Purpose, Utterance
from agent.pipelines import Examined, FeatureVector, Match, Pipeline
from hal import FingerprintImage, Frame
from protocol.messages import ModalityModel

_PURPOSE = {"enrolment": biometrics.Purpose.ENROL, "challenge": biometrics.Purpose.VERIFY}


@dataclass(frozen=True)
class ModalityPipeline:
    """One modality of the shared `biometrics.Pipelines`."""

    pipelines: biometrics.Pipelines
    modality: Modality

    @property
    def model(self) -> ModalityModel:
        """Name and hash of the model, version of the parameters."""
        model = self.pipelines.model(self.modality)
        return ModalityModel(modality=self.modality.value, model=model, parameters=biometrics.PARAMETERS_VERSION)

    def examine(self, captures: Sequence[Capture], purpose: Purpose) -> Examined:
        """Features, or every reason against the captures."""
        try:
            sample = self._extract(captures, _PURPOSE[purpose])
        except biometrics.CaptureRefused as refusal:
            return Examined(refusal.quality.score, " ".join(refusal.quality.reasons))
        return Examined(sample.quality.score, "", sample.features)

    def enrol(self, samples: Sequence[FeatureVector]) -> bytes:
        """The template's byte form."""
        return self.pipelines.enrol(cast("Sequence[Features]", samples)).to_bytes()

    def match(self, template: bytes, sample: FeatureVector) -> Match:
        """The comparison's result without its score."""
        result = self.pipelines.match(Template.from_bytes(template), cast(Features, sample))
        return Match(result.accepted, result.margin)

    def warm_up(self) -> None:
        """Load the modality's models."""
        self.pipelines.warm_up([self.modality])

    def _extract(self, captures: Sequence[Capture], purpose: biometrics.Purpose) -> biometrics.Sample:
        match self.modality:
            case Modality.FINGERPRINT:
                return self.pipelines.fingerprint.extract(cast(FingerprintImage, captures[0]), purpose)
            case Modality.FACE:
                return self.pipelines.face.extract(cast("Sequence[Frame]", captures), purpose)
            case Modality.VOICE:
                speech = cast(Utterance, captures[0])
                recording = biometrics.Recording(speech.pcm, speech.rate, speech.overflow)
                return self.pipelines.voice.extract(recording, purpose)


def load_pipelines(modalities: Iterable[str]) -> dict[str, Pipeline]:
    """A pipeline for each modality that has a sensor; models are loaded when first used."""
    shared = biometrics.Pipelines()
    return {name: ModalityPipeline(shared, Modality(name)) for name in modalities}
