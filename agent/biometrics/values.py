"""Values that the feature pipelines pass on; none of them shows biometric data in its `repr`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SIDE_BYTES: Final = 131_072
"""The most that features carry beside their vector."""


class Modality(StrEnum):
    """What is sensed of a person."""

    FINGERPRINT = "fingerprint"
    FACE = "face"
    VOICE = "voice"


class Purpose(StrEnum):
    """What a capture is for: enrolment asks for more quality than verification."""

    ENROL = "enrol"
    VERIFY = "verify"


@dataclass(frozen=True)
class Quality:
    """How good a capture is: `score` 0 (useless) to 100, that of its weakest property.

    `reasons` are sentences that the person at the sensor can act on; a capture without any is acceptable. `measures`
    are the figures behind the score (units in docs/biometrics.md); they do not identify anybody.
    """

    score: int
    reasons: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def acceptable(self) -> bool:
        """Whether nothing speaks against using the capture."""
        return not self.reasons


@dataclass(frozen=True, eq=False)
class Features:
    """What a model made of a capture: `vector` is int16 `[n]`, exactly what is matched and what evidence commits to.

    Fingerprint: minutiae and foreground (see `agent.biometrics.minutiae`). Face and voice: the embedding times the
    scale of its modality (see `agent.biometrics.parameters`). `model` names the model and its SHA-256. `side` is what a
    comparison needs besides, at most `SIDE_BYTES`; templates keep it, evidence does not commit to it. `trace` is what
    `agent.biometrics.replay` recognises the capture by; neither templates nor evidence hold it.
    """

    modality: Modality
    model: str
    vector: NDArray[np.int16] = field(repr=False)
    side: bytes = field(default=b"", repr=False)
    trace: bytes = field(default=b"", repr=False)

    def to_bytes(self) -> bytes:
        """The vector as little-endian int16, the form that commitments are made over."""
        return self.vector.astype("<i2").tobytes()


@dataclass(frozen=True)
class Sample:
    """A capture that was accepted: its features and its quality.

    `used` are the pictures that the features are of, in their order, where a capture has several and others were passed
    over.
    """

    features: Features
    quality: Quality
    used: tuple[Any, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class MatchResult:
    """Outcome of a comparison: accepted when `score` (higher is more alike) reaches `threshold`.

    `consistent` is False when what lies beside the vectors speaks against the probe, such as digits that were not said.
    `margin` is 0 at or below the threshold and 100 at the score that a typical genuine capture reaches.
    """

    score: float
    threshold: float
    margin: int
    consistent: bool = True

    @property
    def accepted(self) -> bool:
        """Whether the probe is of the person that the template is of, as far as the matcher can tell."""
        return self.consistent and self.score >= self.threshold
