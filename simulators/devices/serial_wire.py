"""What goes over a serial line, and what electrical noise makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Message:
    """Bytes that a device sends at `speed` bits per second, `latency` seconds after the message before them."""

    data: bytes
    speed: int
    latency: float = 0.0


class LineNoise:
    """Bytes that change, vanish or appear, each at a rate per byte; the same seed spoils the same bytes."""

    def __init__(self, changed: float = 0.0, lost: float = 0.0, added: float = 0.0, seed: int = 0) -> None:
        self._changed, self._lost, self._added = changed, lost, added
        self._random = np.random.default_rng(seed)

    def spoil(self, data: bytes) -> bytes:
        """What arrives of `data`; a changed byte is never what it was."""
        if not data or not (self._changed or self._lost or self._added):
            return data
        noisy = np.frombuffer(data, np.uint8).copy()
        struck = self._struck(noisy, self._changed)
        noisy[struck] ^= self._random.integers(1, 256, struck.size, np.uint8)
        noisy = np.delete(noisy, self._struck(noisy, self._lost))
        places = self._struck(noisy, self._added)
        return np.insert(noisy, places, self._random.integers(0, 256, places.size, np.uint8)).tobytes()

    def _struck(self, data: NDArray[np.uint8], rate: float) -> NDArray[np.intp]:
        return np.flatnonzero(self._random.random(data.size) < rate)
