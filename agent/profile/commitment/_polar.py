"""Polar codes (Arikan 2009) and their soft successive-cancellation list decoding (Tal and Vardy 2015).

A path's metric is the sum of the magnitudes that its codeword disagrees with (Balatsoukas-Stimming et al. 2015); with
the min-sum rule that holds for every node of the tree, so whole nodes of frozen bits, and those that repeat one bit,
are decided at once without another result than bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]
Array = NDArray[np.float64]
Paths = NDArray[np.intp]
_BETA = 2.0**0.25


@dataclass(frozen=True, eq=False)
class Decoded:
    """The list of a decoding, the best first: messages uint8 `[l, k]`, codewords `[l, n]`, metrics float64 `[l]`."""

    messages: Bits
    codewords: Bits
    metrics: Array


@lru_cache(maxsize=16)
def message_places(n: int, k: int) -> Paths:
    """Where the k message bits stand among n, ascending: the most reliable by polarisation weight (He et al. 2017)."""
    if n < 8 or n & (n - 1) or not 0 < k <= n:
        raise ValueError(f"there is no polar code of {k} in {n} bits")
    digits = np.arange(n)[:, np.newaxis] >> np.arange(n.bit_length() - 1) & 1
    weights = digits @ _BETA ** np.arange(n.bit_length() - 1)
    places: Paths = np.sort(np.argsort(weights, kind="stable")[n - k :])
    return places


def encode(message: Bits, n: int) -> Bits:
    """The codeword `[n]` of a message `[k]`, both uint8 of 0 and 1."""
    bits = np.zeros((1, n), np.uint8)
    bits[0, message_places(n, len(message))] = message
    codeword: Bits = _transform(bits)[0]
    return codeword


def decode(ratios: Array, k: int, list_size: int) -> Decoded:
    """The likeliest messages for log-likelihood ratios `[n]` (above zero for a 0; their scale does not matter)."""
    return decode_each(np.asarray(ratios)[np.newaxis], k, list_size)[0]


def decode_each(ratios: Array, k: int, list_size: int) -> list[Decoded]:
    """What `decode` gives for each of `[words, n]`; together they take a fraction of the time."""
    words, n = ratios.shape
    places = message_places(n, k)
    frozen = np.ones(n, bool)
    frozen[places] = False
    start = np.asarray(ratios, np.float64)
    codewords, metrics, _ = _Decoding(frozen, list_size, words).node(start, np.zeros(words), 0)
    found = []
    for each, costs in zip(codewords.reshape(words, -1, n), metrics.reshape(words, -1), strict=True):
        order = np.argsort(costs, kind="stable")
        found.append(Decoded(_transform(each[order])[:, places], each[order], costs[order]))
    return found


@dataclass(frozen=True, eq=False)
class _Decoding:
    """One walk through the tree for all `words`; `frozen` bool `[n]` tells which bits are zero for all messages.

    Paths of one word stand together, and every word has as many.
    """

    frozen: NDArray[np.bool_]
    list_size: int
    words: int

    def node(self, ratios: Array, metrics: Array, first: int) -> tuple[Bits, Array, Paths]:
        """Decide the bits from `first` for each path: its `ratios` `[paths, size]`, its metric so far.

        Returns the surviving paths' codewords `[paths, size]` and metrics, and of which path each one comes.
        """
        size = ratios.shape[1]
        frozen = self.frozen[first : first + size]
        if frozen[:-1].all():
            return _zeros(ratios, metrics) if frozen[-1] else self._repeated(ratios, metrics)
        half = size // 2
        left, metrics, origin = self.node(_minimum(ratios[:, :half], ratios[:, half:]), metrics, first)
        ratios = ratios[origin]
        sums = ratios[:, half:] + np.where(left, -ratios[:, :half], ratios[:, :half])
        right, metrics, later = self.node(sums, metrics, first + half)
        return np.concatenate([left[later] ^ right, right], axis=1), metrics, origin[later]

    def _repeated(self, ratios: Array, metrics: Array) -> tuple[Bits, Array, Paths]:
        """Both values of one bit that the whole node repeats, and the best of each word's paths."""
        zero, one = metrics - np.minimum(ratios, 0).sum(1), metrics + np.maximum(ratios, 0).sum(1)
        against = np.concatenate([zero.reshape(self.words, -1), one.reshape(self.words, -1)], axis=1)
        paths = against.shape[1] // 2
        best = np.argsort(against, axis=1, kind="stable")[:, : self.list_size]
        start = np.arange(self.words)[:, np.newaxis]
        bits = np.repeat((best >= paths).astype(np.uint8).reshape(-1, 1), ratios.shape[1], axis=1)
        return bits, against[start, best].ravel(), (best % paths + paths * start).ravel()


def _zeros(ratios: Array, metrics: Array) -> tuple[Bits, Array, Paths]:
    words = np.zeros(ratios.shape, np.uint8)
    return words, metrics - np.minimum(ratios, 0).sum(1), np.arange(len(metrics))


def _minimum(one: Array, other: Array) -> Array:
    return np.copysign(np.minimum(np.abs(one), np.abs(other)), one * other)


def _transform(bits: Bits) -> Bits:
    """Rows `[rows, n]` times the n-th Kronecker power of [[1, 0], [1, 1]], which is its own inverse."""
    rows, n = bits.shape
    half = 1
    while half < n:
        pairs = bits.reshape(rows, -1, 2, half)
        bits = np.stack([pairs[:, :, 0] ^ pairs[:, :, 1], pairs[:, :, 1]], axis=2)
        half *= 2
    return bits.reshape(rows, n)
