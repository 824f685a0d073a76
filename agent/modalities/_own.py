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
    """One pipeline of `agent.biometrics`."""

    inner: biometrics.Pipeline[Any]

    @classmethod
    def of(cls, name: str, **settings: object) -> OwnPipeline:
        """The pipeline of the modality `name`; raises `BiometricError` for settings that it does not have."""
        return cls(biometrics.make_pipeline(Modality(name), settings))

    @property
    def model(self) -> ModalityModel:
        """Name and hash of the model, version of the parameters."""
        modality, model = self.inner.modality.value, self.inner.model
        return ModalityModel(modality=modality, model=model, parameters=biometrics.PARAMETERS_VERSION)

    def examine(self, captures: Sequence[Any], purpose: Purpose) -> Examined:
        """Features, or every reason against the captures."""
        try:
            sample = self._extract(captures, _PURPOSE[purpose])
        except biometrics.CaptureRefused as refusal:
            return Examined(refusal.quality.score, " ".join(refusal.quality.reasons))
        return Examined(sample.quality.score, "", sample.features)

    def enrol(self, samples: Sequence[Any]) -> bytes:
        """The template's byte form."""
        return biometrics.enrol(self.inner, cast("Sequence[Features]", samples)).to_bytes()

    def match(self, template: bytes, sample: Any) -> Match:
        """The comparison's result without its score."""
        result = biometrics.match(self.inner, Template.from_bytes(template), cast(Features, sample))
        return Match(result.accepted, result.margin)

    def warm_up(self) -> None:
        """Load the modality's models."""
        self.inner.warm_up()

    def _extract(self, captures: Sequence[Any], purpose: biometrics.Purpose) -> biometrics.Sample:
        match self.inner.modality:
            case Modality.FINGERPRINT:
                return self.inner.extract(captures[0], purpose)
            case Modality.FACE:
                return self.inner.extract(captures, purpose)
            case Modality.VOICE:
                speech = captures[0]
                recording = biometrics.Recording(speech.pcm, speech.rate, speech.overflow, speech.digits)
                return self.inner.extract(recording, purpose)
