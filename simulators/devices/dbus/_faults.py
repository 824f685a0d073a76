"""The faults that are in force on a service, and which message each of them hits."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

from simulators.devices.faults import Fault, FaultOrder


@dataclass
class _Playing:
    order: FaultOrder
    random: random.Random
    since: float
    seen: int = field(default=0)

    def hits(self) -> bool:
        """Whether this message is hit; counts it."""
        self.seen += 1
        lasts = self.order.fault is Fault.SLOW or not self.order.seconds
        over = not lasts and time.monotonic() - self.since > self.order.seconds
        return not over and self.seen > self.order.after and self.random.random() < self.order.rate


class FaultBoard:
    """Orders in force. Every method is thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._playing: list[_Playing] = []
        self._mended = threading.Event()

    def add(self, order: FaultOrder) -> None:
        """Begin a fault."""
        with self._lock:
            self._mended.clear()
            self._playing.append(_Playing(order, random.Random(order.seed), time.monotonic()))  # noqa: S311

    def clear(self) -> None:
        """End every fault, and every delay that runs."""
        with self._lock:
            self._playing.clear()
            self._mended.set()

    def hits(self, fault: Fault) -> FaultOrder | None:
        """The order that hits the present message, if any; every order of this fault counts it."""
        with self._lock:
            struck = [playing.order for playing in self._playing if playing.order.fault is fault and playing.hits()]
        return struck[0] if struck else None

    def delay(self, seconds: float) -> None:
        """Wait, or until the faults are cleared."""
        self._mended.wait(seconds)
