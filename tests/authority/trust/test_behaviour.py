"""Behaviour: what signals cost, who is believed, and that one more never helps."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authority.trust import (
    Circumstances,
    Origin,
    Presentation,
    PresentationKind,
    Signal,
    assess,
    conduct,
    default_policy,
    dominates,
)
from protocol.signals import Severity

POLICY = default_policy()
RULES = POLICY.behaviour
NOW = 1_700_000_000.0
DAY = 86400.0


def signal(origin: Origin = Origin.TAP, severity: Severity = Severity.HIGH, **changes: object) -> Signal:
    return replace(Signal(origin, "suricata", "port-scan", severity, 1000, NOW, NOW + 30 * DAY), **changes)


def value(*signals: Signal, at: float = NOW) -> int:
    return conduct(RULES, signals, at).value


def peers(*names: str, **changes: object) -> list[Signal]:
    return [signal(Origin.PEER, reporter=name, **changes) for name in names]


def test_nobody_complains() -> None:
    assert conduct(RULES, [], NOW) == conduct(RULES, [signal(at=NOW + 1)], NOW)
    assert value() == 1000


@pytest.mark.parametrize(("severity", "left"), [("low", 900), ("medium", 750), ("high", 500), ("critical", 0)])
def test_severity_and_confidence_say_what_it_costs(severity: str, left: int) -> None:
    assert value(signal(severity=Severity(severity))) == left
    assert value(signal(severity=Severity(severity), confidence=500)) == 1000 - (1000 - left) // 2


def test_it_recovers_by_halves_and_ends_with_its_time() -> None:
    one = signal()
    assert [value(one, at=NOW + days * DAY) for days in (0, 1, 2, 6)] == [500, 750, 875, 992]
    assert value(one, at=one.until) == 1000


def test_kinds_multiply_and_one_kind_counts_once() -> None:
    assert value(signal(), signal(kind="flood")) == 250
    assert value(signal(), signal(severity=Severity.LOW), signal(reporter="zeek")) == 500


def test_a_lone_peer_moves_nothing_whatever_it_says_and_however_often() -> None:
    lies = [signal(Origin.PEER, Severity.CRITICAL, reporter="liar", at=NOW - age) for age in range(100)]
    assert value(*lies) == 1000
    assert not conduct(RULES, lies, NOW).hostile
    assert value(replace(lies[0], origin=Origin.TAP)) == 0


def test_peers_count_as_the_least_of_a_quorum() -> None:
    assert value(*peers("a"), *peers("b")) == 500
    exaggerating = [*peers("a", severity=Severity.CRITICAL), *peers("b", severity=Severity.LOW)]
    assert value(*exaggerating) == 900
    assert value(*peers("a"), *peers("b", kind="flood")) == 1000
    strict = msgspec.structs.replace(RULES, peer_quorum=3)
    assert conduct(strict, peers("a", "b"), NOW).value == 1000
    assert conduct(strict, peers("a", "b", "c"), NOW).value == 500


def test_self_reports_lower_and_confirm_nothing() -> None:
    confessed = conduct(RULES, [signal(Origin.SELF, Severity.CRITICAL)], NOW)
    assert (confessed.value, confessed.hostile) == (0, False)


def test_hostility_is_confirmed_by_an_operator_or_a_sure_tap() -> None:
    by_operator = signal(Origin.OPERATOR, Severity.CRITICAL, until=float("inf"))
    assert conduct(RULES, [by_operator], NOW + 300 * DAY).hostile
    tap = signal(severity=Severity.CRITICAL, confidence=800)
    assert conduct(RULES, [tap], NOW).hostile
    assert not conduct(RULES, [replace(tap, confidence=799)], NOW).hostile
    assert not conduct(RULES, [signal()], NOW).hostile
    assert not conduct(msgspec.structs.replace(RULES, tap_confirms=False), [tap], NOW).hostile
    assert not conduct(RULES, peers("a", "b", "c", severity=Severity.CRITICAL), NOW).hostile


def test_the_explanation_names_the_kinds_and_the_cap() -> None:
    made = [Presentation(NOW - 60, PresentationKind.ACCEPTED, 1000, 1000)] * 20
    around = Circumstances(conduct=conduct(RULES, [signal(), signal(kind="flood", severity=Severity.LOW)], NOW))
    assert "behaviour (flood, port-scan) \u22120.06" in assess(POLICY, made, around, NOW).explanation
    hostile = Circumstances(conduct=conduct(RULES, [signal(severity=Severity.CRITICAL)], NOW))
    assessment = assess(POLICY, made, hostile, NOW)
    assert assessment.score == 500
    assert assessment.explanation.endswith("capped at 0.50: hostile behaviour was confirmed")


signals = st.builds(
    Signal,
    st.sampled_from(Origin),
    st.sampled_from("abcd"),
    st.sampled_from(["port-scan", "flood", "drops"]),
    st.sampled_from(Severity),
    st.integers(0, 1000),
    st.floats(NOW - 3 * DAY, NOW + DAY),
    st.floats(NOW - DAY, NOW + 3 * DAY),
)
crowds = st.lists(signals, max_size=12)


@given(crowds, signals)
def test_a_further_signal_never_raises_a_score(crowd: list[Signal], further: Signal) -> None:
    made = [Presentation(NOW - 60, PresentationKind.ACCEPTED, 1000, 1000)] * 5
    for at in (NOW, NOW + 0.5 * DAY):
        before, after = (conduct(RULES, each, at) for each in (crowd, [*crowd, further]))
        assert after.value <= before.value
        assert after.hostile >= before.hostile
        scores = [assess(POLICY, made, Circumstances(conduct=each), at).score for each in (before, after)]
        assert scores[1] <= scores[0]


@given(crowds, signals, signals, st.floats(0, 3 * DAY))
def test_what_is_dominated_can_be_forgotten(crowd: list[Signal], one: Signal, other: Signal, later: float) -> None:
    if dominates(one, other):
        kept = [*crowd, one]
        assert conduct(RULES, [*kept, other], max(NOW, one.at) + later) == conduct(
            RULES, kept, max(NOW, one.at) + later
        )


@given(crowds, st.floats(0, 3 * DAY), st.floats(0, 3 * DAY))
def test_time_alone_never_lowers_it(crowd: list[Signal], one: float, other: float) -> None:
    seen = [each for each in crowd if each.at <= NOW]
    first, second = sorted((one, other))
    assert conduct(RULES, seen, NOW + first).value <= conduct(RULES, seen, NOW + second).value


@given(crowds)
def test_only_as_many_distinct_peers_as_the_policy_wants_cost_anything(crowd: list[Signal]) -> None:
    lone = [replace(each, origin=Origin.PEER, reporter="liar") for each in crowd]
    assert conduct(RULES, lone, NOW) == conduct(RULES, [], NOW)
