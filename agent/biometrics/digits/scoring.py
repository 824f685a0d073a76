"""How well strings of digits fit a recording: by the network alone, and by the person's own takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics.digits._alignment import Array, Indices, align, free
from agent.biometrics.digits._mel import RATE, log_mel
from agent.biometrics.digits._network import DIGITS, EMBEDDING, OTHER, PARTS, SILENCE, DigitNetwork, Frames
from agent.biometrics.digits.takes import Takes

FRAME_S: Final = 0.02
LEAST_S: Final = 0.05
"""A shorter recording has no frames to align."""


@dataclass(frozen=True, eq=False)
class Reading:
    """One recording read as each of `n` strings of `m` digits.

    `gain` `[n]` is the log likelihood of the string less that of the best path through any digits, at most some tens;
    `names` `[n, m]` the log probability of each digit in its place; `embeddings` `[n, m, 64]` how it was said, of
    length one; `bounds` `[n, m, 2]` first and past-the-last frame of 20 ms. `heard` are the digits of the best path.
    """

    gain: Array = field(repr=False)
    names: Array = field(repr=False)
    embeddings: Array = field(repr=False)
    bounds: Indices = field(repr=False)
    heard: str = field(repr=False)

    def scores(self) -> Array:
        """Score of each string `[n]` in nepers: how likely it was said, whoever spoke; about 0 at best."""
        named = np.maximum(self.names, -parameters.DIGITS_NAME_CAP).sum(axis=1)
        result: Array = (named + self._gains()).astype(np.float32)
        return result

    def own_scores(self, strings: Indices, own: Takes) -> Array:
        """As `scores`, with the likeness to a complete set of the person's own takes added."""
        likeness = own_likeness(self.embeddings, own)
        chosen = np.take_along_axis(likeness, strings[:, :, None], axis=2)[:, :, 0]
        places = np.maximum(self.names + chosen, -parameters.DIGITS_OWN_CAP)
        result: Array = (places.sum(axis=1) + self._gains()).astype(np.float32)
        return result

    def _gains(self) -> Array:
        bounded = np.maximum(self.gain, -parameters.DIGITS_GAIN_CAP)
        gains: Array = (bounded / parameters.DIGITS_GAIN_SHARE).astype(np.float32)
        return gains


def read(network: DigitNetwork, samples: NDArray[np.float32], strings: Indices) -> Reading:
    """Read sound in -1..1 at 8 kHz, of `LEAST_S` or more, as each row of `strings` `[n, m]`; raises `ModelError`."""
    frames = network.listen(log_mel(samples))
    states = _bounded(frames.states)
    best, heard = free(states)
    found = align(states, strings)
    embeddings = network.embed(_spans(frames, found.bounds.reshape(-1, 2)))
    names = network.name(embeddings).reshape(*strings.shape, DIGITS + 1)
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-6)
    return Reading(
        gain=found.score - np.float32(best),
        names=np.take_along_axis(names, strings[:, :, None], axis=2)[:, :, 0],
        embeddings=unit.reshape(*strings.shape, EMBEDDING),
        bounds=found.bounds,
        heard=heard,
    )


def own_likeness(embeddings: Array, own: Takes) -> Array:
    """Log probabilities `[n, m, 10]` of each digit by its likest take; `own` is complete."""
    cosines = embeddings @ own.embeddings.T
    best = np.stack([cosines[..., own.digits == digit].max(axis=-1) for digit in range(DIGITS)], axis=-1)
    scaled = parameters.DIGITS_OWN_WEIGHT * best
    shifted = scaled - scaled.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def telephone(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Sound `[n]` in -1..1 at `rate` Hz brought to 8 kHz, as `read` takes it."""
    if rate == RATE:
        return samples
    import soxr

    resampled: NDArray[np.float32] = soxr.resample(samples, rate, RATE)
    return resampled


def _bounded(states: Array) -> Array:
    """No frame speaks too loudly against a state, and other sound may pass for silence at a price."""
    floor = states.max(axis=1, keepdims=True) - parameters.DIGITS_FRAME_CAP
    bounded: Array = np.maximum(states, floor)
    bounded[:, SILENCE] = np.maximum(bounded[:, SILENCE], bounded[:, OTHER] - parameters.DIGITS_SOUND_COST)
    return bounded


def _spans(frames: Frames, bounds: Indices) -> Array:
    """The mean of `hidden` over each third of each span, `[k, 3 * 96]`."""
    sums = np.concatenate([np.zeros((1, frames.hidden.shape[1]), np.float32), frames.hidden.cumsum(axis=0)])
    cuts = np.rint(bounds[:, :1] + (bounds[:, 1:] - bounds[:, :1]) * np.arange(PARTS + 1) / PARTS).astype(np.int64)
    cuts = np.clip(cuts, 0, len(frames.hidden))
    means = [
        (sums[cuts[:, part + 1]] - sums[cuts[:, part]]) / np.maximum(cuts[:, part + 1] - cuts[:, part], 1)[:, None]
        for part in range(PARTS)
    ]
    return np.concatenate(means, axis=1).astype(np.float32)
