from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.diagnostics import Severity
from agent.diagnostics.authority import Answer, _skew, ask, judge_answer, judge_certificate, judge_skew
from agent.errors import AuthorityUnreachable
from agent.identity import Certificate, pinned_context
from tests.agent.scripted_authority import Raw, ScriptedAuthority, TestCa, served


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[ScriptedAuthority]:
    with served(tmp_path) as found:
        yield found


def test_an_authority_under_the_pinned_ca_answers_with_its_time(authority: ScriptedAuthority) -> None:
    answer = ask(authority.url, pinned_context(authority.ca.pem), 5.0, time.time)
    assert answer.skew_s == 0.0
    assert answer.seconds < 5
    assert [found.severity for found in judge_answer(answer, trusted=True)] == [Severity.OK, Severity.OK]


def test_a_clock_that_is_wrong_shows(authority: ScriptedAuthority) -> None:
    answer = ask(authority.url, pinned_context(authority.ca.pem), 5.0, lambda: time.time() - 100)
    assert answer.skew_s == pytest.approx(100, abs=2)


def test_another_ca_is_not_trusted(authority: ScriptedAuthority) -> None:
    with pytest.raises(AuthorityUnreachable, match=r"(?i)certificate") as refusal:
        ask(authority.url, pinned_context(TestCa().pem), 5.0, time.time)
    assert "not the authority that the node joined" in refusal.value.remedy


@pytest.mark.parametrize("body", [b"x" * 100_000, b""])
def test_an_answer_of_another_kind_is_no_authority(authority: ScriptedAuthority, body: bytes) -> None:
    authority.on("GET", "/v1/ca", lambda _: Raw(200 if body else 503, body))
    with pytest.raises(AuthorityUnreachable):
        ask(authority.url, pinned_context(authority.ca.pem), 5.0, time.time)


def test_nobody_there() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(AuthorityUnreachable):
        ask("https://127.0.0.1:1", context, 2.0, time.time)


@pytest.mark.parametrize(
    ("date", "told_at", "took", "skew"),
    [
        ("Thu, 01 Jan 1970 00:01:40 GMT", 100.5, 0.1, 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 101.5, 1.0, 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0, 0.1, 10.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 121.0, 0.0, -20.0),
        ("", 100.0, 0.1, None),
        ("yesterday", 100.0, 0.1, None),
        ("Thu, 01 Jan 9999999 00:01:40 GMT", 100.0, 0.1, None),
    ],
)
def test_the_difference_of_the_clocks(date: str, told_at: float, took: float, skew: float | None) -> None:
    assert _skew(date, told_at, took) == skew


@pytest.mark.parametrize(
    ("skew", "severity"),
    [(0, Severity.OK), (-1.5, Severity.OK), (5, Severity.WARNING), (-31, Severity.ERROR), (3600, Severity.ERROR)],
)
def test_clocks_that_differ(skew: float, severity: Severity) -> None:
    assert judge_skew(skew).severity is severity


def test_which_clock_is_behind() -> None:
    assert "behind the authority's" in judge_skew(10).what
    assert "ahead of the authority's" in judge_skew(-10).what


@pytest.mark.parametrize(
    ("now", "severity"),
    [(150, Severity.OK), (180, Severity.WARNING), (200, Severity.ERROR), (999, Severity.ERROR), (50, Severity.ERROR)],
)
def test_the_nodes_certificate(now: float, severity: Severity) -> None:
    found = judge_certificate(Certificate("ab" * 32, 100.0, 200.0), now)
    assert found.severity is severity
    assert severity is Severity.OK or found.remedy


def test_before_joining_nothing_is_trusted() -> None:
    (found,) = judge_answer(Answer(0.1, None), trusted=False)
    assert found.severity is Severity.INFO
