"""What the agent asks of a modality: examine captures, make a template, match against one.

`agent.modalities` implements it with `agent.biometrics`; nothing else in the agent knows how features are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.capturing import Capture, Purpose
from protocol.messages import ModalityModel


class FeatureVector(Protocol):
    """Features of one modality, whatever they are."""

    def to_bytes(self) -> bytes:
        """Little-endian int16, the form that commitments are made over."""
        ...


@dataclass(frozen=True)
class Examined:
    """What captures gave: features, or the reason for a refusal. `quality` is 0 to 100."""

    quality: int
    reason: str = ""
    features: FeatureVector | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Match:
    """Result of one comparison: `margin` 0 to 100 beyond the threshold."""

    accepted: bool
    margin: int


class Pipeline(Protocol):
    """One modality. Errors are `agent.biometrics.BiometricError`."""

    @property
    def model(self) -> ModalityModel:
        """Modality, model hash and parameter version; a profile made by another is not usable."""
        ...

    def examine(self, captures: Sequence[Capture], purpose: Purpose) -> Examined:
        """Features of one impression, one utterance, or of several frames of one person together."""
        ...

    def enrol(self, samples: Sequence[FeatureVector]) -> bytes:
        """A template, as bytes to be sealed."""
        ...

    def match(self, template: bytes, sample: FeatureVector) -> Match:
        """Compare the features of one presentation with a template."""
        ...

    def warm_up(self) -> None:
        """Load models, so that the first presentation is as quick as the next."""
        ...


Pipelines = Mapping[str, Pipeline]
"""Pipelines by modality."""
