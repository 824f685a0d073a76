"""Two fingers as one sample: both must be good, and both must match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from agent.errors import BiometricError
from agent.extension import FeatureVector
from agent.pipelines import Examined, Match, Purpose
from protocol.codec import length_prefixed
from protocol.messages import ModalityModel

if TYPE_CHECKING:
    from agent.modalities._own import OwnPipeline

TRAIT = "two-fingers"
NAMES = ("first", "second")


@dataclass(frozen=True)
class PairFeatures:
    """Features of the first and of the second finger."""

    pair: tuple[FeatureVector, FeatureVector]

    def to_bytes(self) -> bytes:
        """Both vectors, length-prefixed and padded to whole int16."""
        joined = length_prefixed(*(one.to_bytes() for one in self.pair))
        return joined + bytes(len(joined) % 2)


class TwoFingers:
    """A fingerprint pipeline of which a sample is two impressions, of one finger and of another."""

    def __init__(self, inner: OwnPipeline) -> None:
        self._inner = inner

    @property
    def model(self) -> ModalityModel:
        """The inner model with the trait `two-fingers`."""
        model = self._inner.model
        return msgspec.structs.replace(model, traits=(*sorted(model.traits_known), TRAIT))

    def examine(self, captures: Sequence[Any], purpose: Purpose) -> Examined:
        """Features of both; a refusal says which finger it is about."""
        first, second = (self._inner.examine([capture], purpose) for capture in captures)
        reasons = [
            f"The {name} finger: {each.reason}"
            for name, each in zip(NAMES, (first, second), strict=True)
            if each.reason
        ]
        quality = min(first.quality, second.quality)
        if reasons or first.features is None or second.features is None:
            return Examined(quality, " ".join(reasons))
        return Examined(quality, "", PairFeatures((first.features, second.features)))

    def enrol(self, samples: Sequence[Any]) -> bytes:
        """A template of each finger; raises `BiometricError` when both are the same finger."""
        columns = [[sample.pair[finger] for sample in samples] for finger in (0, 1)]
        templates = [self._inner.enrol(column) for column in columns]
        if any(self._inner.match(templates[0], other).accepted for other in columns[1]):
            raise BiometricError("both fingers are the same", remedy="Enrol again with two different fingers.")
        return msgspec.msgpack.encode(templates)

    def match(self, template: bytes, sample: Any) -> Match:
        """Accepted when both are, in their order; the margin is that of the worse one."""
        templates = _pair(template)
        first, second = (self._inner.match(one, part) for one, part in zip(templates, sample.pair, strict=True))
        return Match(first.accepted and second.accepted, min(first.margin, second.margin))

    def digest(self, sample: Any) -> bytes:
        """What both impressions are recognised by later."""
        return msgspec.msgpack.encode([self._inner.digest(one) for one in sample.pair])

    def replayed(self, past: Sequence[bytes], sample: Any) -> bool:
        """Whether an impression of either finger is one of the past, of whichever finger that was."""
        known = [digest for pair in past for digest in _pair(pair)]
        return any(self._inner.replayed(known, one) for one in sample.pair)

    def repeated(self, sitting: Sequence[bytes], sample: Any) -> bool:
        """As `replayed`, for impressions of one sitting."""
        known = [digest for pair in sitting for digest in _pair(pair)]
        return any(self._inner.repeated(known, one) for one in sample.pair)

    def warm_up(self) -> None:
        """Load the inner models."""
        self._inner.warm_up()


def _pair(data: bytes) -> tuple[bytes, bytes]:
    try:
        return msgspec.msgpack.decode(data, type=tuple[bytes, bytes])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BiometricError("what is kept of two fingers cannot be read") from None
