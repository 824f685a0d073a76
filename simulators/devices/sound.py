"""Sound as simulated microphones have it, and the faults of its way to the host."""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from simulators.devices.fault_orders import OrdersInForce
from simulators.devices.faults import Fault

Samples = NDArray[np.int16]
"""Mono signed 16-bit samples, int16 `[n]`."""

RATE = 16_000


class RoomNoise:
    """What a microphone hears when nobody speaks: white noise of `rms` steps of 16 bit, from a seed."""

    def __init__(self, rms: float = 8.0, seed: int = 1) -> None:
        self._rms = rms
        self._random = np.random.default_rng(seed)

    def samples(self, count: int) -> Samples:
        """The next `count` samples."""
        return np.rint(self._random.normal(0.0, self._rms, count)).clip(-32768, 32767).astype(np.int16)

    def seconds(self, seconds: float) -> Samples:
        """The next `seconds` at 16 kHz."""
        return self.samples(int(seconds * RATE))


def at_16_khz(pcm: Samples, rate: int) -> Samples:
    """`pcm` of `rate` samples per second at 16 kHz; unchanged if it is so already."""
    return at_rate(pcm, rate, RATE)


def at_rate(pcm: Samples, rate: int, wanted: int) -> Samples:
    """`pcm` of `rate` samples per second at `wanted`; unchanged if it is so already. Raises `ValueError`."""
    if pcm.dtype != np.int16 or pcm.ndim != 1:
        raise ValueError(f"speech is {pcm.dtype} with {pcm.ndim} dimensions, not int16 with one")
    if rate == wanted:
        return pcm
    common = gcd(rate, wanted)
    resampled: NDArray[np.float64] = resample_poly(pcm.astype(np.float64), wanted // common, rate // common)
    return np.rint(resampled).clip(-32768, 32767).astype(np.int16)


class SoundFaults(OrdersInForce):
    """Faults in force on a microphone, whose messages are pieces of sound. Every method is thread safe."""

    def carry(self, piece: bytes) -> tuple[bytes, float]:
        """What becomes of a piece of sound, and how many seconds late it comes."""
        seconds = 0.0
        for one in self.struck():
            if one.order.fault is Fault.SLOW:
                seconds += one.order.seconds
            elif one.order.fault is Fault.SHORT_READ:
                piece = one.cut(piece)
            elif one.order.fault is Fault.CORRUPT:
                piece = one.spoiled(piece)
        return piece, seconds
