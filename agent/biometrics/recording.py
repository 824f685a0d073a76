"""What a microphone delivered, in one piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics.errors import BiometricError
from hal import AudioBlock


@dataclass(frozen=True, eq=False)
class Recording:
    """Mono int16 samples `[n]` at `rate` per second; `lost` tells that the driver dropped some in between.

    `expected` are the digits that the person was asked to say, or empty when nothing was asked.
    """

    pcm: NDArray[np.int16] = field(repr=False)
    rate: int
    lost: bool = False
    expected: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        low, high = parameters.VOICE_RATE_RANGE
        if self.pcm.dtype != np.int16 or self.pcm.ndim != 1 or not low <= self.rate <= high:
            raise BiometricError(f"the microphone sent no 16-bit mono sound of {low} to {high} samples per second")

    @classmethod
    def of(cls, blocks: Iterable[AudioBlock]) -> Self:
        """The blocks joined; raises `BiometricError` when there is none or their rates differ."""
        gathered = list(blocks)
        rates = {block.rate for block in gathered}
        if len(rates) != 1:
            raise BiometricError("the microphone sent no sound, or changed its rate")
        return cls(
            pcm=np.concatenate([block.pcm for block in gathered]),
            rate=rates.pop(),
            lost=any(block.overflow for block in gathered[1:]),
        )

    @property
    def seconds(self) -> float:
        """How long the recording is."""
        return len(self.pcm) / self.rate

    def samples(self) -> NDArray[np.float32]:
        """The sound `[n]` in -1..1 at 16 kHz without its mean, at most four times the longest speech looked at."""
        longest = int(4 * parameters.VOICE_SECONDS_MAXIMUM * self.rate)
        sound = self.pcm[:longest].astype(np.float32) / 32768.0
        sound -= sound.mean() if sound.size else 0.0
        if self.rate == parameters.VOICE_RATE:
            return sound
        import soxr

        resampled: NDArray[np.float32] = soxr.resample(sound, self.rate, parameters.VOICE_RATE)
        return resampled
