"""Whether somebody is at the machine itself: a local seat, or a button that was pressed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hal._values import Deadline, Device


@dataclass(frozen=True)
class Presence:
    """Somebody is there. `kind` is how it was told ("seat", "button"), `detail` by what; `checked_ns` is monotonic."""

    kind: str
    detail: str
    checked_ns: int


@dataclass(frozen=True)
class Absence:
    """Nobody is there, as far as the sensor can tell: `reason`, and what the person at the machine can do."""

    reason: str
    remedy: str


class PresenceSensor(Device, Protocol):
    """Tells whether somebody is at the machine. An error is not an answer: whoever asks treats it as nobody."""

    def confirm(self, deadline: Deadline, on_ready: Callable[[], None] | None = None) -> Presence | Absence:
        """Look, or wait for the person to act, until `deadline`.

        `on_ready` is called once a sensor waits for an act; one that only looks never calls it. A sensor
        that waits answers `Absence` at the deadline. Raises `TimedOut` when it did not answer, `Disconnected`.
        """
        ...
