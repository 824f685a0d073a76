"""Which of the ordered faults strikes now: the book-keeping that simulated devices share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from hal import Clock, SystemClock
from simulators.devices.faults import Fault, FaultOrder


@dataclass
class _Running:
    """One order in force: when it began, what it draws from, how many messages it has seen."""

    order: FaultOrder
    since_ns: int
    seen: int = 0
    messages: np.random.Generator = field(init=False)
    bytes: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.messages, self.bytes = np.random.default_rng(self.order.seed).spawn(2)


class FaultPlan:
    """The orders in force on one device, at most one of each fault. Every method is thread safe."""

    def __init__(self, playable: frozenset[Fault], clock: Clock | None = None) -> None:
        self.playable = playable
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._running: dict[Fault, _Running] = {}

    def inject(self, order: FaultOrder) -> None:
        """Put an order in force; a second order of the same fault replaces the first."""
        with self._lock:
            self._running[order.fault] = _Running(order, self._clock.monotonic_ns())

    def mend(self) -> None:
        """End every fault."""
        with self._lock:
            self._running.clear()

    def ordered(self, fault: Fault) -> FaultOrder | None:
        """The order for `fault` that is in force, whether or not it strikes yet."""
        with self._lock:
            running = self._current(fault)
            return running.order if running else None

    def strikes(self, fault: Fault) -> FaultOrder | None:
        """Count one message, and say whether `fault` hits it: the order if so.

        `corrupt` hits every message past `after`, since its rate is a share of bytes.
        """
        with self._lock:
            running = self._current(fault)
            if running is None:
                return None
            running.seen += 1
            if running.seen <= running.order.after:
                return None
            hit = fault is Fault.CORRUPT or running.messages.random() < running.order.rate
            return running.order if hit else None

    def corrupted(self, message: bytes) -> bytes | None:
        """`message` with the ordered share of its bytes changed, `None` when no damage is due."""
        if self.strikes(Fault.CORRUPT) is None:
            return None
        with self._lock:
            running = self._current(Fault.CORRUPT)
            return _spoilt(message, running) if running else None

    def _current(self, fault: Fault) -> _Running | None:
        running = self._running.get(fault)
        if running is None or fault is Fault.SLOW or not running.order.seconds:
            return running
        over = self._clock.monotonic_ns() >= running.since_ns + int(running.order.seconds * 1e9)
        return None if over else running


def _spoilt(message: bytes, running: _Running) -> bytes:
    """Each chosen byte is XORed with 1 to 255, so that it does change."""
    spoilt = np.frombuffer(message, np.uint8).copy()
    count = min(spoilt.size, max(1, round(running.order.rate * spoilt.size))) if running.order.rate else 0
    chosen = running.bytes.choice(spoilt.size, count, replace=False)
    spoilt[chosen] ^= running.bytes.integers(1, 256, count, np.uint8)
    return spoilt.tobytes()
