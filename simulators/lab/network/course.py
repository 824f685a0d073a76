"""What the lab's network went through, second by second: packets, trust, keys and what was done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulators.lab.processes import LabError

PERIOD_S = 0.25


@dataclass(frozen=True)
class Moment:
    """At `at` seconds after the start: of every node its entry at the authority, and packets that came from it."""

    at: float
    nodes: dict[str, dict[str, Any]]
    came: dict[str, int]


@dataclass
class Course:
    """Moments in order, and what was done when."""

    moments: list[Moment] = field(default_factory=list)
    acts: list[tuple[float, str]] = field(default_factory=list)

    def rate(self, name: str, over_s: float = 1.0) -> float:
        """Packets a second that came from a node lately."""
        recent = [one for one in self.moments if one.at >= self.moments[-1].at - over_s] if self.moments else []
        if len(recent) < 2:
            return 0.0
        first, last = recent[0], recent[-1]
        return (last.came.get(name, 0) - first.came.get(name, 0)) / (last.at - first.at)


class Recorder:
    """A thread that adds a moment every quarter of a second and tells `changed`."""

    def __init__(
        self,
        nodes: Callable[[], Mapping[str, dict[str, Any]]],
        came: Callable[[], dict[str, int]],
        changed: Callable[[Course], None],
    ) -> None:
        self.course = Course()
        self._nodes, self._came, self._changed = nodes, came, changed
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def act(self, title: str) -> None:
        """Something is done now."""
        self.course.acts.append((time.monotonic() - self._began, title))

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            try:
                moment = Moment(time.monotonic() - self._began, dict(self._nodes()), self._came())
            except LabError:
                continue
            self.course.moments.append(moment)
            self._changed(self.course)
