"""Fault orders in force: counting messages, drawing chances, spoiling bytes. What a device does with it is its own."""

from __future__ import annotations

import threading

import numpy as np

from hal import Clock, SystemClock
from simulators.devices.faults import Fault, FaultOrder


class OrderInForce:
    """One order, how many messages it saw, and its own source of chance."""

    def __init__(self, order: FaultOrder, clock: Clock | None = None) -> None:
        self.order = order
        self._clock = clock or SystemClock()
        self._messages, self._bytes = np.random.default_rng(order.seed).spawn(2)
        self._seen = 0
        passes = order.seconds > 0 and order.fault is not Fault.SLOW
        self._until_ns = self._clock.monotonic_ns() + int(order.seconds * 1e9) if passes else None

    @property
    def over(self) -> bool:
        """Whether a passing fault has passed."""
        return self._until_ns is not None and self._clock.monotonic_ns() >= self._until_ns

    @property
    def due(self) -> bool:
        """Whether the messages that pass unharmed have passed."""
        return self._seen >= self.order.after

    def hits(self, *, whole: bool = False) -> bool:
        """Count a message, and say whether it is hit.

        The rate of `CORRUPT` is a share of bytes, so that it hits each message that is due; on a device that damages
        messages as a `whole` it is a share of those.
        """
        due = self.due
        self._seen += 1
        if not due:
            return False
        every = self.order.fault is Fault.CORRUPT and not whole
        return every or bool(self._messages.random() < self.order.rate)

    def cut(self, message: bytes, keep: int = 0) -> bytes:
        """`message` without its end, from a random byte on; at least `keep` of its bytes stay."""
        return message[: int(self._bytes.integers(keep, max(keep + 1, len(message))))]

    def spoiled(self, message: bytes, least: int = 0) -> bytes:
        """`message` with the ordered share of its bytes, and at least so many, XORed with 1 to 255.

        A share that is no whole number of bytes is rounded up or down by chance, so that it is right on the average.
        """
        spoilt = np.frombuffer(message, np.uint8).copy()
        count = min(spoilt.size, max(least, int(self.order.rate * spoilt.size + self._bytes.random())))
        chosen = self._bytes.choice(spoilt.size, count, replace=False)
        spoilt[chosen] ^= self._bytes.integers(1, 256, count, np.uint8)
        return spoilt.tobytes()


class OrdersInForce:
    """The orders in force on one device. Every method is thread safe."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._all: list[OrderInForce] = []
        self._mended = threading.Event()

    def add(self, order: FaultOrder) -> None:
        """Begin a fault."""
        with self._lock:
            self._mended.clear()
            self._all.append(OrderInForce(order, self._clock))

    def end(self, order: FaultOrder) -> None:
        """End a fault that began."""
        with self._lock:
            self._all = [one for one in self._all if one.order is not order]

    def clear(self) -> None:
        """End every fault, and every delay that runs."""
        with self._lock:
            self._all.clear()
            self._mended.set()

    def current(self) -> list[OrderInForce]:
        """Those that have not passed."""
        with self._lock:
            self._all = [one for one in self._all if not one.over]
            return list(self._all)

    def due(self, fault: Fault) -> list[OrderInForce]:
        """The orders for `fault` whose messages that pass unharmed have passed."""
        return [one for one in self.current() if one.order.fault is fault and one.due]

    def plays(self, fault: Fault) -> FaultOrder | None:
        """The order by which `fault` is in force now, for those that hit no message but a whole device."""
        return next((one.order for one in self.current() if one.order.fault is fault), None)

    def struck(self) -> list[OrderInForce]:
        """Count one message for every order; those that hit it."""
        with self._lock:
            return [one for one in self.current() if one.hits()]

    def strikes(self, fault: Fault, *, whole: bool = False) -> OrderInForce | None:
        """Count one message for every order of `fault`; the first that hits it. For `whole` see `OrderInForce.hits`."""
        with self._lock:
            counted = [one for one in self.current() if one.order.fault is fault]
            return next(iter([one for one in counted if one.hits(whole=whole)]), None)

    def corrupted(self, message: bytes) -> bytes | None:
        """`message` with the ordered share of its bytes changed, `None` when no damage is due."""
        corrupt = self.strikes(Fault.CORRUPT)
        return None if corrupt is None else corrupt.spoiled(message)

    def delay(self, seconds: float) -> None:
        """Wait, or until the faults are cleared."""
        self._mended.wait(seconds)
