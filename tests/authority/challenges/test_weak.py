"""Weak evidence at the authority: pinned at enrolment, counted where it adds something, capped, not to be hidden."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from sqlalchemy import select

from authority import consent, enrolling
from authority.store import schema
from authority.trust.policy import Caps, ChallengeRules, EnrolmentRules
from protocol.evidence import merkle_root
from protocol.messages import Outcome, SensorIdentity, Verdict
from protocol.problems import ErrorCode
from tests.authority.challenges.answers import activated, presentations, reasons
from tests.authority.nodes import Machine, Site, model, sensor

WEAK = "fingerprint-match"
ALLOWED = EnrolmentRules(modalities=("fingerprint", "face", "voice", WEAK))


def matcher(**changes: str) -> SensorIdentity:
    """A match-only reader as an agent reports it."""
    return sensor("fingerprint", driver="fprintd", **{"strength": "match-only", **changes})


SENSORS = {"fingerprint": sensor("fingerprint"), "face": sensor("face"), "voice": sensor("voice"), WEAK: matcher()}


@pytest.fixture(autouse=True)
def _policy(site: Site) -> None:
    site.policy = msgspec.structs.replace(site.policy, enrolment=ALLOWED)


def enrol(site: Site, node: Machine, *names: str, **pinned: SensorIdentity) -> None:
    """A profile with these modalities in place of the one that was there; `pinned` replaces sensors."""
    session = node.start_enrolment(site)
    sensors = [pinned.get(name.replace("-", "_"), SENSORS[name]) for name in names]
    finish = node.enrolment(session, modalities=[model(name) for name in names], sensors=sensors)
    site.run(enrolling.finish_enrolment, node.node_id, session.enrolment_id, finish)
    site.run(enrolling.approve, session.record_id, "operator")


def answer(site: Site, node: Machine, names: Sequence[str], **said: SensorIdentity) -> Verdict:
    """The verdict on evidence of these modalities; `said` replaces sensors."""
    activation = activated(site, node)
    leaves = [bytes([number]) * 32 for number in range(len(names))]
    claims = node.claims(
        activation,
        modalities=[model(name) for name in names],
        sensors=[said.get(name.replace("-", "_"), SENSORS[name]) for name in names],
        commitments=leaves,
        commitment=merkle_root(leaves),
    )
    return node.submit(site, activation.challenge_id, node.evidence(claims))


def weak_ones(site: Site) -> list[bool]:
    row = schema.presentation
    return site.read(lambda conn: [*conn.scalars(select(row.c.weak).order_by(row.c.seq))])


def test_evidence_that_needs_the_weak_modality_is_accepted_and_never_high(site: Site, enrolled: Machine):
    enrol(site, enrolled, "face", WEAK)
    verdicts = [answer(site, enrolled, ["face", WEAK]) for _ in range(6)]
    assert {verdict.outcome for verdict in verdicts} == {Outcome.ACCEPTED}
    assert [verdict.score for verdict in verdicts[-2:]] == [800, 800]
    assert (site.node(enrolled.node_id).tier, weak_ones(site)) == ("medium", [True] * 6)
    assert "only says yes or no" in verdicts[-1].explanation
    assert json.loads(site.audit("presentation")[-1].data)["weak"] is True


def test_the_same_evidence_of_a_strong_reader_is_high(site: Site, enrolled: Machine):
    """The negative control of the one above."""
    verdicts = [answer(site, enrolled, ["fingerprint", "face"]) for _ in range(6)]
    assert verdicts[-1].score > 800
    assert weak_ones(site) == [False] * 6


def test_a_weak_modality_beside_enough_strong_ones_costs_nothing(site: Site, enrolled: Machine):
    enrol(site, enrolled, "face", "voice", WEAK)
    assert [answer(site, enrolled, ["face", "voice", WEAK]).score for _ in range(4)][-1] > 800
    assert weak_ones(site) == [False] * 4


def test_a_strong_presentation_ends_the_cap_and_a_weak_one_begins_it_again(site: Site, enrolled: Machine):
    enrol(site, enrolled, "face", "voice", WEAK)
    scores = [answer(site, enrolled, ["face", "voice"]).score for _ in range(4)]
    assert scores[-1] > 800
    assert answer(site, enrolled, ["voice", WEAK]).score == 800
    assert answer(site, enrolled, ["face", "voice"]).score > 800


def test_the_weak_modality_alone_is_too_little(site: Site, enrolled: Machine):
    enrol(site, enrolled, "face", WEAK)
    assert answer(site, enrolled, [WEAK]).outcome is Outcome.REJECTED
    assert reasons(site) == ["too few modalities"]


def test_a_weak_finger_beside_a_strong_one_is_the_same_trait_twice(site: Site, enrolled: Machine):
    enrol(site, enrolled, "fingerprint", "face", WEAK)
    assert answer(site, enrolled, ["fingerprint", WEAK]).outcome is Outcome.REJECTED
    assert reasons(site) == ["too few modalities"]
    assert answer(site, enrolled, ["fingerprint", "face", WEAK]).outcome is Outcome.ACCEPTED


def test_it_counts_for_nothing_where_the_policy_does_not_name_it(site: Site, enrolled: Machine):
    enrol(site, enrolled, "face", WEAK)
    site.policy = msgspec.structs.replace(site.policy, enrolment=EnrolmentRules())
    assert answer(site, enrolled, ["face", WEAK]).outcome is Outcome.REJECTED
    assert reasons(site) == ["too few modalities"]
    session = enrolled.start_enrolment(site)
    finish = enrolled.enrolment(session, modalities=[model("face"), model(WEAK)], sensors=[sensor("face"), matcher()])
    refusal = site.refuses(enrolling.finish_enrolment, enrolled.node_id, session.enrolment_id, finish)
    assert refusal.code is ErrorCode.MALFORMED


def test_a_token_that_drops_the_weakness_is_refused(site: Site, enrolled: Machine):
    enrol(site, enrolled, "face", WEAK)
    stripped = msgspec.structs.replace(SENSORS[WEAK], strength=msgspec.UNSET)
    verdict = answer(site, enrolled, ["face", WEAK], fingerprint_match=stripped)
    assert verdict.outcome is Outcome.REJECTED
    assert reasons(site) == ["a sensor is not the one that was pinned at enrolment"]
    assert answer(site, enrolled, ["face", WEAK]).outcome is Outcome.ACCEPTED  # the same, unstripped


def test_a_token_that_names_the_weak_reader_as_the_strong_modality_is_refused(site: Site, enrolled: Machine):
    enrol(site, enrolled, "fingerprint", "face", WEAK)
    assert answer(site, enrolled, ["fingerprint", "face"], fingerprint=matcher()).outcome is Outcome.REJECTED
    assert reasons(site) == ["a sensor is not the one that was pinned at enrolment"]


def test_an_enrolment_that_hides_the_weakness_under_the_modality_s_name_gains_nothing(site: Site, enrolled: Machine):
    strong = msgspec.structs.replace(SENSORS[WEAK], strength=msgspec.UNSET)
    enrol(site, enrolled, "face", WEAK, fingerprint_match=strong)
    verdicts = [answer(site, enrolled, ["face", WEAK], fingerprint_match=strong) for _ in range(6)]
    assert verdicts[-1].score == 800
    assert weak_ones(site) == [True] * 6


def test_a_weak_reader_under_another_modality_s_name_is_weak_too(site: Site, enrolled: Machine):
    enrol(site, enrolled, "face", "fingerprint", fingerprint=matcher())
    assert [answer(site, enrolled, ["face", "fingerprint"], fingerprint=matcher()).score for _ in range(6)][-1] == 800


def test_a_failure_after_weak_evidence_leaves_the_cap(site: Site, enrolled: Machine):
    site.policy = msgspec.structs.replace(site.policy, caps=Caps(match_only=400, two_failures=400))
    enrol(site, enrolled, "face", "voice", WEAK)
    assert answer(site, enrolled, ["face", WEAK]).score == 400
    assert answer(site, enrolled, ["face"]).score <= 400
    assert presentations(site) == ["accepted", "failed"]
    assert answer(site, enrolled, ["face", "voice"]).score > 400


def test_more_modalities_that_the_policy_asks_for_make_the_weak_one_needed(site: Site, enrolled: Machine):
    enrol(site, enrolled, "face", "voice", WEAK)
    site.policy = msgspec.structs.replace(site.policy, challenge=ChallengeRules(min_modalities=3))
    assert answer(site, enrolled, ["face", "voice", WEAK]).outcome is Outcome.ACCEPTED
    assert weak_ones(site) == [True]


def test_consent_says_where_the_template_is_kept():
    usual = consent.consent_text(("fingerprint", "face"))
    assert "does not encrypt" not in usual
    assert consent.consent_text(ALLOWED.modalities).endswith(
        f"For {WEAK} the template is kept by the reader or its service on this machine instead, "
        "which Keyvigil does not encrypt."
    )
