"""The decision: did this recording say the digits that were asked for?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics.digits._mel import RATE
from agent.biometrics.digits._network import DigitNetwork
from agent.biometrics.digits.scoring import FRAME_S, LEAST_S, Reading, read, telephone
from agent.biometrics.digits.takes import LONGEST, Takes
from agent.biometrics.errors import BiometricError

_UNHEARD: Final = -1e6


@dataclass(frozen=True)
class Spoken:
    """One digit of the expected string: from `start` to `end` seconds; `score` is its log probability (0 at best)."""

    start: float
    end: float
    score: float


@dataclass(frozen=True, eq=False)
class Heard:
    """What a recording made of the expected string: a `score` in nepers, about 0 at best.

    `spoken` are the digits where they fit best, whether they fit or not; `takes` is their byte form for templates and
    probes. A recording with no sound has neither.
    """

    score: float
    spoken: tuple[Spoken, ...] = field(default=(), repr=False)
    takes: bytes = field(default=b"", repr=False)

    @property
    def accepted(self) -> bool:
        """Whether the digits were said, whoever said them."""
        return bool(self.takes) and self.score >= parameters.DIGITS_HEARD.least(len(self.spoken))


class DigitVerifier:
    """The network, loaded on first use, and the speaker-independent question."""

    def __init__(self, network: DigitNetwork | None = None) -> None:
        self.network = network or DigitNetwork()

    @property
    def model(self) -> str:
        """Name and SHA-256 of the network."""
        return f"{parameters.DIGITS_MODEL}/sha256:{parameters.DIGITS_MODEL_SHA256}"

    def warm_up(self) -> None:
        """Load the network and run it once; raises `ModelError`."""
        noise = np.random.default_rng(0).normal(0.0, 0.05, parameters.VOICE_RATE).astype(np.float32)
        self.listen(noise, "0")

    def listen(self, samples: NDArray[np.float32], expected: str, rate: int = parameters.VOICE_RATE) -> Heard:
        """Align `expected` (1 to 64 digits) with sound `[n]` in -1..1 at `rate` Hz.

        Raises `ModelError`, `BiometricError`.
        """
        string = digits_of(expected)
        sound = telephone(samples, rate)
        if len(sound) < LEAST_S * RATE:
            return Heard(_UNHEARD)
        reading = read(self.network, sound, string[np.newaxis])
        scored = zip(reading.bounds[0] * FRAME_S, reading.names[0], strict=True)
        spoken = tuple(Spoken(float(start), float(end), float(name)) for (start, end), name in scored)
        return Heard(float(reading.scores()[0]), spoken, takes_of(reading, string).to_bytes())


def consistency(enrolled: Sequence[bytes], probe: bytes) -> float:
    """Score of a probe against the takes of a template in nepers, about 0 at best.

    Both are `Heard.takes`; empty ones among `enrolled` are passed over. Without takes of all ten digits only the
    network's opinion counts. Raises `BiometricError` for bytes of another form.
    """
    said, own = Takes.from_bytes(probe), Takes.joined(enrolled)
    reading = Reading(
        gain=np.array([said.gain], np.float32),
        names=said.names[np.newaxis],
        embeddings=said.embeddings[np.newaxis],
        bounds=np.zeros((1, len(said.digits), 2), np.int64),
        heard="",
    )
    if own is None or not own.complete:
        return float(reading.scores()[0])
    return float(reading.own_scores(said.digits[np.newaxis], own)[0])


def consistent(enrolled: Sequence[bytes], probe: bytes) -> bool:
    """Whether a probe says its digits, and as the person of the template does; see `parameters.DIGITS_OWN`."""
    own = Takes.joined(enrolled)
    leeway = parameters.DIGITS_OWN if own is not None and own.complete else parameters.DIGITS_STRANGER
    return consistency(enrolled, probe) >= leeway.least(len(Takes.from_bytes(probe).digits))


def digits_of(text: str) -> NDArray[np.int64]:
    """`text` as numbers `[m]`; raises `BiometricError` unless it is 1 to 64 decimal digits."""
    if not 1 <= len(text) <= LONGEST or not (text.isascii() and text.isdigit()):
        raise BiometricError(f"the digits to be spoken are not 1 to {LONGEST} decimal digits")
    return np.array([int(letter) for letter in text], np.int64)


def takes_of(reading: Reading, string: NDArray[np.int64]) -> Takes:
    """The digits int64 `[d]` of the first string of a reading, as templates and probes keep them."""
    return Takes(string, reading.names[0], reading.embeddings[0], float(reading.gain[0]))
