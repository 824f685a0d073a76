"""When a failure report is made: so long after the activation that its time tells nothing of what failed."""

from __future__ import annotations

from dataclasses import dataclass

from agent.timings import Stopwatch
from hal import Clock

REPORT_S = 2.0
"""Kept back from the deadline to quote and send a failure report, on a slow TPM too."""


@dataclass(frozen=True)
class ReportTime:
    """Holds the failure report of one presentation back until a moment that the policy alone decides.

    That is `REPORT_S` before the deadline, `deadline_s` after the activation; or already `failure_at_s` after it, where
    the site wants that and the presentation has ended by then. `watch` runs since the activation.
    """

    watch: Stopwatch
    clock: Clock
    deadline_s: float
    failure_at_s: float = 0.0

    def wait(self) -> None:
        """Return at that moment, or at once when it has passed."""
        elapsed, last = self.watch.elapsed(), max(0.0, self.deadline_s - REPORT_S)
        moment = self.failure_at_s if elapsed < self.failure_at_s < last else last
        self.clock.sleep(max(0.0, moment - elapsed))
