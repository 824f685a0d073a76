"""The wall clock, against the monotonic one and against what the kernel knows of its synchronisation."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

STEP_S = 2.0
"""Slewing moves a clock by a two-thousandth; what is more than this between two looks is a step."""
REMEMBERED_S = 3600.0
MOST_ERROR_S = 1.0
_UNSYNCHRONISED = 0x0040
_REMEDY = "Run a time service (chrony, systemd-timesyncd) and see that it reaches its servers: `chronyc tracking`."


class ClockWatch:
    """Notes steps of the wall clock. `now` gives POSIX seconds, `monotonic` seconds that nobody can set.

    It is to be looked at often: what slews in between must stay below `STEP_S`.
    """

    def __init__(self, now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._now, self._monotonic = now, monotonic
        self._offset = now() - monotonic()
        self._step_s, self._stepped_at = 0.0, 0.0

    def look(self) -> float:
        """Seconds by which the clock was set within the last hour, positive for forward; 0 if it was not."""
        moment = self._monotonic()
        offset = self._now() - moment
        step, self._offset = offset - self._offset, offset
        if abs(step) >= STEP_S:
            self._step_s, self._stepped_at = step, moment
        recent = moment - self._stepped_at < REMEMBERED_S
        return self._step_s if self._step_s and recent else 0.0


@dataclass(frozen=True)
class KernelClock:
    """Whether something keeps the system's clock to the time, and its greatest error in seconds."""

    synchronised: bool
    error_s: float

    def fault(self) -> str:
        """What is wrong with it; empty where nothing is."""
        if not self.synchronised:
            return "nothing keeps the system's clock to the time"
        if self.error_s > MOST_ERROR_S:
            return f"the system's clock may be off by {self.error_s:.1f} s"
        return ""


def remedy() -> str:
    """What to do about a clock that is off."""
    return _REMEDY


class _Timex(ctypes.Structure):
    """The head of `struct timex` (adjtimex(2)); the rest is room enough."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def kernel_clock() -> KernelClock | None:
    """What the kernel says (adjtimex(2), reading only); none where it does not say."""
    read = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(read))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    return KernelClock(not read.status & _UNSYNCHRONISED, read.maxerror / 1e6)
