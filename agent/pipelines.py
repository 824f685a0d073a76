"""What the agent asks of a modality's features: examine captures, make a template, match against one.

Each modality brings its own; nothing else in the agent knows how features are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from protocol.messages import ModalityModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Purpose = Literal["enrolment", "challenge"]


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
    """One modality. Errors are `agent.errors.BiometricError`."""

    @property
    def model(self) -> ModalityModel:
        """Modality, model hash and parameter version; a profile made by another is not usable."""
        ...

    def examine(self, captures: Sequence[Any], purpose: Purpose) -> Examined:
        """Features of one sample: an impression, an utterance, or several frames of one person together."""
        ...

    def enrol(self, samples: Sequence[Any]) -> bytes:
        """A template of features that `examine` gave, as bytes to be sealed; raises `StraySample`."""
        ...

    def match(self, template: bytes, sample: Any) -> Match:
        """Compare the features of one presentation with a template."""
        ...

    def warm_up(self) -> None:
        """Load models, so that the first presentation is as quick as the next."""
        ...


@runtime_checkable
class RefusesReplays(Protocol):
    """What a pipeline has besides if it tells a capture that was given before from a new one.

    The agent keeps the digests of each person's captures sealed beside their profile, a bounded number of them, and
    refuses a capture that was given before although it matches.
    """

    def digest(self, sample: Any) -> bytes:
        """What the capture of these features is recognised by later: at most `DIGEST_BYTES`, alike for no two captures.

        Empty where there is nothing to recognise it by.
        """
        ...

    def replayed(self, past: Sequence[bytes], sample: Any) -> bool:
        """Whether the capture is, disguised or not, one of those whose digests are given, or put together of them."""
        ...

    def repeated(self, sitting: Sequence[bytes], sample: Any) -> bool:
        """As `replayed`, for captures of the same person in the same minute, which may be more alike."""
        ...


@runtime_checkable
class Bindable(Protocol):
    """What a pipeline has besides if its features are embeddings that a secret can be bound to.

    A profile without it keeps a template, and what `match` says releases the modality's share.
    """

    @property
    def code(self) -> str:
        """Name of the kind of embedding, by which its code's parameters are found (`agent.profile.commitment`)."""
        ...

    def embedding(self, samples: Sequence[Any]) -> NDArray[np.float32]:
        """The one embedding `[d]`, of length one, of features that `examine` gave for one person.

        Averaged as `match` averages samples of either side, the population's mean taken off. Raises `BiometricError`.
        """
        ...


@runtime_checkable
class KeepsBeside(Protocol):
    """What a bindable pipeline has besides if something of enrolled samples is kept beside what is bound to them."""

    def side(self, samples: Sequence[Any]) -> bytes:
        """What is kept, to be sealed; never enough to match by."""
        ...

    def consistent(self, side: bytes, sample: Any) -> bool:
        """Whether what lies beside a presented sample's embedding agrees with it."""
        ...


DIGEST_BYTES = 4096
"""The most that is kept of one capture."""

Pipelines = Mapping[str, Pipeline]
"""Pipelines by modality."""
