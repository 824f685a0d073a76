"""From measures to one quality: every measure is graded, the weakest decides, and each refusal has its sentence."""

from __future__ import annotations

from agent.biometrics.parameters import Limit
from agent.biometrics.values import Quality


class Grading:
    """Gathers graded measures of one capture."""

    def __init__(self) -> None:
        self._score = 100.0
        self._reasons: list[str] = []
        self._measures: dict[str, float] = {}

    def judge(self, name: str, value: float, limit: Limit, reason: str) -> None:
        """Grade `value` against `limit`; beyond the limit's refusal, `reason` is given."""
        rising = limit.good > limit.poor
        refused = value < limit.refuse if rising else value > limit.refuse
        share = (value - limit.poor) / (limit.good - limit.poor)
        self.grade(name, value, 100.0 * share, reason if refused else None)

    def grade(self, name: str, value: float, score: float, reason: str | None = None) -> None:
        """Record a measure with a score of 0..100 and, if it refuses the capture, the reason."""
        self._measures[name] = round(float(value), 4)
        self._score = min(self._score, max(0.0, score))
        if reason:
            self._reasons.append(reason)

    def refuse(self, reason: str) -> Quality:
        """The quality of a capture that cannot be measured further."""
        return Quality(0, (*self._reasons, reason), self._measures)

    def quality(self) -> Quality:
        """The quality of everything that was recorded."""
        return Quality(round(self._score), tuple(self._reasons), self._measures)
