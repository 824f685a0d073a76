"""What each modality brings to a presentation: a matcher's word, or an embedding that a secret may be bound to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.errors import BiometricError
from agent.gathering import Gathering, Sample
from agent.log import event
from agent.pipelines import Bindable, KeepsBeside, Pipelines, RefusesReplays
from agent.profile import OpenProfile
from agent.timings import Stopwatch
from protocol.messages import ModalityModel, SensorIdentity

FURTHEST = 0.30
"""Share of signs that differ between enrolment and probe, beyond which hardly anything opens: margin 0."""
TYPICAL = 0.15
"""As much as a typical genuine presentation differs: margin 100."""


@dataclass(frozen=True)
class Offer:
    """A modality that counts unless it is bound and its root is wrong: model, sensor, quality (0 to 100), features.

    `margin` (0 to 100) is the matcher's, `probe` the embedding `[d]` of a bound modality. `digest` is what the capture
    is known by later, where its pipeline tells replays.
    """

    model: ModalityModel
    sensor: SensorIdentity
    quality: int
    features: bytes = field(repr=False)
    digest: bytes = field(default=b"", repr=False)
    margin: int = 0
    probe: NDArray[np.float32] | None = field(default=None, repr=False)


Offers = Mapping[str, Offer]


@dataclass(frozen=True)
class Offering:
    """Compares samples with an opened profile; a sample that was given before, in whatever disguise, offers nothing."""

    gathering: Gathering
    pipelines: Pipelines
    watch: Stopwatch
    challenge_id: str

    def all(self, profile: OpenProfile, samples: Mapping[str, Sample], need: int) -> dict[str, Offer]:
        """Offers of all samples, and of further ones where released modalities could still make `need` of them."""
        offers = {
            name: offer for name, one in samples.items() if (offer := self._offer(profile, name, one)) is not None
        }
        return offers | self._try_again(profile, samples, offers, need)

    def _offer(self, profile: OpenProfile, name: str, sample: Sample) -> Offer | None:
        try:
            with self.watch.stage("match"):
                offer = self._compared(profile, name, sample)
            return None if offer is None or self._replayed(profile, name, sample) else offer
        except BiometricError as error:
            event(logging.ERROR, "a modality is not comparable", modality=name, error=str(error), remedy=error.remedy)
            return None

    def _compared(self, profile: OpenProfile, name: str, sample: Sample) -> Offer | None:
        pipeline, sensor, features = self.pipelines[name], self.gathering.sensors[name], sample.features
        digest = pipeline.digest(features) if isinstance(pipeline, RefusesReplays) else b""
        said = pipeline.model, sensor, sample.quality, features.to_bytes(), digest
        if (template := profile.templates.get(name)) is not None:
            match = pipeline.match(template, features)
            return Offer(*said, match.margin) if match.accepted else None
        side = profile.sides.get(name)
        if side is None or not isinstance(pipeline, Bindable):
            return None
        if isinstance(pipeline, KeepsBeside) and not pipeline.consistent(side, features):
            return None
        return Offer(*said, probe=pipeline.embedding([features]))

    def _replayed(self, profile: OpenProfile, name: str, sample: Sample) -> bool:
        """Whether a capture was given before: then it counts as none."""
        pipeline = self.pipelines[name]
        if not isinstance(pipeline, RefusesReplays):
            return False
        with self.watch.stage("replay"):
            found = pipeline.replayed(profile.past.get(name, ()), sample.features)
        if found:
            text = "a capture was given before or put together"
            event(logging.WARNING, text, modality=name, challenge=self.challenge_id)
        return found

    def _try_again(
        self, profile: OpenProfile, samples: Mapping[str, Sample], offers: Offers, need: int
    ) -> dict[str, Offer]:
        """Further samples of what offered nothing, where they could make the presentation succeed."""
        found: dict[str, Offer] = {}
        waiting = [name for name in samples if name not in offers and self.gathering.may_repeat(name)]
        while waiting and len(offers) + len(found) + len(waiting) >= need:
            name = waiting[0]
            sample = self.gathering.again(name)
            if sample is not None and (one := self._offer(profile, name, sample)) is not None:
                found[name] = one
            if sample is None or name in found or not self.gathering.may_repeat(name):
                waiting.remove(name)
        return found


def margin_of(distance: float) -> int:
    """0 to 100 for the share of signs (0 to 1) by which a probe differed from what it opened."""
    return round(100 * min(1.0, max(0.0, (FURTHEST - distance) / (FURTHEST - TYPICAL))))
