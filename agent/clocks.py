"""A clock that ends every wait when the agent is told to stop."""

from __future__ import annotations

import itertools
import threading
import time

_FAR = 1 << 62
_LEAP = 1 << 50
"""Thirteen days in nanoseconds: further than any deadline reaches."""


def boot_seconds() -> float:
    """Seconds since the machine started, sleep included; setting the clock does not change them (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class StoppableClock:
    """The machine's clock until `abort` is set; from then on every deadline has passed and no sleep lasts.

    Devices ask their deadline while they wait, so that setting `abort` ends a capture in another thread. A deadline
    that is made afterwards has passed too, because the clock leaps on with every look at it.
    """

    def __init__(self, abort: threading.Event) -> None:
        self._abort = abort
        self._leaps = itertools.count(_FAR, _LEAP)

    def monotonic_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC, or a time after every deadline."""
        return next(self._leaps) if self._abort.is_set() else time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds` or until `abort` is set."""
        self._abort.wait(seconds)
