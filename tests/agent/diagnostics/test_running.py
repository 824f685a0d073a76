from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from agent.diagnostics import Finding, Severity, running
from agent.diagnostics.running import Check, Note, run_checks
from hal import Busy, Deadline


class Heard:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def started(self, check: Check) -> None:
        self.events.append(("started", check.name))

    def noted(self, check: Check, text: str) -> None:
        self.events.append((text, check.name))

    def finished(self, check: Check, findings: Sequence[Finding]) -> None:
        self.events.append(("finished", check.name))


def check(name: str, lane: str, work: Callable[[Deadline], None], seconds: float = 5.0) -> Check:
    def run(deadline: Deadline, note: Note) -> Iterator[Finding]:
        note("hello")
        work(deadline)
        yield Finding(name, Severity.OK, "done")

    return Check(name, lane, seconds, run)


def test_findings_come_in_the_order_of_the_checks() -> None:
    first = threading.Event()
    checks = [check("a", "1", lambda _: _wait(first)), check("b", "2", lambda _: first.set())]
    assert [finding.id for finding in run_checks(checks, Heard())] == ["a", "b"]


def test_checks_of_one_lane_run_one_after_another() -> None:
    running_now = threading.Lock()

    def alone(_: Deadline) -> None:
        assert running_now.acquire(blocking=False)
        running_now.release()

    heard = Heard()
    found = run_checks([check(name, "lane", alone) for name in "abc"], heard)
    assert [finding.severity for finding in found] == [Severity.OK] * 3
    assert heard.events == [(what, name) for name in "abc" for what in ("started", "hello", "finished")]


def test_lanes_run_side_by_side() -> None:
    """Each waits for the other: one after another they could not end."""
    barrier = threading.Barrier(2, timeout=10)
    found = run_checks([check(name, name, lambda _: barrier.wait() and None) for name in "ab"], Heard())
    assert [finding.id for finding in found] == ["a", "b"]


def test_a_check_that_ignores_its_deadline_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "GRACE_S", 0.05)
    let_go = threading.Event()
    checks = [check("stuck", "lane", lambda _: _wait(let_go), 0.1), check("next", "lane", lambda _: None)]
    found = run_checks(checks, Heard())
    let_go.set()
    assert [finding.id for finding in found] == ["diag.stalled", "next"]
    assert (found[0].severity, found[0].subject) == (Severity.ERROR, "stuck")
    assert found[0].remedy


def test_one_that_is_left_behind_finds_its_deadline_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its device is released as soon as it looks at the time."""
    monkeypatch.setattr(running, "GRACE_S", 0.05)
    ask, left = threading.Event(), []
    done = threading.Event()

    def work(deadline: Deadline) -> None:
        _wait(ask)
        left.append(Deadline.after(1000, deadline.clock).within(1000).remaining())
        done.set()

    run_checks([check("stuck", "lane", work, 0.1)], Heard())
    ask.set()
    assert done.wait(10)
    # A deadline made on an aborted clock has passed by the next look at it.
    assert left == [0.0]


def test_an_error_of_a_check_is_a_finding() -> None:
    def fail(_: Deadline) -> None:
        raise Busy("held by another")

    def defect(_: Deadline) -> None:
        raise KeyError("a secret")

    found = run_checks([check("a", "1", fail), check("b", "2", defect)], Heard())
    assert [finding.severity for finding in found] == [Severity.ERROR] * 2
    assert found[0].what == "held by another"
    assert "KeyError in test_running.py, line" in found[1].what
    assert "secret" not in found[1].what


def test_an_interrupt_lets_every_deadline_pass() -> None:
    released = threading.Event()
    begun = threading.Event()

    def work(deadline: Deadline) -> None:
        begun.set()
        while deadline.remaining() > 0:
            deadline.clock.sleep(0.01)
        released.set()

    class Interrupted(Heard):
        def noted(self, check: Check, text: str) -> None:
            assert begun.wait(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_checks([check("long", "lane", work, 100)], Interrupted())
    assert released.wait(5)


def _wait(event: threading.Event) -> None:
    assert event.wait(20)
