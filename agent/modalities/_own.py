"""Fingerprint, face and voice of `agent.biometrics` as pipelines of the agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent import biometrics
from agent.biometrics import Features, Modality, Template
from agent.biometrics.pipelines import Consistent
from agent.biometrics.replay import recogniser
from agent.pipelines import Examined, Match, Purpose
from protocol.messages import ModalityModel

OWN_THRESHOLD = "own-threshold"
OWN_MODEL = "own-model"
_PURPOSE = {"enrolment": biometrics.Purpose.ENROL, "challenge": biometrics.Purpose.VERIFY}


@dataclass(frozen=True)
class OwnPipeline:
    """One pipeline of `agent.biometrics`, and the traits that its profiles carry."""

    inner: biometrics.Pipeline[Any]
    traits: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, *traits: str, **settings: object) -> Self:
        """The pipeline of the modality `name`; raises `BiometricError` for settings that it does not have.

        A threshold, a network or a centre of the site's own is a trait, so that a policy may refuse it.
        """
        own = {OWN_THRESHOLD} if settings.get("threshold") else set()
        own |= {OWN_MODEL} if settings.get("model") or settings.get("centre") else set()
        return cls(biometrics.make_pipeline(Modality(name), settings), frozenset({*traits, *own}))

    @property
    def model(self) -> ModalityModel:
        """Name and hash of the model, version of the parameters, traits."""
        return ModalityModel(
            modality=self.inner.modality.value,
            model=self.inner.model,
            parameters=biometrics.PARAMETERS_VERSION,
            traits=tuple(sorted(self.traits)) or msgspec.UNSET,
        )

    def examine(self, captures: Sequence[Any], purpose: Purpose) -> Examined:
        """Features, or every reason against the captures."""
        try:
            sample, trace = self._extract(captures, _PURPOSE[purpose])
        except biometrics.CaptureRefused as refusal:
            return Examined(refusal.quality.score, " ".join(refusal.quality.reasons))
        return Examined(sample.quality.score, "", replace(sample.features, trace=trace))

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

    def digest(self, sample: Any) -> bytes:
        """What the capture is recognised by later."""
        return recogniser(self.inner.modality).digest(cast(Features, sample).trace)

    def replayed(self, past: Sequence[bytes], sample: Any) -> bool:
        """Whether the capture is one of the past."""
        return recogniser(self.inner.modality).replayed(past, cast(Features, sample).trace)

    def repeated(self, sitting: Sequence[bytes], sample: Any) -> bool:
        """Whether the capture was given before in this sitting."""
        return recogniser(self.inner.modality).repeated(sitting, cast(Features, sample).trace)

    def _extract(self, captures: Sequence[Any], purpose: biometrics.Purpose) -> tuple[biometrics.Sample, bytes]:
        """The sample, and what its capture is recognised by: what was passed over could only hide it."""
        capture = self._capture(captures)
        sample = self.inner.extract(capture, purpose)
        return sample, recogniser(self.inner.modality).trace(sample.used or capture)

    def _capture(self, captures: Sequence[Any]) -> Any:
        """What the inner pipeline takes."""
        match self.inner.modality:
            case Modality.FINGERPRINT:
                return captures[0]
            case Modality.FACE:
                return captures
            case Modality.VOICE:
                speech = captures[0]
                return biometrics.Recording(speech.pcm, speech.rate, speech.overflow, speech.digits)


@dataclass(frozen=True)
class BindablePipeline(OwnPipeline):
    """A pipeline whose features are embeddings; raises `BiometricError` when it is used for any other."""

    @property
    def code(self) -> str:
        """Name of the kind of embedding."""
        return self._embedding.code

    def embedding(self, samples: Sequence[Any]) -> NDArray[np.float32]:
        """The one embedding of several samples; raises `BiometricError` for none, `ModelMismatch` for foreign ones."""
        template = Template.of(cast("Sequence[Features]", samples), least=1)
        if (template.modality, template.model) != (self.inner.modality, self.inner.model):
            raise biometrics.ModelMismatch(f"the {template.modality} features were made by another model")
        return self._embedding.embedding(template.vectors).astype(np.float32)

    def side(self, samples: Sequence[Any]) -> bytes:
        """How the enrolled samples said their digits, where the modality has such."""
        if not isinstance(self.inner, Consistent):
            return b""
        return msgspec.msgpack.encode([one.side for one in cast("Sequence[Features]", samples)])

    def consistent(self, side: bytes, sample: Any) -> bool:
        """Whether a presented sample said its digits as the enrolled ones did; raises `BiometricError`."""
        if not isinstance(self.inner, Consistent):
            return True
        try:
            enrolled = msgspec.msgpack.decode(side, type=list[bytes])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise biometrics.BiometricError("what is kept beside a voice cannot be read") from None
        return self.inner.consistent(enrolled, cast(Features, sample).side)

    @property
    def _embedding(self) -> biometrics.Embedding:
        if not isinstance(self.inner, biometrics.Embedding):
            raise biometrics.BiometricError(f"features of {self.inner.modality} are no embeddings")
        return self.inner
