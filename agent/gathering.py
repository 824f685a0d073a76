"""Gathering one person's samples for a challenge: captures in an order that a person can follow, then features."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from agent.capturing import Beside, Booth
from agent.config import PresentationSection
from agent.errors import AgentError
from agent.extension import PersonAbsent
from agent.log import event
from agent.pipelines import FeatureVector, Pipelines
from agent.timings import Stopwatch
from hal import Deadline, DeviceError
from protocol.messages import SensorIdentity


@dataclass(frozen=True)
class Sample:
    """Features of one modality and their quality (0 to 100)."""

    features: FeatureVector = field(repr=False)
    quality: int


class Gathering:
    """Good samples of one presentation, by modality; every capture ends at `deadline`."""

    def __init__(
        self, booth: Booth, pipelines: Pipelines, settings: PresentationSection, deadline: Deadline, watch: Stopwatch
    ) -> None:
        self._booth = booth
        self._pipelines = pipelines
        self._settings = settings
        self._deadline = deadline
        self._watch = watch
        self._tries: Counter[str] = Counter()

    @property
    def sensors(self) -> Mapping[str, SensorIdentity]:
        """Identity of each sensor that was used, by modality."""
        return self._booth.seen

    @property
    def lit(self) -> Mapping[str, SensorIdentity]:
        """Identity of the screen that lit the person, by the modality that it was for."""
        return self._booth.lit

    @property
    def beside(self) -> Mapping[str, Beside]:
        """The infrared camera that looked on, by the modality that it was for."""
        return self._booth.beside

    def all(self, modalities: Sequence[str]) -> dict[str, Sample]:
        """Samples of every modality that gave any.

        Those that need the whole person come first, one after another, then the others together: a person can speak
        while looking into a camera, but not place a finger with care at the same time.
        """
        alone = [name for name in modalities if self._booth.modalities[name].alone]
        together = [name for name in modalities if name not in alone]
        found = {name: self._gather(name) for name in alone}
        with ThreadPoolExecutor(max_workers=len(together) or 1, thread_name_prefix="capture") as pool:
            rest = {name: pool.submit(self._gather, name) for name in together}
            found |= {name: future.result() for name, future in rest.items()}
        return {name: sample for name, sample in found.items() if sample is not None}

    def may_repeat(self, name: str) -> bool:
        """Whether the person has tries of this modality left; one that time limits is not repeated."""
        effort = self._booth.modalities[name].effort
        return not effort.timed and self._tries[name] < effort.tries

    def again(self, name: str) -> Sample | None:
        """One more good sample, while the tries last."""
        return self._gather(name) if self.may_repeat(name) else None

    def _gather(self, name: str) -> Sample | None:
        """A good sample; a sensor that fails or a person who stays away gives nothing."""
        try:
            with self._watch.stage(f"capture_{name}"):
                return self._capture(name)
        except (DeviceError, AgentError) as error:
            event(logging.WARNING, "a capture failed", modality=name, error=str(error), remedy=error.remedy)
        except PersonAbsent as error:
            event(logging.WARNING, "a capture was declined", modality=name, error=str(error))
        return None

    def _capture(self, name: str) -> Sample | None:
        effort = self._booth.modalities[name].effort
        limit = self._deadline.within(self._settings.capture_timeout_s)
        with self._booth.session(name, effort.tries, limit) as session:
            while effort.timed or self._tries[name] < effort.tries:
                self._tries[name] += 1
                sample = self._examine(name, session.take(self._tries[name]))
                if sample is not None or limit.remaining() <= 0:
                    return sample
        return None

    def _examine(self, name: str, captures: Sequence[Any]) -> Sample | None:
        with self._watch.stage(f"features_{name}"):
            examined = self._pipelines[name].examine(captures, "challenge")
        if examined.features is None:
            event(logging.INFO, "a sample was refused", modality=name, reason=examined.reason)
            return None
        return Sample(examined.features, examined.quality)
