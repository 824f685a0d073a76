"""The moment of a failure report tells nothing of what failed, nor how many modalities, nor in which way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agent.enclave import EnclaveGate
from agent.failing import REPORT_S, ReportTime
from agent.pipelines import Examined
from agent.timings import Stopwatch
from hal import Enclave
from tests.agent.people import BOUND, BindableText, TextPipeline
from tests.agent.test_presentation import Stage, stage
from tests.agent.test_uniform_failure import FAILURES
from tests.security.broken import NOTICED

__all__ = ["stage"]

DEADLINE_S, EARLIER_S = 60.0, 40.0
COSTS_S = {"fingerprint": 1.5, "face": 7.0, "voice": 4.25}
"""What examining a sample of each takes here."""
ENCLAVE_S = 0.5


@dataclass
class HandClock:
    """Time that passes only where a test lets it."""

    now: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def monotonic_ns(self) -> int:
        return int(self.now * 1e9)

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds

    def watch(self) -> Stopwatch:
        return Stopwatch(lambda: self.now)


class Slow:
    """A pipeline whose samples take time, each modality its own."""

    clock: HandClock

    def examine(self, captures: Sequence[Any], purpose: str) -> Examined:
        self.clock.sleep(COSTS_S[self.modality])  # type: ignore[attr-defined]
        return super().examine(captures, purpose)  # type: ignore[misc, no-any-return]


class SlowText(Slow, TextPipeline):
    pass


class SlowBindable(Slow, BindableText):
    pass


def slow(clock: HandClock) -> dict[str, TextPipeline]:
    made = {name: (SlowBindable if name in BOUND else SlowText)(name) for name in COSTS_S}
    for each in made.values():
        each.clock = clock
    return {**made}


def gate_by(clock: HandClock, genuine: EnclaveGate, opened: list[float]) -> EnclaveGate:
    """The same enclave, whose every use takes time and is noted."""

    @contextmanager
    def open_slowly() -> Iterator[Enclave]:
        opened.append(clock.now)
        with genuine.opener() as enclave:
            yield enclave
        clock.sleep(ENCLAVE_S)

    return replace(genuine, opener=open_slowly)  # type: ignore[arg-type]


Times = Callable[[HandClock, Stopwatch], ReportTime]


def moments(stage: Stage, report: Times) -> set[tuple[float, float]]:
    """When the reports were quoted and when they were ready, over all ways to fail."""
    found = set()
    for shows in FAILURES.values():
        clock, opened = HandClock(), list[float]()
        watch = clock.watch()
        activation = stage.activation(deadline_s=DEADLINE_S)
        at_clock = replace(stage, clock=clock, gate=gate_by(clock, stage.gate, opened))  # type: ignore[arg-type]
        answer = at_clock.present(
            shows, begun=activation, pipelines=slow(clock), watch=watch, report=report(clock, watch)
        )
        assert answer.failure is not None
        found.add((round(opened[-1], 6), round(clock.now, 6)))
    return found


def at_the_end(clock: HandClock, watch: Stopwatch) -> ReportTime:
    return ReportTime(watch, clock, DEADLINE_S)


def check_the_moment_is_fixed(stage: Stage, report: Times, seconds: float) -> None:
    assert moments(stage, report) == {(seconds, seconds + ENCLAVE_S)}


def test_reports_are_quoted_and_leave_at_one_moment_before_the_deadline(stage: Stage) -> None:
    check_the_moment_is_fixed(stage, at_the_end, DEADLINE_S - REPORT_S)


def test_a_site_may_choose_an_earlier_moment(stage: Stage) -> None:
    check_the_moment_is_fixed(stage, lambda clock, watch: ReportTime(watch, clock, DEADLINE_S, EARLIER_S), EARLIER_S)


def test_reports_that_leave_as_soon_as_they_can_are_noticed(stage: Stage) -> None:
    """The control: without the wait, ways to fail differ by seconds."""
    with pytest.raises(NOTICED):
        check_the_moment_is_fixed(stage, lambda clock, watch: ReportTime(watch, clock, 0.0), DEADLINE_S - REPORT_S)


@pytest.mark.parametrize(
    ("elapsed", "earlier", "moment"),
    [(0.0, 0.0, 58.0), (57.9, 0.0, 58.0), (59.0, 0.0, 59.0), (39.9, 40.0, 40.0), (40.1, 40.0, 58.0), (3.0, 59.5, 58.0)],
)
def test_the_moment_is_one_of_two_and_never_later_than_needed(elapsed: float, earlier: float, moment: float) -> None:
    clock = HandClock()
    watch = clock.watch()
    clock.sleep(elapsed)
    ReportTime(watch, clock, DEADLINE_S, earlier).wait()
    assert clock.now == pytest.approx(moment)
