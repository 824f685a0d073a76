"""The digit network: a small time-delay net in numpy. Recipe and licence are in agent/models/README.md."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._files import require_sha256
from agent.biometrics.digits._mel import BINS
from agent.biometrics.errors import ModelError

Array = NDArray[np.float32]
Layers = tuple[tuple[Array, Array], ...]

DIGITS: Final = 10
PARTS: Final = 3
"""A word is its beginning, middle and end."""

SILENCE: Final = PARTS * DIGITS
OTHER: Final = SILENCE + 1
STATES: Final = OTHER + 1
EMBEDDING: Final = 64

_CHANNELS: Final = 96
_WORDS: Final = 11
"""The digits and "oh", which is zero too."""

_LAYERS: Final = (
    (5, BINS, 1, 1),
    (3, _CHANNELS, 2, 1),
    (3, _CHANNELS, 1, 1),
    (3, _CHANNELS, 1, 2),
    (3, _CHANNELS, 1, 4),
)
"""Taps, inputs, stride and dilation; every layer gives 96 channels, and from the third on adds to what it was given."""

SHAPES: Final = (
    *((shape, (_CHANNELS,)) for shape in ((taps * inputs, _CHANNELS) for taps, inputs, _, _ in _LAYERS)),
    ((_CHANNELS, PARTS * _WORDS + 2), (PARTS * _WORDS + 2,)),
    ((PARTS * _CHANNELS, EMBEDDING), (EMBEDDING,)),
    ((EMBEDDING, _WORDS + 1), (_WORDS + 1,)),
)
"""Weights and bias of each layer in the order in which the file holds them, float16 little-endian, row by row."""


@dataclass(frozen=True, eq=False)
class Frames:
    """What the network made of a recording, one row per 20 ms.

    `hidden` is `[n, 96]`; `states` is `[n, 32]`: logarithms of how much likelier each state is than by chance. States
    3d, 3d+1 and 3d+2 are the beginning, middle and end of digit d; then come silence and other sound.
    """

    hidden: Array = field(repr=False)
    states: Array = field(repr=False)


class DigitNetwork:
    """The network in the calling thread; numpy decides how many more it takes."""

    def __init__(self, layers: Layers = ()) -> None:
        """`layers` of `parse` in place of the shipped ones are for evaluation."""
        self._lock = threading.Lock()
        self._layers = layers

    def load(self) -> None:
        """Check and load the weights; raises `ModelError`."""
        with self._lock:
            if not self._layers:
                self._layers = parse(_read())

    def listen(self, mel: Array) -> Frames:
        """`mel` is `[frames, 40]` of `log_mel`, 10 ms each."""
        self.load()
        hidden = mel
        for number, (_, _, stride, dilation) in enumerate(_LAYERS):
            given = hidden
            hidden = np.maximum(_convolve(given, *self._layers[number], stride, dilation), 0.0)
            if number > 1:
                hidden = hidden + given
        return Frames(hidden, _states(_log_softmax(_affine(hidden, *self._layers[len(_LAYERS)]))))

    def embed(self, spans: Array) -> Array:
        """Embeddings `[n, 64]` of spans `[n, 288]`: the means of `hidden` over the thirds of a word, joined."""
        self.load()
        return _affine(spans, *self._layers[-2])

    def name(self, embeddings: Array) -> Array:
        """Log probabilities `[n, 11]` that a span is each digit, or no digit at all."""
        self.load()
        words = _log_softmax(_affine(np.maximum(embeddings, 0.0), *self._layers[-1]))
        words[:, 0] = np.logaddexp(words[:, 0], words[:, DIGITS])
        return np.delete(words, DIGITS, axis=1)


def parse(data: bytes) -> Layers:
    """The layers in `data`; raises `ModelError` unless it has exactly their length."""
    sizes = [int(np.prod(shape)) for pair in SHAPES for shape in pair]
    if len(data) != 2 * sum(sizes):
        raise ModelError("the digit network has another form than this version reads")
    flat = np.split(np.frombuffer(data, "<f2").astype(np.float32), np.cumsum(sizes)[:-1])
    shaped = [part.reshape(shape) for part, shape in zip(flat, (s for pair in SHAPES for s in pair), strict=True)]
    return tuple(zip(shaped[::2], shaped[1::2], strict=True))


def _read() -> bytes:
    with as_file(files("agent") / "models" / parameters.DIGITS_MODEL_FILE) as path:
        require_sha256(path, parameters.DIGITS_MODEL_SHA256)
        return path.read_bytes()


def _affine(given: Array, weights: Array, bias: Array) -> Array:
    result: Array = given @ weights + bias
    return result


def _convolve(given: Array, weights: Array, bias: Array, stride: int, dilation: int) -> Array:
    """As PyTorch's `Conv1d` with zeros around, so that the middle tap meets every `stride`-th frame."""
    taps = len(weights) // given.shape[1]
    around = dilation * (taps // 2)
    padded = np.pad(given, ((around, around), (0, 0)))
    count = (len(given) - 1) // stride + 1
    shifted = [padded[tap * dilation :][: len(given)][::stride][:count] for tap in range(taps)]
    return _affine(np.concatenate(shifted, axis=1), weights, bias)


def _log_softmax(values: Array) -> Array:
    shifted = values - values.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _states(words: Array) -> Array:
    """`[n, 35]` to `[n, 32]`: "oh" goes into zero."""
    states = np.delete(words, np.s_[PARTS * DIGITS : PARTS * _WORDS], axis=1)
    oh = words[:, PARTS * DIGITS : PARTS * _WORDS]
    states[:, :PARTS] = np.logaddexp(states[:, :PARTS], oh)
    return states
