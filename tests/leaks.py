"""What openings leave behind in the process of the tests."""

from __future__ import annotations

import time
from pathlib import Path

SETTLING_S = 5.0


def open_descriptors() -> int:
    """How many file descriptors this process has."""
    return len([*Path("/proc/self/fd").iterdir()])


def leaked(before: int, rounds: int) -> bool:
    """Whether `rounds` openings left a descriptor in every fifth of them or more, after time to let go.

    A thread that an earlier test gave up may open or close one of its own meanwhile: that is no leak of these.
    """
    limit = before + max(1, rounds // 5)
    deadline = time.monotonic() + SETTLING_S
    while open_descriptors() >= limit and time.monotonic() < deadline:
        time.sleep(0.01)
    return open_descriptors() >= limit
