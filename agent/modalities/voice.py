"""The voice: digits that are shown and spoken."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.config import Count, Seconds, Section, Sha256
from agent.extension import Effort, Pipeline, Sensor
from agent.modalities._options import options_as
from hal import AudioBlock, DeviceKind, Microphone

SPOKEN_DIGITS = "spoken-digits"
"""The trait of a voice of which challenges have digits verified."""

SILENCE_S = 1.2
"""Silence after which nothing more is expected; between two digits most people leave less than half of it."""

SPEECH_S_A_DIGIT = 0.2
SPEECH_ABOVE_DB = 12.0
SPEECH_BELOW_DB = 30.0
"""A block is speech when it is this much above the quietest and not further below the loudest."""


class VoiceOptions(Section, frozen=True):
    """`utterances` make a template; a challenge takes one. A recording ends after the speech.

    `enrolled_s` and `seconds` are the longest that one may last at enrolment and at a challenge. `spoken_digits` has
    the digits verified; without it anything may be said, and a recording of the person passes. `centre` is the path of
    a site's own centre of voices and `centre_sha256` its hash, in place of the shipped one. `threshold` is a score that
    the site measured, in place of the shipped one; a policy may refuse that.
    """

    utterances: Count = 3
    enrolled_s: Seconds = 8.0
    seconds: Seconds = 10.0
    spoken_digits: bool = True
    centre: str = ""
    centre_sha256: Sha256 | None = None
    threshold: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0


@dataclass(frozen=True)
class Utterance:
    """One recording: `pcm` is int16 `[n]` at `rate` per second; `overflow` tells that samples were lost within.

    `digits` are those that must be heard in it, or empty.
    """

    pcm: NDArray[np.int16] = field(repr=False)
    rate: int
    overflow: bool
    digits: str = field(default="", repr=False)


class Voice:
    """The modality `voice`; its options are `VoiceOptions`."""

    name = "voice"
    kind = DeviceKind.MICROPHONE
    alone = False

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options_as(VoiceOptions, self.name, options)
        self.effort = Effort(self._options.utterances)

    def captures(self, sensor: Sensor) -> Generator[Sequence[Utterance], None, None]:
        """Recordings that begin once the person was told; the microphone is open only while they last."""
        seconds = self._options.enrolled_s if sensor.purpose == "enrolment" else self._options.seconds
        while True:
            digits = sensor.digits()
            ask = partial(sensor.tell, "speak", f"Say clearly: {' '.join(digits)}", digits=digits)
            ask()
            try:
                record = partial(_record, sensor=sensor, seconds=seconds, digits=len(digits))
                speech = sensor.use(record, on_return=ask)
            finally:
                sensor.release()
            yield [replace(speech, digits=digits) if self._options.spoken_digits else speech]

    def pipeline(self) -> Pipeline:
        """Speaker embeddings."""
        from agent.modalities._own import BindablePipeline
        from agent.modalities._spoken import SpokenPipeline

        chosen = self._options
        settings = {"centre": chosen.centre, "centre_sha256": chosen.centre_sha256 or "", "threshold": chosen.threshold}
        if not chosen.spoken_digits:
            return BindablePipeline.of(self.name, **settings)
        return SpokenPipeline.of(self.name, SPOKEN_DIGITS, **settings)


class _Ending:
    """Tells from the loudness of block after block that the person has spoken and fell silent.

    Where noise hides the silence it never does, and the recording lasts as long as it may.
    """

    def __init__(self, digits: int) -> None:
        self._need = SPEECH_S_A_DIGIT * digits
        self._quiet = self._loud = 0.0
        self._spoken = self._silent = 0.0

    def reached(self, block: AudioBlock) -> bool:
        """Whether `block`, the next one, is the last that is needed."""
        pcm = block.pcm.astype(np.float32)
        level = 10.0 * float(np.log10(np.mean(pcm**2) + 1.0)) if pcm.size else 0.0
        self._loud = max(self._loud, level)
        self._quiet = min(self._quiet or level, level)
        seconds = len(pcm) / block.rate
        if level > max(self._quiet + SPEECH_ABOVE_DB, self._loud - SPEECH_BELOW_DB):
            self._spoken, self._silent = self._spoken + seconds, 0.0
        else:
            self._silent += seconds
        return self._spoken >= self._need and self._silent >= SILENCE_S


def _record(microphone: Microphone, sensor: Sensor, seconds: float, digits: int) -> Utterance:
    """A stream until the speech of `digits` digits ended, or its first `seconds`; closing the microphone ends it."""
    parts: list[NDArray[np.int16]] = []
    rate, overflow, have = 16_000, False, 0
    ending = _Ending(digits)
    block: AudioBlock
    for block in microphone.blocks(sensor.deadline):
        # What was lost before the first block was lost before the person spoke.
        overflow = overflow or (block.overflow and have > 0)
        rate, have = block.rate, have + len(block.pcm)
        parts.append(block.pcm)
        if ending.reached(block) or have >= seconds * rate:
            break
    pcm = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return Utterance(pcm, rate, overflow)
