"""How far an evaluation is."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_REFRESH_S = 0.2


class Watcher(Protocol):
    """Told what is to be done and of each part that is done."""

    def expect(self, what: str, total: int) -> None:
        """About `total` parts of `what` follow."""
        ...

    def step(self, what: str) -> None:
        """One part is done."""
        ...


class Silent:
    """Shows nothing."""

    def expect(self, what: str, total: int) -> None:
        """Nothing."""

    def step(self, what: str) -> None:
        """Nothing."""


class Bars:
    """A bar for each kind of work, on a terminal; elsewhere nothing. A context manager.

    It draws within `step` only: a thread of its own would add to the CPU time that is measured in between.
    """

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.refresh()
        self._progress.stop()

    def expect(self, what: str, total: int) -> None:
        """Show a new bar, or lengthen the one there is."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=0)
        known = self._progress.tasks[self._tasks[what]].total or 0
        self._progress.update(self._tasks[what], total=known + total)

    def step(self, what: str) -> None:
        """Advance the bar."""
        self._progress.advance(self._tasks[what])
        if time.monotonic() - self._drawn > _REFRESH_S:
            self._progress.refresh()
            self._drawn = time.monotonic()
