"""The one thread that may touch a TPM context, with a deadline on every call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from drivers.worker import Worker
from hal import Disconnected, TimedOut

Result = TypeVar("Result")

_REOPEN = "Open the TPM again; if it repeats, restart the machine."


class TpmThread:
    """A `Worker` that is given up when the TPM stalls.

    The caller then gets `TimedOut`, the thread cleans up when the TPM answers at last, and whoever comes later is told
    to open the TPM again.
    """

    def __init__(self, name: str) -> None:
        self._worker = Worker(name)
        self._given_up = threading.Event()

    def call(self, what: str, work: Callable[[], Result], seconds: float) -> Result:
        """The result or the exception of `work`; raises `TimedOut` after `seconds`, `Disconnected` if given up."""
        if self._given_up.is_set():
            raise Disconnected(f"TPM: {what} was not tried, the connection is closed or stalled", remedy=_REOPEN)
        begun, ended = threading.Event(), threading.Event()

        def marked() -> Result:
            begun.set()
            try:
                return work()
            finally:
                ended.set()

        try:
            return self._worker.call(what, marked, seconds)
        except TimedOut as error:
            if ended.is_set():
                raise
            if begun.is_set():
                self._given_up.set()
            raise TimedOut(f"the TPM did not finish {what} within {seconds:.3g} s", remedy=_REOPEN) from error

    def end(self, last: Callable[[], None], seconds: float) -> None:
        """Refuse further work, run `last` on the thread when it is free, and wait up to `seconds` for that."""
        if self._given_up.is_set():
            seconds = 0.0
        self._given_up.set()
        future = self._worker.post(last)
        self._worker.end()
        with suppress(TimeoutError):
            future.result(seconds)
