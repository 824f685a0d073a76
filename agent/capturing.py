"""Raw captures of one person at the sensors. What comes back exists in memory only and is dropped after extraction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.devices import Devices
from agent.prompting import Prompter, Step
from hal import AudioBlock, Clock, Deadline, FingerprintImage, FingerprintReader, Frame
from protocol.messages import SensorIdentity

Purpose = Literal["enrolment", "challenge"]
LIFT_S = 5.0


@dataclass(frozen=True)
class Utterance:
    """One recording: `pcm` is int16 `[n]` at `rate` per second; `overflow` tells that samples were lost within."""

    pcm: NDArray[np.int16] = field(repr=False)
    rate: int
    overflow: bool


Capture = FingerprintImage | Frame | Utterance
"""What a sensor gives at a time: one impression, one frame, one recording."""


class PersonAbsent(Exception):
    """The prompt reported that nobody will do this step."""


@dataclass(frozen=True)
class Booth:
    """The sensors with one person before them: prompts first, then captures; every wait has a deadline."""

    node: str
    admin: str
    purpose: Purpose
    devices: Devices
    prompter: Prompter
    clock: Clock
    digits: str = ""
    gestures: Sequence[str] = ()
    seen: dict[str, SensorIdentity] = field(default_factory=dict)

    @contextmanager
    def fingerprints(self, of: int, deadline: Deadline) -> Iterator[Callable[[int], FingerprintImage]]:
        """A function that captures impression number `attempt`; between two the finger is lifted.

        It raises `PersonAbsent` and the reader's errors.
        """
        with self.devices.open_fingerprint() as reader:
            self.seen["fingerprint"] = self.devices.identity_of("fingerprint", reader)
            yield lambda attempt: self._impression(reader, attempt, of, deadline)

    @contextmanager
    def frames(self, of: int, deadline: Deadline) -> Iterator[Callable[[], Frame]]:
        """A function that reads the camera's next frame."""
        turns = "".join(f", then {gesture}" for gesture in self.gestures)
        self._tell("face", "look", 1, of, f"Look into the camera{turns}.", deadline)
        with self.devices.open_camera() as camera:
            self.seen["face"] = self.devices.identity_of("face", camera)
            yield lambda: camera.read(deadline)

    def utterance(self, attempt: int, of: int, digits: str, seconds: float, deadline: Deadline) -> Utterance:
        """`seconds` of speech after the prompt."""
        spoken = " ".join(digits)
        self._tell("voice", "speak", attempt, of, f"Say clearly: {spoken}", deadline, digits)
        with self.devices.open_microphone() as microphone:
            self.seen["voice"] = self.devices.identity_of("voice", microphone)
            return _record(microphone.blocks(deadline), seconds)

    def _impression(self, reader: FingerprintReader, attempt: int, of: int, deadline: Deadline) -> FingerprintImage:
        if attempt > 1:
            self._tell("fingerprint", "lift", attempt, of, "Lift the finger.", deadline)
            reader.wait_removed(deadline.within(LIFT_S))

        def ready() -> None:
            self._tell("fingerprint", "place", attempt, of, "Place the finger flat on the reader.", deadline)

        return reader.capture(deadline, ready)

    def _tell(
        self,
        step: Literal["fingerprint", "face", "voice"],
        action: Literal["place", "lift", "look", "speak"],
        attempt: int,
        of: int,
        instruction: str,
        deadline: Deadline,
        digits: str = "",
    ) -> None:
        message = Step(
            node=self.node,
            admin=self.admin,
            purpose=self.purpose,
            step=step,
            action=action,
            attempt=attempt,
            of=of,
            digits=digits,
            gestures=list(self.gestures) if step == "face" else [],
            instruction=instruction,
            seconds=round(deadline.remaining(), 1),
        )
        if not self.prompter.instruct(message):
            raise PersonAbsent(f"nobody answers the prompt for {step}")


def _record(blocks: Iterator[AudioBlock], seconds: float) -> Utterance:
    """The first `seconds` of a stream; closing the microphone ends it."""
    parts: list[NDArray[np.int16]] = []
    rate, overflow, have = 16_000, False, 0
    for block in blocks:
        # What was lost before the first block was lost before the person spoke.
        overflow = overflow or (block.overflow and have > 0)
        rate, have = block.rate, have + len(block.pcm)
        parts.append(block.pcm)
        if have >= seconds * rate:
            break
    pcm = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return Utterance(pcm, rate, overflow)
