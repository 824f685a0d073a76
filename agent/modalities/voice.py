"""The voice: digits that are shown and spoken."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.config import Count, Seconds, Section, Sha256
from agent.extension import Effort, Pipeline, Sensor
from agent.modalities._options import options_as
from hal import AudioBlock, DeviceKind, Microphone


class VoiceOptions(Section, frozen=True):
    """`utterances` of `enrolled_s` seconds make a template; a challenge takes one of `seconds`.

    `centre` is the path of a site's own centre of voices and `centre_sha256` its hash, in place of the shipped one.
    `threshold` is a score that the site measured, in place of the shipped one; a policy may refuse that.
    """

    utterances: Count = 3
    enrolled_s: Seconds = 5.0
    seconds: Seconds = 5.0
    centre: str = ""
    centre_sha256: Sha256 | None = None
    threshold: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] | None = None


@dataclass(frozen=True)
class Utterance:
    """One recording: `pcm` is int16 `[n]` at `rate` per second; `overflow` tells that samples were lost within."""

    pcm: NDArray[np.int16] = field(repr=False)
    rate: int
    overflow: bool


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
                speech = sensor.use(lambda mic: _record(mic, sensor, seconds), on_return=ask)
            finally:
                sensor.release()
            yield [speech]

    def pipeline(self) -> Pipeline:
        """Speaker embeddings."""
        from agent.modalities._own import OwnPipeline
        from agent.modalities._own_threshold import OwnThreshold

        options = self._options
        settings = {"centre": options.centre, "centre_sha256": options.centre_sha256 or ""}
        if options.threshold is None:
            return OwnPipeline.of(self.name, **settings)
        return OwnThreshold.of(self.name, **settings, threshold=options.threshold)


def _record(microphone: Microphone, sensor: Sensor, seconds: float) -> Utterance:
    """The first `seconds` of a stream; closing the microphone ends it."""
    parts: list[NDArray[np.int16]] = []
    rate, overflow, have = 16_000, False, 0
    block: AudioBlock
    for block in microphone.blocks(sensor.deadline):
        # What was lost before the first block was lost before the person spoke.
        overflow = overflow or (block.overflow and have > 0)
        rate, have = block.rate, have + len(block.pcm)
        parts.append(block.pcm)
        if have >= seconds * rate:
            break
    pcm = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return Utterance(pcm, rate, overflow)
