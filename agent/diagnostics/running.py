"""Running checks: those of one lane after another, the lanes side by side, each check with a deadline of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Protocol

from agent.clocks import StoppableClock
from agent.diagnostics.findings import Finding, Severity, failed
from hal import Deadline

GRACE_SHARE = 0.1
GRACE_S = 1.0
"""Beyond its deadline a check gets a tenth of its time and this to come back; then it is left behind."""

Note = Callable[[str], None]
"""Tells the person something now: "Place a finger on the reader."."""


@dataclass(frozen=True)
class Check:
    """One thing to look at. Checks of one `lane` share a device or a library and never run at the same time."""

    name: str
    lane: str
    seconds: float
    run: Callable[[Deadline, Note], Iterable[Finding]] = field(repr=False)


class Progress(Protocol):
    """Hears how the checks get on, always from the thread that called `run_checks`."""

    def started(self, check: Check) -> None:
        """The check runs now."""
        ...

    def noted(self, check: Check, text: str) -> None:
        """The check has something to say to the person."""
        ...

    def finished(self, check: Check, findings: Sequence[Finding]) -> None:
        """The check is done, or was left behind."""
        ...


def run_checks(checks: Sequence[Check], progress: Progress) -> list[Finding]:
    """The findings of all checks, in the order of the checks.

    A check that does not come back is left behind on its thread, with an error that says so; the next of its lane then
    begins. An interrupt lets every deadline pass, so that devices are released.
    """
    return _Run(checks).until_done(progress)


@dataclass(frozen=True)
class _News:
    """A check has begun, has said `text`, or has ended with `findings`."""

    check: Check
    text: str | None = None
    findings: Sequence[Finding] | None = None

    def tell(self, progress: Progress) -> None:
        if self.findings is not None:
            progress.finished(self.check, self.findings)
        elif self.text is not None:
            progress.noted(self.check, self.text)
        else:
            progress.started(self.check)


class _Run:
    """The threads of one diagnosis, and what they report."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._news: queue.Queue[_News] = queue.Queue()
        self._stopped = False
        self._clocks: list[threading.Event] = []

    def until_done(self, progress: Progress) -> list[Finding]:
        for lane in dict.fromkeys(check.lane for check in self._checks):
            threading.Thread(target=self._run_lane, args=(lane,), name=f"lane {lane}", daemon=True).start()
        found: dict[int, Sequence[Finding]] = {}
        try:
            while len(found) < len(self._checks):
                news = self._news.get()
                news.tell(progress)
                if news.findings is not None:
                    found[id(news.check)] = news.findings
        finally:
            self._stop()
        return [finding for check in self._checks for finding in found[id(check)]]

    def _stop(self) -> None:
        self._stopped = True
        for clock in self._clocks:
            clock.set()

    def _run_lane(self, lane: str) -> None:
        for check in self._checks:
            if check.lane == lane and not self._stopped:
                self._news.put(_News(check))
                self._news.put(_News(check, findings=self._findings_of(check)))

    def _findings_of(self, check: Check) -> list[Finding]:
        """What the check finds, or that it did not come back."""
        abandon = threading.Event()
        self._clocks.append(abandon)
        deadline = Deadline.after(check.seconds, StoppableClock(abandon))
        future: Future[list[Finding]] = Future()

        def work() -> None:
            try:
                future.set_result(list(check.run(deadline, lambda text: self._news.put(_News(check, text)))))
            except BaseException as error:  # noqa: BLE001 - every error of a check is a finding
                future.set_result([failed("diag.check", error, check.name)])

        threading.Thread(target=work, name=check.name, daemon=True).start()
        patience = check.seconds * (1 + GRACE_SHARE) + GRACE_S
        try:
            return future.result(patience)
        except FutureTimeout:
            abandon.set()
            what = f"{check.name} did not answer within {patience:.0f} s"
            remedy = "Replug the device, or restart what serves it; then run the diagnosis again."
            return [Finding("diag.stalled", Severity.ERROR, what, remedy, check.name)]
