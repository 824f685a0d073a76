"""The score: golden trajectories, gates and caps, and that raising an input never lowers it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authority.trust import (
    Circumstances,
    Conduct,
    Origin,
    Presentation,
    PresentationKind,
    Signal,
    assess,
    conduct,
    default_policy,
    is_too_fast,
    quality_value,
    speed_value,
    tier_of,
)
from authority.trust.behaviour_rules import Worth, WorthRules
from authority.trust.policy import AttendedHours, Caps, EnclaveRules
from protocol.levels import Tier
from protocol.signals import Severity

POLICY = default_policy()
MIXED = msgspec.structs.replace(POLICY, enclaves=EnclaveRules(allowed=("tpm2", "pkcs11", "software")))
"""The default policy of a site that also lets capped enclaves in."""
STEP_S = 12 * 3600.0
GOOD = ("accepted", 1000, 1000)
FAIR = ("accepted", 800, 750)
SLOW_AND_POOR = ("accepted", 0, 0)
FAILED = ("failed", 0, 0)
MISSED = ("missed", 0, 0)
NOTHING_SPECIAL = Circumstances()
Entry = tuple[str, int, int]


def history(*entries: Entry) -> list[Presentation]:
    return [
        Presentation(index * STEP_S, PresentationKind(kind), speed, quality)
        for index, (kind, speed, quality) in enumerate(entries)
    ]


def score(*entries: Entry, circumstances: Circumstances = NOTHING_SPECIAL) -> int:
    made = history(*entries)
    return assess(POLICY, made, circumstances, made[-1].at if made else 0.0).score


def trajectory(*entries: Entry) -> list[int]:
    return [score(*entries[: count + 1]) for count in range(len(entries))]


GOLDEN = {
    "fresh node, all well": ([GOOD] * 6, [775, 834, 861, 875, 884, 889]),
    "fresh node, fair answers": ([FAIR] * 6, [735, 784, 806, 818, 825, 830]),
    "one impostor, then the right person": (
        [GOOD] * 4 + [FAILED] + [GOOD] * 4,
        [775, 834, 861, 875, 652, 730, 782, 817, 842],
    ),
    "two impostors in a row": ([GOOD] * 4 + [FAILED] * 2, [775, 834, 861, 875, 652, 500]),
    "an impostor at a fresh node": ([GOOD, FAILED], [775, 503]),
    "missed summonses": ([GOOD] * 4 + [MISSED] * 4, [775, 834, 861, 875, 697, 584, 508, 457]),
    "slow and poor from the first day": ([SLOW_AND_POOR] * 6, [600, 613, 619, 622, 624, 625]),
    "slow and poor after good ones": ([GOOD] * 4 + [SLOW_AND_POOR] * 4, [775, 834, 861, 875, 794, 742, 707, 684]),
    "recovery from three failures": (
        [GOOD] * 4 + [FAILED] * 3 + [GOOD] * 6,
        [775, 834, 861, 875, 652, 500, 415, 559, 659, 728, 778, 813, 838],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_trajectory(name: str) -> None:
    entries, expected = GOLDEN[name]
    assert trajectory(*entries) == expected


def signalled(*signals: tuple[float, Severity, Origin], days: int = 6) -> list[int]:
    """Scores at noon and midnight of a well-behaved node about which these signals come, each good for ten days."""
    known = [
        Signal(origin, "source", "port-scan", severity, 1000, at, at + 10 * 86400) for at, severity, origin in signals
    ]
    made, scores = history(*[GOOD] * (2 * days + 20)), []
    for index in range(20, len(made)):
        now = made[index].at
        around = Circumstances(conduct=conduct(POLICY.behaviour, known, now))
        scores.append(assess(POLICY, made[: index + 1], around, now).score)
    return scores


NOON = 20 * STEP_S
SIGNALLED = {
    "nothing is reported": ([], [901] * 12),
    "a tap reports a scan": (
        [(NOON, Severity.HIGH, Origin.TAP)],
        [851, 866, 876, 884, 889, 892, 895, 897, 898, 899, 900, 900],
    ),
    "the node accuses itself": (
        [(NOON, Severity.MEDIUM, Origin.SELF)],
        [876, 884, 889, 892, 895, 897, 898, 899, 900, 900, 901, 901],
    ),
    "one neighbour accuses it": ([(NOON, Severity.CRITICAL, Origin.PEER)], [901] * 12),
    "a tap is sure of an attack": ([(NOON + 2 * STEP_S, Severity.CRITICAL, Origin.TAP)], [901] * 2 + [500] * 10),
    "an operator confirms it": ([(NOON + STEP_S, Severity.CRITICAL, Origin.OPERATOR)], [901] + [500] * 11),
}


@pytest.mark.parametrize("name", SIGNALLED)
def test_golden_trajectory_with_signals(name: str) -> None:
    signals, expected = SIGNALLED[name]
    assert signalled(*signals) == expected


DLIB, LEADER, VOICE = "dlib-resnet-v1-onnx/sha256:00", "leader/00", "campplus-192/sha256:00"


@pytest.mark.parametrize(
    ("models", "limit"),
    [
        ((DLIB, LEADER), 800),
        ((DLIB,), 800),
        ((LEADER, "mindtct/5"), 800),
        ((DLIB, VOICE), 1000),
        ((LEADER, VOICE), 1000),
        (("a-site-s-own", LEADER), 1000),
        ((), 1000),
    ],
)
def test_a_default_face_with_released_modalities_is_capped(models: tuple[str, ...], limit: int) -> None:
    made = history(*[GOOD] * 20)
    free = assess(POLICY, made, Circumstances(), made[-1].at)
    assert free.score > 800
    by_models = [*made[:-1], replace(made[-1], models=models)]
    capped = assess(POLICY, by_models, Circumstances(), made[-1].at)
    assert capped.score == min(limit, free.score)
    assert ("worth full trust" in capped.explanation) == (limit == 800)


def test_the_next_full_model_ends_the_cap_of_a_default_face_and_a_failure_does_not() -> None:
    made = history(*[GOOD] * 20)
    now = made[-1].at
    limited, full = replace(made[-2], models=(DLIB, LEADER)), replace(made[-1], models=(DLIB, VOICE))
    assert assess(POLICY, [*made[:-2], limited, full], Circumstances(), now).score > 800
    policy = msgspec.structs.replace(POLICY, caps=Caps(default_face=300))
    missed = replace(made[-1], kind=PresentationKind.MISSED)
    assert assess(policy, [*made[:-2], limited, missed], Circumstances(), now).score == 300


def test_a_site_says_what_a_model_is_worth() -> None:
    rules = WorthRules(models={"dlib-": Worth.FULL, "dlib-resnet-v2": Worth.RELEASED})
    assert [rules.of(name) for name in (DLIB, "dlib-resnet-v2/x", "other")] == [Worth.FULL, Worth.RELEASED, Worth.FULL]
    made = history(*[GOOD] * 20)
    made[-1] = replace(made[-1], models=(DLIB, LEADER))
    policy = msgspec.structs.replace(POLICY, worth=rules)
    assert assess(policy, made, Circumstances(), made[-1].at).score > 800


def test_an_unattended_night_costs_nothing_and_an_attended_one_does() -> None:
    made = history(*[GOOD] * 6)
    end, later = made[-1].at, made[-1].at + 3 * 86400
    day = dt.datetime.fromtimestamp(end, dt.UTC)
    until = {day.strftime("%a").lower(): (f"00:00-{day.hour:02d}:{day.minute:02d}",)}
    closed = msgspec.structs.replace(POLICY, attended=AttendedHours(time_zone="UTC", **until))
    assert assess(closed, made, Circumstances(), later) == assess(closed, made, Circumstances(), end)
    assert assess(POLICY, made, Circumstances(), later).score < assess(POLICY, made, Circumstances(), end).score


def test_a_node_without_presentations_is_low() -> None:
    assessment = assess(POLICY, [], Circumstances(), 0.0)
    assert tier_of(assessment.score) is Tier.LOW
    assert "no accepted presentation yet" in assessment.explanation


@pytest.mark.parametrize("before", range(8))
def test_one_impostor_leaves_medium_at_most_and_two_leave_low(before: int) -> None:
    assert score(*[GOOD] * before, FAILED) <= 800
    assert score(*[GOOD] * before, FAILED, FAILED) <= 500


def test_a_missed_summons_does_not_wash_a_failure_away() -> None:
    assert score(*[GOOD] * 6, FAILED, MISSED, FAILED) <= 500


def test_quality_and_speed_never_rescue_a_failure() -> None:
    assert score(GOOD, ("failed", 1000, 1000)) == score(GOOD, FAILED)


@pytest.mark.parametrize(
    ("circumstances", "limit"),
    [
        (Circumstances(attestation_failed=True), 0),
        (Circumstances(recovering=True), 500),
        (Circumstances(attestation_overdue=True), 800),
    ],
)
def test_circumstances_cap_a_perfect_history(circumstances: Circumstances, limit: int) -> None:
    assert score(*[GOOD] * 20) > 800
    assert score(*[GOOD] * 20, circumstances=circumstances) == limit


@pytest.mark.parametrize(("kind", "limit"), [("software", 800), ("pkcs11", 700), ("tpm2", 1000), ("unheard-of", 0)])
def test_the_kind_of_enclave_caps_a_perfect_history(kind: str, limit: int) -> None:
    policy = msgspec.structs.replace(MIXED, caps=Caps(pkcs11_enclave=700))
    made = history(*[GOOD] * 20)
    free = assess(policy, made, Circumstances(), made[-1].at).score
    assert free > 800
    assert assess(policy, made, Circumstances(enclave=kind), made[-1].at).score == min(limit, free)


def test_a_tpm_without_the_authority_as_owner_is_capped_below_high() -> None:
    made = history(*[GOOD] * 20)
    owned, unowned = (assess(POLICY, made, Circumstances(owned=owned), made[-1].at) for owned in (True, False))
    assert owned.score > 800 and unowned.score == 800
    assert "a TPM whose owner the authority is not" in unowned.explanation
    free = assess(MIXED, made, Circumstances(enclave="software", owned=True), made[-1].at)
    assert assess(MIXED, made, Circumstances(enclave="software", owned=False), made[-1].at) == free


@pytest.mark.parametrize("kind", ["software", "pkcs11"])
def test_a_kind_that_the_policy_does_not_allow_is_worth_nothing(kind: str) -> None:
    made = history(*[GOOD] * 20)
    assessment = assess(POLICY, made, Circumstances(enclave=kind), made[-1].at)
    assert assessment.score == 0
    assert assessment.explanation.endswith(f"capped at 0.00: {kind} enclave, a kind that the policy does not allow")


def weakened(made: list[Presentation], *indices: int) -> list[Presentation]:
    """The same history, these presentations accepted by weak evidence."""
    chosen = {index % len(made) for index in indices}
    return [replace(each, weak=index in chosen) for index, each in enumerate(made)]


@pytest.mark.parametrize("count", range(1, 21))
def test_weak_evidence_never_reaches_the_high_tier(count: int) -> None:
    made = history(*[GOOD] * count)
    assessment = assess(POLICY, weakened(made, *range(count)), Circumstances(), made[-1].at)
    assert tier_of(assessment.score) is Tier.MEDIUM
    assert assessment.score == min(800, assess(POLICY, made, Circumstances(), made[-1].at).score)


def test_the_newest_acceptance_decides_whether_evidence_was_weak() -> None:
    made = history(*[GOOD] * 10)
    now = made[-1].at
    assert assess(POLICY, weakened(made, -1), Circumstances(), now).score == 800
    free = assess(POLICY, weakened(made, -2), Circumstances(), now)
    assert free == assess(POLICY, made, Circumstances(), now)
    assert free.score > 800


@pytest.mark.parametrize("after", [MISSED, FAILED])
def test_what_was_not_accepted_does_not_end_the_cap_of_weak_evidence(after: Entry) -> None:
    """A policy under which the history alone would still be worth more than the cap."""
    policy = msgspec.structs.replace(POLICY, caps=Caps(match_only=300, two_failures=300))
    made = history(*[GOOD] * 20, after)
    assert assess(policy, made, Circumstances(), made[-1].at).score > 300
    assert assess(policy, weakened(made, -2), Circumstances(), made[-1].at).score == 300


def test_the_cap_of_weak_evidence_is_the_policy_s_and_explained() -> None:
    policy = msgspec.structs.replace(POLICY, caps=Caps(match_only=600))
    made = weakened(history(*[GOOD] * 6), -1)
    text = assess(policy, made, Circumstances(), made[-1].at).explanation
    assert text.startswith("0.60: ")
    assert text.endswith("capped at 0.60: the last accepted presentation needed a reader that only says yes or no")


@pytest.mark.parametrize(("days", "tier"), [(1.9, Tier.HIGH), (2.1, Tier.MEDIUM), (3.9, Tier.MEDIUM), (4.1, Tier.LOW)])
def test_an_idle_clock_never_keeps_a_node_trusted(days: float, tier: Tier) -> None:
    made = history(*[GOOD] * 20)
    assert tier_of(assess(POLICY, made, Circumstances(), made[-1].at + days * 86400).score) is tier


def test_the_explanation_names_what_it_cost() -> None:
    made = history(GOOD, GOOD, GOOD, ("accepted", 200, 1000), MISSED)
    text = assess(POLICY, made, Circumstances(), made[-1].at).explanation
    assert text == "0.67: short history \u22120.12, speed \u22120.03, missed challenge \u22120.19"


def test_the_explanation_names_the_cap_that_binds() -> None:
    made = history(*[GOOD] * 6)
    capped = assess(MIXED, made, Circumstances(enclave="software"), made[-1].at).explanation
    assert capped.startswith("0.80: ")
    assert capped.endswith("capped at 0.80: software enclave, which attests to nothing")
    assert "capped" not in assess(POLICY, made, Circumstances(), made[-1].at).explanation


def test_speed_falls_from_the_norm_to_the_deadline() -> None:
    norm = POLICY.speed.fingerprint_s + POLICY.speed.face_s
    times = [0.0, norm, (norm + 60) / 2, 60, 90]
    assert [speed_value(POLICY, each, ["fingerprint", "face"]) for each in times] == [1000, 1000, 500, 0, 0]


def test_speed_where_the_norm_is_beyond_the_deadline() -> None:
    assert speed_value(POLICY, 59, ["voice"] * 6) == 1000


def test_too_fast_to_be_true() -> None:
    assert is_too_fast(POLICY, 1.9)
    assert not is_too_fast(POLICY, 2.0)


def test_quality_buckets() -> None:
    assert [quality_value(bucket) for bucket in range(5)] == [0, 250, 500, 750, 1000]
    with pytest.raises(ValueError, match="bucket"):
        quality_value(5)


kinds = st.sampled_from(PresentationKind)
thousandths = st.integers(0, 1000)
presentations = st.lists(
    st.builds(Presentation, st.floats(0, 30 * 86400), kinds, thousandths, thousandths), min_size=1, max_size=70
).map(lambda made: sorted(made, key=lambda each: each.at))
circumstances = st.builds(
    Circumstances,
    attestation_failed=st.booleans(),
    attestation_overdue=st.booleans(),
    enclave=st.sampled_from(["tpm2", "pkcs11", "software", "unheard-of"]),
    recovering=st.booleans(),
    conduct=st.builds(Conduct, value=thousandths, hostile=st.booleans()),
)
RANK = {PresentationKind.FAILED: 0, PresentationKind.MISSED: 1, PresentationKind.ACCEPTED: 2}


@given(presentations, circumstances, st.data())
def test_raising_any_presentation_never_lowers_the_score(
    made: list[Presentation], around: Circumstances, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(made) - 1))
    old = made[index]
    better = replace(
        old,
        kind=data.draw(st.sampled_from([kind for kind in RANK if RANK[kind] >= RANK[old.kind]])),
        speed=data.draw(st.integers(old.speed, 1000)),
        quality=data.draw(st.integers(old.quality, 1000)),
    )
    now = 30 * 86400.0
    raised = [*made[:index], better, *made[index + 1 :]]
    assert assess(POLICY, raised, around, now).score >= assess(POLICY, made, around, now).score


@given(
    presentations,
    circumstances,
    st.sampled_from(["attestation_failed", "attestation_overdue", "recovering"]),
)
def test_clearing_a_circumstance_never_lowers_the_score(
    made: list[Presentation], around: Circumstances, name: str
) -> None:
    now = 30 * 86400.0
    worse, better = replace(around, **{name: True}), replace(around, **{name: False})
    assert assess(POLICY, made, better, now).score >= assess(POLICY, made, worse, now).score


@given(presentations, circumstances, st.data())
def test_stronger_evidence_never_lowers_the_score(
    made: list[Presentation], around: Circumstances, data: st.DataObject
) -> None:
    now = 30 * 86400.0
    weak = weakened(made, *data.draw(st.lists(st.integers(0, len(made) - 1))))
    fewer = [replace(each, weak=each.weak and data.draw(st.booleans())) for each in weak]
    assert assess(POLICY, fewer, around, now).score >= assess(POLICY, weak, around, now).score


@given(presentations, circumstances)
def test_no_kind_of_enclave_is_worth_more_than_a_tpm(made: list[Presentation], around: Circumstances) -> None:
    now = 30 * 86400.0
    tpm = assess(MIXED, made, replace(around, enclave="tpm2"), now).score
    assert assess(MIXED, made, around, now).score <= tpm


@given(presentations, circumstances, thousandths, thousandths)
def test_better_behaviour_never_lowers_the_score(
    made: list[Presentation], around: Circumstances, one: int, other: int
) -> None:
    low, high = sorted((one, other))
    now = 30 * 86400.0
    worse = assess(POLICY, made, replace(around, conduct=replace(around.conduct, value=low)), now).score
    assert assess(POLICY, made, replace(around, conduct=replace(around.conduct, value=high)), now).score >= worse


@given(presentations, circumstances)
def test_the_score_is_in_range_and_explained(made: list[Presentation], around: Circumstances) -> None:
    assessment = assess(POLICY, made, around, 30 * 86400.0)
    assert 0 <= assessment.score <= 1000
    assert assessment.explanation.startswith(f"{assessment.score / 1000:.2f}: ")


@given(st.integers(1, 80))
def test_slow_and_poor_answers_alone_are_medium(count: int) -> None:
    assert tier_of(score(*[SLOW_AND_POOR] * count)) is Tier.MEDIUM


@given(presentations, circumstances, st.data())
def test_a_better_model_never_lowers_the_score(
    made: list[Presentation], around: Circumstances, data: st.DataObject
) -> None:
    limited = [replace(each, models=(DLIB, LEADER)) for each in made]
    index, now = data.draw(st.integers(0, len(made) - 1)), 30 * 86400.0
    better = [*limited[:index], replace(limited[index], models=(DLIB, VOICE)), *limited[index + 1 :]]
    assert assess(POLICY, better, around, now).score >= assess(POLICY, limited, around, now).score
