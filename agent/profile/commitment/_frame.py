"""The secret projection: from an embedding to n real values whose signs are committed to.

A tight frame of randomised Hadamard blocks, `H D3 H D2 H D1` each (structured orthogonal random features, Yu et al.
2016): the D have random signs and H is the Walsh-Hadamard transform. All of it is additions and sign changes in an
order that is fixed here, so a frame is the same for every version of numpy. The signs come of a ChaCha20 keystream
(RFC 8439).
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ROUNDS = 3
KEY_BYTES = 32


def project(embedding: NDArray[np.floating], n: int, key: bytes) -> Array:
    """The frame of `key` (32 bytes) applied to an embedding `[d]`: `[n]`, of the variance of one for a random one.

    Raises `ValueError` for an embedding that has no direction, or more values than the frame has.
    """
    if embedding.ndim != 1:
        raise ValueError("an embedding has one axis")
    projected: Array = project_each(embedding[np.newaxis], n, key)[0]
    return projected


def project_each(embeddings: NDArray[np.floating], n: int, key: bytes) -> Array:
    """What `project` gives for each of `[count, d]`: `[count, n]`; raises `ValueError` for any that it would refuse."""
    count, size = embeddings.shape
    lengths = [float(np.linalg.norm(one)) for one in embeddings]
    if not all(np.isfinite(length) and length >= 1e-6 for length in lengths):
        raise ValueError("an embedding has no direction")
    side = 1 << (size - 1).bit_length()
    if side > n:
        raise ValueError(f"an embedding of {size} values does not fit into {n} signs")
    blocks = n // side
    signs = _signs(key, _ROUNDS * n).reshape(_ROUNDS, blocks, side)
    padded = np.zeros((count, 1, side))
    padded[:, 0, :size] = embeddings.astype(np.float64) / np.array(lengths)[:, np.newaxis]
    values = np.broadcast_to(padded, (count, blocks, side))
    for flips in signs:
        values = _hadamard((values * flips).reshape(-1, side)).reshape(count, blocks, side) / np.sqrt(side)
    projected: Array = values.reshape(count, n) * np.sqrt(side)
    return projected


def _signs(key: bytes, count: int) -> Array:
    """Random signs, float64 `[count]` of +1 and -1; `count` is a multiple of eight."""
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(count // 8))
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))
    return 1.0 - 2.0 * bits.astype(np.float64)


def _hadamard(values: Array) -> Array:
    """The Walsh-Hadamard transform of each row `[rows, power of two]`, not normalised."""
    rows, side = values.shape
    half = 1
    while half < side:
        pairs = values.reshape(rows, -1, 2, half)
        values = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        half *= 2
    return values.reshape(rows, side)
