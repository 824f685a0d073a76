"""A thread of its own for a library that only one thread may enter, with a deadline on every call."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from hal import Disconnected, TimedOut

Result = TypeVar("Result")

_REOPEN = "Open the device again; if it repeats, replug it or restart the machine."


class Worker:
    """Runs one piece of work at a time, in order, on a daemon thread.

    A device that stalls blocks inside a C library or the kernel, where nothing can interrupt it. The caller then gets
    `TimedOut`, and the thread goes on waiting; what was queued behind it runs when the device answers at last.
    """

    def __init__(self, name: str) -> None:
        """Start the thread; `name` is how people know the device ("PKCS#11 token", say)."""
        self._name = name
        self._pid = os.getpid()
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def call(self, what: str, work: Callable[[], Result], seconds: float) -> Result:
        """The result or the exception of `work`; raises `TimedOut` after `seconds`.

        Work that had not begun by then never will. Raises `Disconnected` in a process that was forked off: threads do
        not survive a fork.
        """
        if os.getpid() != self._pid:
            raise Disconnected(
                f"{self._name}: {what} was not tried: it was opened by another process",
                remedy="Open the device in the process that uses it.",
            )
        future: Future[Result] = Future()
        self._work.put((future, work))
        try:
            return future.result(seconds)
        except TimeoutError as error:
            if future.done() and not future.cancelled() and future.exception() is error:
                raise
            future.cancel()
            raise TimedOut(f"{self._name} did not finish {what} within {seconds:g} s", remedy=_REOPEN) from error

    def post(self, work: Callable[[], None]) -> Future[None]:
        """Queue `work` without waiting for it, to tidy up when the device answers.

        In a forked process nothing runs: what there is to tidy up is the parent's.
        """
        future: Future[None] = Future()
        if os.getpid() != self._pid:
            future.set_result(None)
            return future
        self._work.put((future, work))
        return future

    def end(self) -> None:
        """Let the thread end once everything that was queued has run."""
        self._work.put(None)

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
