"""Gathering one person's samples for a challenge: captures in an order that a person can follow, then features."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from agent.capturing import Booth, Capture, PersonAbsent
from agent.config import PresentationSection
from agent.errors import AgentError
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
        self._impressions = 0

    @property
    def sensors(self) -> Mapping[str, SensorIdentity]:
        """Identity of each sensor that was opened, by modality."""
        return self._booth.seen

    def all(self, modalities: Sequence[str]) -> dict[str, Sample]:
        """Samples of every modality that gave any.

        The finger first, then face and voice together: a person can speak while looking into a camera, but not place
        a finger with care at the same time.
        """
        found = {"fingerprint": self.finger_again()} if "fingerprint" in modalities else {}
        captures = {"face": self._face, "voice": self._voice}
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="capture") as pool:
            rest = {
                name: pool.submit(self._guarded, name, capture)
                for name, capture in captures.items()
                if name in modalities
            }
            found |= {name: future.result() for name, future in rest.items()}
        return {name: sample for name, sample in found.items() if sample is not None}

    def finger_again(self) -> Sample | None:
        """One more good impression, while the configured number of tries lasts."""
        if self._impressions >= self._settings.fingerprint_tries:
            return None
        return self._guarded("fingerprint", self._finger)

    def _guarded(self, name: str, capture: Callable[[], Sample | None]) -> Sample | None:
        """What `capture` gives; a sensor that fails or a person who stays away gives nothing."""
        try:
            with self._watch.stage(f"capture_{name}"):
                return capture()
        except (DeviceError, AgentError) as error:
            event(logging.WARNING, "a capture failed", modality=name, error=str(error), remedy=error.remedy)
        except PersonAbsent as error:
            event(logging.WARNING, "a capture was declined", modality=name, error=str(error))
        return None

    def _finger(self) -> Sample | None:
        of = self._settings.fingerprint_tries
        with self._booth.fingerprints(of, self._limit()) as impression:
            while self._impressions < of:
                self._impressions += 1
                sample = self._examine("fingerprint", [impression(self._impressions)])
                if sample is not None:
                    return sample
        return None

    def _face(self) -> Sample | None:
        count, limit = self._settings.face_frames, self._limit()
        with self._booth.frames(count, limit) as frame:
            while True:
                sample = self._examine("face", [frame() for _ in range(count)])
                if sample is not None or limit.remaining() <= 0:
                    return sample

    def _voice(self) -> Sample | None:
        utterance = self._booth.utterance(1, 1, self._booth.digits, self._settings.voice_s, self._limit())
        return self._examine("voice", [utterance])

    def _limit(self) -> Deadline:
        return self._deadline.within(self._settings.capture_timeout_s)

    def _examine(self, name: str, captures: Sequence[Capture]) -> Sample | None:
        with self._watch.stage(f"features_{name}"):
            examined = self._pipelines[name].examine(captures, "challenge")
        if examined.features is None:
            event(logging.INFO, "a sample was refused", modality=name, reason=examined.reason)
            return None
        return Sample(examined.features, examined.quality)
