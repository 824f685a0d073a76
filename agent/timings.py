"""How long each stage of a presentation took: numbers only, never a biometric value."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.durable import append_private
from agent.errors import StateError
from agent.log import event


class Stopwatch:
    """Stage durations of one presentation in seconds; threads may share it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._started = monotonic()
        self._stages: dict[str, float] = {}
        self._marks: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of the block to stage `name`."""
        begun = self._monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._stages[name] = self._stages.get(name, 0.0) + self._monotonic() - begun

    def mark(self, name: str) -> None:
        """Note that `name` happened now."""
        with self._lock:
            self._marks[name] = self._monotonic()

    def since(self, name: str) -> float | None:
        """Seconds since `name` was marked, `None` when it was not."""
        with self._lock:
            at = self._marks.get(name)
        return None if at is None else self._monotonic() - at

    def elapsed(self) -> float:
        """Seconds since this stopwatch was made."""
        return self._monotonic() - self._started

    def stages(self) -> dict[str, float]:
        """Stage durations so far, rounded to a tenth of a millisecond."""
        with self._lock:
            return {name: round(seconds, 4) for name, seconds in self._stages.items()}


class TimingLog:
    """Writes timings to the log, and as JSON lines to `path` unless that is `None`."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, kind: str, challenge_id: str, numbers: dict[str, float]) -> None:
        """One line: `kind`, the challenge, and seconds by name. A full disk loses the line, not the presentation."""
        event(logging.INFO, "timings", kind=kind, challenge=challenge_id, **numbers)
        if self._path is None:
            return
        line = {"at": round(time.time(), 3), "kind": kind, "challenge_id": challenge_id} | numbers
        try:
            append_private(self._path, json.dumps(line).encode() + b"\n")
        except StateError as error:
            event(logging.WARNING, "timings could not be written", error=str(error))
