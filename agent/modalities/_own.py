"""Fingerprint, face and voice of `agent.biometrics` as pipelines of the agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from agent import biometrics
from agent.biometrics import Features, Modality, Template
from agent.pipelines import Examined, Match, Purpose
from protocol.messages import ModalityModel

_PURPOSE = {"enrolment": biometrics.Purpose.ENROL, "challenge": biometrics.Purpose.VERIFY}


@dataclass(frozen=True)
class OwnPipeline:
    """One modality of `biometrics.Pipelines`, whose models are loaded per modality."""

    pipelines: biometrics.Pipelines
    modality: Modality

    @classmethod
    def of(cls, name: str) -> OwnPipeline:
        """The pipeline of the modality `name`."""
        return cls(biometrics.Pipelines(), Modality(name))

    @property
    def model(self) -> ModalityModel:
        """Name and hash of the model, version of the parameters."""
        model = self.pipelines.model(self.modality)
        return ModalityModel(modality=self.modality.value, model=model, parameters=biometrics.PARAMETERS_VERSION)

    def examine(self, captures: Sequence[Any], purpose: Purpose) -> Examined:
        """Features, or every reason against the captures."""
        try:
            sample = self._extract(captures, _PURPOSE[purpose])
        except biometrics.CaptureRefused as refusal:
            return Examined(refusal.quality.score, " ".join(refusal.quality.reasons))
        return Examined(sample.quality.score, "", sample.features)

    def enrol(self, samples: Sequence[Any]) -> bytes:
        """The template's byte form."""
        return self.pipelines.enrol(cast("Sequence[Features]", samples)).to_bytes()

    def match(self, template: bytes, sample: Any) -> Match:
        """The comparison's result without its score."""
        result = self.pipelines.match(Template.from_bytes(template), cast(Features, sample))
        return Match(result.accepted, result.margin)

    def warm_up(self) -> None:
        """Load the modality's models."""
        self.pipelines.warm_up([self.modality])

    def _extract(self, captures: Sequence[Any], purpose: biometrics.Purpose) -> biometrics.Sample:
        match self.modality:
            case Modality.FINGERPRINT:
                return self.pipelines.fingerprint.extract(captures[0], purpose)
            case Modality.FACE:
                return self.pipelines.face.extract(captures, purpose)
            case Modality.VOICE:
                speech = captures[0]
                recording = biometrics.Recording(speech.pcm, speech.rate, speech.overflow)
                return self.pipelines.voice.extract(recording, purpose)
