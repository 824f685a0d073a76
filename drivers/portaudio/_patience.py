"""Calls into PortAudio that may never return, and a caller who has a deadline."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from drivers.portaudio._backend import forgo_termination
from hal import Deadline, TimedOut

Result = TypeVar("Result")

_ONE_AT_A_TIME = threading.Lock()
"""PortAudio's own state is not thread safe; a call that hangs keeps the next ones out."""

_REMEDY = "Restart the sound server (pulseaudio, pipewire) or replug the microphone, then try again."


def by_deadline(what: str, deadline: Deadline, work: Callable[[], Result]) -> Result:
    """What `work` returns or raises, if it does so by `deadline`; else `TimedOut`.

    Looking at a device connects to its sound server, and one that is stopped lets us wait for ever. The thread that
    waits ends when the server does answer; what it found is then forgotten.
    """
    deadline.check(what)
    ended: queue.SimpleQueue[tuple[Result | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        if not _ONE_AT_A_TIME.acquire(timeout=deadline.remaining()):
            return
        try:
            ended.put((work(), None))
        except BaseException as error:  # noqa: BLE001  # it is raised where the caller waits
            ended.put((None, error))
        finally:
            _ONE_AT_A_TIME.release()

    threading.Thread(target=run, name="microphone-look", daemon=True).start()
    try:
        result, error = ended.get(timeout=max(0.001, deadline.remaining()))
    except queue.Empty:
        forgo_termination()
        raise TimedOut(f"{what}: the sound system does not answer", remedy=_REMEDY) from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # there is no error, so there is a result
