from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from agent.diagnostics import attendance
from agent.errors import AgentError
from tests.agent.diagnostics.test_host import config


class Watched:
    """A configuration with a presence sensor."""

    presence = object()


def told(monkeypatch: pytest.MonkeyPatch, require: Callable[..., object | None]) -> None:
    module = ModuleType("agent.presence")
    module.require_presence = require  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "agent.presence", module)


def test_the_configured_sensor_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    told(monkeypatch, lambda given, deadline, on_ready: asked.append((given, deadline.remaining() > 0)) or object())
    watched = Watched()
    attendance.require_person(watched)  # type: ignore[arg-type]
    assert asked == [(watched, True)]


def test_without_a_sensor_the_default_one_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []
    default = config(tmp_path)
    monkeypatch.setattr(attendance, "_default_sensor", lambda: default)
    told(monkeypatch, lambda given, deadline, on_ready: asked.append(given) or object())
    for given in (None, config(tmp_path)):
        attendance.require_person(given)
    assert asked == [default, default]


def test_nobody_is_a_refusal_even_where_presentations_do_not_insist(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, lambda *_: None)
    with pytest.raises(AgentError, match="nobody") as refusal:
        attendance.require_person(Watched())  # type: ignore[arg-type]
    assert "--unattended" in refusal.value.remedy


def test_a_refusal_of_the_sensor_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AgentError("the session is remote", remedy="Come here.")

    told(monkeypatch, refuse)
    with pytest.raises(AgentError, match="remote"):
        attendance.require_person(Watched())  # type: ignore[arg-type]


def test_what_cannot_be_told_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agent.presence", None)
    with pytest.raises(AgentError, match="cannot be told") as refusal:
        attendance.require_person(None)
    assert refusal.value.remedy


def test_whoever_must_press_a_button_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, lambda given, deadline, on_ready: on_ready() or object())
    attendance.require_person(Watched())  # type: ignore[arg-type]
    assert capsys.readouterr().err.strip() == attendance.PRESS
