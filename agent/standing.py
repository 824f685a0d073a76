"""What the authority last said about this node, kept for `keyvigil status`."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from agent.durable import read_struct, write_private
from agent.errors import StateError
from agent.state import StateDirectory
from protocol.codec import encode
from protocol.messages import StatusEvent, Verdict


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of standing.json; times are POSIX seconds."""

    status: StatusEvent | None = None
    status_at: float | None = None
    verdict: Verdict | None = None
    verdict_at: float | None = None


class StandingBook:
    """Keeps standing.json; threads may share it. Writing raises `StateError`."""

    def __init__(self, state: StateDirectory, now: Callable[[], float]) -> None:
        self._path = state.standing
        self._now = now
        self._lock = threading.Lock()

    def read(self) -> Standing:
        """The last standing, empty before the first."""
        return read_struct(self._path, Standing) or Standing()

    def note_status(self, status: StatusEvent) -> None:
        """Keep a pushed status."""
        with self._lock:
            self._write(msgspec.structs.replace(self._last(), status=status, status_at=self._now()))

    def note_verdict(self, verdict: Verdict) -> None:
        """Keep the verdict on a presentation."""
        with self._lock:
            self._write(msgspec.structs.replace(self._last(), verdict=verdict, verdict_at=self._now()))

    def _last(self) -> Standing:
        """The last standing; a damaged file is only a copy of what the authority knows, and is written anew."""
        try:
            return self.read()
        except StateError:
            return Standing()

    def _write(self, standing: Standing) -> None:
        write_private(self._path, encode(standing))
