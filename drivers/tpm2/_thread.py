"""The one thread that may touch a TPM context, with a deadline on every call."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from hal import Disconnected, TimedOut

Result = TypeVar("Result")

_REOPEN = "Open the TPM again; if it repeats, restart the machine."


class TpmThread:
    """Runs one piece of work at a time, in order, on a thread of its own.

    A TPM that stalls blocks inside the C library, where nothing can interrupt it. The caller then gets `TimedOut`, this
    thread is given up (it is a daemon and cleans up when the TPM answers at last), and whoever comes later is told
    to open the TPM again.
    """

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._given_up = threading.Event()
        threading.Thread(target=self._loop, name=name, daemon=True).start()

    def call(self, what: str, work: Callable[[], Result], seconds: float) -> Result:
        """The result or the exception of `work`; raises `TimedOut` after `seconds`, `Disconnected` if given up."""
        if self._given_up.is_set():
            raise Disconnected(f"TPM: {what} was not tried, the connection is closed or stalled", remedy=_REOPEN)
        future: Future[Result] = Future()
        self._work.put((future, work))
        try:
            return future.result(seconds)
        except TimeoutError as error:
            if not future.cancel():
                self._given_up.set()
            raise TimedOut(f"the TPM did not finish {what} within {seconds:.3g} s", remedy=_REOPEN) from error

    def end(self, last: Callable[[], None], seconds: float) -> None:
        """Refuse further work, run `last` on the thread when it is free, and wait up to `seconds` for that."""
        if self._given_up.is_set():
            seconds = 0.0
        self._given_up.set()
        future: Future[None] = Future()
        self._work.put((future, last))
        self._work.put(None)
        try:
            future.result(seconds)
        except TimeoutError:
            return

    def _loop(self) -> None:
        while (item := self._work.get()) is not None:
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that asked
                future.set_exception(error)
            del future, work, item
