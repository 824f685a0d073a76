from __future__ import annotations

import pytest

from agent.diagnostics import Finding, Severity, exit_status, worst
from agent.diagnostics.findings import failed
from agent.errors import NotJoined
from hal import Busy


def finding(severity: Severity) -> Finding:
    return Finding("family.check", severity, "something", "do something")


@pytest.mark.parametrize(
    ("severities", "status"),
    [
        ([], 0),
        ([Severity.OK, Severity.INFO], 0),
        ([Severity.OK, Severity.WARNING], 3),
        ([Severity.WARNING, Severity.ERROR, Severity.OK], 1),
    ],
)
def test_the_exit_status_follows_the_gravest_finding(severities: list[Severity], status: int) -> None:
    assert exit_status(finding(severity) for severity in severities) == status


def test_the_gravest_of_nothing_is_well() -> None:
    assert worst([]) is Severity.OK


@pytest.mark.parametrize(
    "error", [Busy("held"), NotJoined("not joined"), OSError(28, "full", "/x"), KeyError("secret")]
)
def test_every_error_becomes_a_finding_with_a_remedy(error: Exception) -> None:
    found = failed("a.b", error, "subject")
    assert found.severity is Severity.ERROR
    assert found.remedy
    assert "secret" not in found.what


def test_nothing_in_a_finding_controls_a_terminal() -> None:
    plain = Finding("a.b", Severity.OK, "x\x1b[2J", "y\n", "z\x00", {"name": "q\x1b"}).plain()
    assert all(
        text.isprintable() for text in (plain["what"], plain["remedy"], plain["subject"], plain["facts"]["name"])
    )
