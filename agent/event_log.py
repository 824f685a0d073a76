"""The firmware's event log, as the kernel keeps it."""

from __future__ import annotations

import logging
from pathlib import Path

from agent.log import event
from protocol.messages import LONGEST_EVENT_LOG


def read_event_log(path: str) -> bytes | None:
    """The log in `path`; nothing where there is none, or where it is longer than an authority takes.

    The authority judges the machine by its quote; without a log it cannot say what changed, and that is all.
    """
    if not path:
        return None
    try:
        with Path(path).open("rb") as file:
            data = file.read(LONGEST_EVENT_LOG + 1)
    except (OSError, ValueError) as error:
        event(logging.DEBUG, "there is no event log", path=path, error=getattr(error, "strerror", None) or str(error))
        return None
    if len(data) > LONGEST_EVENT_LOG:
        event(logging.WARNING, "the event log is too long to send", path=path, most=LONGEST_EVENT_LOG)
        return None
    return data or None
