"""Lost samples, found by counting samples against time."""

from __future__ import annotations

_SLACK_SECONDS = 0.25
_UNPACED_SECONDS = 1.0


class Pace:
    """Compares what a device delivered with the time that passed.

    Sound servers hide an overrun: no flag is raised, samples are simply missing. A device that runs ahead of time by
    more than a second is not paced by a clock (a file), and is not judged.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._start_ns: int | None = None
        self._samples = 0
        self._unpaced = False

    def lost(self, samples: int, arrived_ns: int) -> bool:
        """Count a block of `samples` that arrived at `arrived_ns`; true when samples are missing before it."""
        if self._start_ns is None:
            self._start_ns = arrived_ns
            return False
        self._samples += samples
        missing = (arrived_ns - self._start_ns) * self._rate / 1e9 - self._samples
        self._unpaced = self._unpaced or missing < -_UNPACED_SECONDS * self._rate
        if self._unpaced or missing <= _SLACK_SECONDS * self._rate:
            return False
        self._samples += int(missing)
        return True
