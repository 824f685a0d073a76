"""Blocking work of the daemon, each piece on a thread of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

LEAVE_S = 2.0


async def in_thread(work: Callable[..., T], *arguments: object) -> T:
    """The result of `work`.

    No pool bounds the threads: one duty that hangs would otherwise take the place of another, the end of a lease say.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name=getattr(work, "__name__", "work")).start()
    return await asyncio.wrap_future(future)


def leave(status: int, seconds: float = LEAVE_S) -> None:
    """End the process with `status`; threads that a device or a server holds get `seconds` to end by themselves."""
    give_up = time.monotonic() + seconds
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(max(0.0, give_up - time.monotonic()))
    if threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)
