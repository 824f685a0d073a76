"""Where each digit of a string lies in a recording, if it lies there: Viterbi alignment, and the free digit loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.digits._network import DIGITS, OTHER, PARTS, SILENCE

Array = NDArray[np.float32]
Indices = NDArray[np.int64]

_STEPS: Final = 2 * PARTS
"""Each part of a word lasts two frames or more, so that no digit is shorter than 120 ms."""

_NEVER: Final = np.float32(-1e6)
_WORD_COST: Final = np.float32(2.0)
"""What the free loop pays for each word, so that it does not hear a digit in every click."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """The best path of each of `n` strings of `m` digits through a recording.

    `score` `[n]` is its log likelihood over chance. `bounds` `[n, m, 2]` holds first and past-the-last frame of each
    digit (20 ms each).
    """

    score: Array = field(repr=False)
    bounds: Indices = field(repr=False)


def align(states: Array, strings: Indices) -> Alignment:
    """Align every row of `strings` `[n, m]` (digits 0..9) with `states` `[frames, 32]`.

    Silence may lie around each digit. A recording too short for the digits scores about -1e6.
    """
    count, length = strings.shape
    labels, before = _chain(strings)
    delta = np.full((count, labels.shape[1] + 1), _NEVER, np.float32)
    delta[:, 0] = states[0, SILENCE]
    delta[:, 1] = states[0, labels[:, 1]]
    back = np.zeros((len(states), count, labels.shape[1]), np.uint8)
    for frame in range(1, len(states)):
        reached = delta[:, before]
        back[frame] = reached.argmax(axis=2)
        delta[:, :-1] = reached.max(axis=2) + states[frame][labels]
    return _traced(delta[:, :-1], back, before, length)


def free(states: Array) -> tuple[float, str]:
    """The best path through any digits, silence and other sound: its score as `align` has it, and the digits heard."""
    labels = np.repeat(np.arange(PARTS * DIGITS), 2)
    stay = np.tile([False, True], PARTS * DIGITS)
    first, last = np.arange(0, len(labels), _STEPS), np.arange(_STEPS - 1, len(labels), _STEPS)
    outside = np.maximum(states[:, SILENCE], states[:, OTHER])
    delta = np.full(len(labels) + 1, _NEVER, np.float32)
    delta[first] = states[0, labels[first]] - _WORD_COST
    delta[-1] = outside[0]
    origins, kept = np.zeros(len(states), np.int64), np.zeros((len(states), len(labels)), np.bool_)
    for frame in range(1, len(states)):
        origin = int(last[delta[last].argmax()])
        origins[frame] = origin = origin if delta[origin] > delta[-1] else len(labels)
        entered = np.concatenate([[_NEVER], delta[:-2]])
        entered[first] = delta[origin] - _WORD_COST
        kept[frame] = stay & (delta[:-1] >= entered)
        beyond = delta[origin] + outside[frame]
        delta[:-1] = np.where(kept[frame], delta[:-1], entered) + states[frame, labels]
        delta[-1] = beyond
    end = int(last[delta[last].argmax()])
    end = end if delta[end] > delta[-1] else len(labels)
    return float(delta[end]), _heard(end, origins, kept)


def _heard(at: int, origins: Indices, kept: NDArray[np.bool_]) -> str:
    """Follow the best path of the free loop home; its last state is `at`."""
    outside, heard = kept.shape[1], ""
    if at < outside:
        heard = str(at // _STEPS)
    for frame in range(len(kept) - 1, 0, -1):
        if at == outside or at % _STEPS == 0:
            at = int(origins[frame])
            heard = str(at // _STEPS) + heard if at < outside else heard
        elif not kept[frame, at]:
            at -= 1
    return heard


def _chain(strings: Indices) -> tuple[Indices, Indices]:
    """The states of a string in order, silence first and after each digit, and the three that each may follow."""
    count, length = strings.shape
    step = _STEPS + 1
    size = 1 + step * length
    labels = np.full((count, size), SILENCE)
    before = np.full((size, 3), size)
    before[:, 0] = np.arange(size)
    for place in range(length):
        first = 1 + step * place
        inside = np.arange(first, first + _STEPS)
        labels[:, inside] = PARTS * strings[:, place, None] + np.repeat(np.arange(PARTS), 2)
        before[inside, 1] = inside - 1
        before[inside[::2], 0] = size
        if place:
            before[first, 2] = first - 2
        before[first + _STEPS, 1] = first + _STEPS - 1
    return labels, before


def _traced(delta: Array, back: NDArray[np.uint8], before: Indices, length: int) -> Alignment:
    """Follow the best paths home."""
    count, size = delta.shape
    ends = delta[:, -2:]
    rows = np.arange(count)
    at = size - 2 + ends.argmax(axis=1)
    bounds = np.zeros((count, length, 2), np.int64)
    bounds[:, :, 0] = len(back)
    for frame in range(len(back) - 1, -1, -1):
        place, inside = np.divmod(at - 1, _STEPS + 1)
        speaking = (at > 0) & (inside < _STEPS)
        who, where = rows[speaking], place[speaking]
        bounds[who, where, 0] = frame
        bounds[who, where, 1] = np.maximum(bounds[who, where, 1], frame + 1)
        at = np.minimum(before[at, back[frame, rows, at]], size - 1) if frame else at
    return Alignment(ends.max(axis=1), bounds)
