"""Fault orders in force: counting messages, drawing chances, spoiling bytes. What a device does with it is its own."""

from __future__ import annotations

import time

import numpy as np

from simulators.devices.faults import Fault, FaultOrder


class OrderInForce:
    """One order, how many messages it saw, and its own source of chance."""

    def __init__(self, order: FaultOrder) -> None:
        self.order = order
        self.random = np.random.default_rng(order.seed)
        self._seen = 0
        lasts = order.seconds if order.fault is not Fault.SLOW else 0.0
        self._until = time.monotonic() + lasts if lasts else float("inf")

    @property
    def over(self) -> bool:
        """Whether a passing fault has passed."""
        return time.monotonic() >= self._until

    def hits(self) -> bool:
        """Whether the next message is hit; for `CORRUPT` whether its bytes may be."""
        self._seen += 1
        if self._seen <= self.order.after:
            return False
        return self.order.fault is Fault.CORRUPT or self.order.rate >= 1 or self.random.random() < self.order.rate

    def cut(self, message: bytes) -> bytes:
        """`message` without its end, from a random byte on."""
        return message[: int(self.random.integers(0, max(1, len(message))))]

    def spoiled(self, message: bytes) -> bytes:
        """`message` with each byte altered by the chance `rate`."""
        values = np.frombuffer(message, np.uint8)
        hit = self.random.random(values.size) < self.order.rate
        altered = values ^ self.random.integers(1, 256, values.size, np.uint8)
        return bytes(np.where(hit, altered, values).tobytes())


class OrdersInForce:
    """The orders in force on one device. Its owner holds a lock."""

    def __init__(self) -> None:
        self._all: list[OrderInForce] = []

    def add(self, order: FaultOrder) -> None:
        """Begin a fault."""
        self._all.append(OrderInForce(order))

    def clear(self) -> None:
        """End every fault."""
        self._all.clear()

    def current(self) -> list[OrderInForce]:
        """Those that have not passed."""
        self._all = [one for one in self._all if not one.over]
        return self._all

    def plays(self, fault: Fault) -> FaultOrder | None:
        """The order by which `fault` is in force now, for those that hit no message but a whole device."""
        return next((one.order for one in self.current() if one.order.fault is fault), None)
