from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from simulators.lab.story import Finding
from simulators.lab.view import JsonView
from simulators.lab.watch import Watch

ENTRY = {
    "name": "n1",
    "state": "active",
    "score": 900,
    "tier": "high",
    "version": 3,
    "version_state": "latest",
    "epoch": 1,
    "rotation": "standard",
    "rotation_s": 30.0,
    "access": "full",
    "explanation": "0.90",
    "next_challenge_at": 5.0,
    "last_seen_at": 1.0,
}


@dataclass
class Seen:
    """What a watch has seen."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=lambda: {"n1": dict(ENTRY)})
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def show(self, view: JsonView) -> None:
        view.changed(cast(Watch, self))


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_line_is_an_event_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView()
    view.act("one\nact")
    (act,) = events(capsys)
    assert (act["event"], act["title"]) == ("act", "one\nact")
    assert act["at"] > 0


def test_a_node_is_shown_when_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    view, seen = JsonView(), Seen()
    seen.show(view)
    seen.show(view)
    assert [event["score"] for event in events(capsys)] == [900]
    seen.nodes["n1"]["score"] = 400
    seen.show(view)
    assert [event["score"] for event in events(capsys)] == [400]


def test_what_only_people_at_the_table_see_is_no_change(capsys: pytest.CaptureFixture[str]) -> None:
    view, seen = JsonView(), Seen()
    seen.show(view)
    events(capsys)
    seen.nodes["n1"]["last_seen_at"] = 2.0
    seen.show(view)
    assert events(capsys) == []


def test_every_alert_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    view, seen = JsonView(), Seen(nodes={})
    for number in range(3):
        seen.alerts.append({"id": number, "text": "low"})
        seen.show(view)
    seen.show(view)
    assert [(event["event"], event["id"]) for event in events(capsys)] == [("alert", 0), ("alert", 1), ("alert", 2)]


@pytest.mark.parametrize("met", [True, False])
def test_the_summary_is_ok_when_everything_was_shown(capsys: pytest.CaptureFixture[str], met: bool) -> None:
    view = JsonView()
    view.end([Finding("a", "x", "x", True), Finding("b", "x", "y", met)], {"seconds": 1})
    view.close()
    (summary,) = events(capsys)
    assert summary["ok"] is met
    assert summary["findings"][1] == {"act": "b", "expected": "x", "seen": "y", "met": met}
    assert summary["numbers"] == {"seconds": 1}
