"""Evidence: right claims are accepted, and the score rises; a claim swapped for another is not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from sqlalchemy import select

from authority import audit, challenges, enrolling
from authority.store import schema
from authority.trust.policy import EnrolmentRules
from protocol.codec import b64url
from protocol.evidence import merkle_root
from protocol.levels import Tier
from protocol.messages import (
    Outcome,
    StatusEvent,
)
from tests.authority.challenges.answers import (
    activated,
    answered,
    presentations,
    reasons,
)
from tests.authority.nodes import MODALITIES, Machine, Site, model, sensor


def test_right_evidence_is_accepted_and_the_score_rises(site: Site, enrolled: Machine):
    scores = [site.node(enrolled.node_id).score]
    for _ in range(3):
        assert answered(site, enrolled) is Outcome.ACCEPTED
        scores.append(site.node(enrolled.node_id).score)
    assert scores == sorted(set(scores)) and scores[-1] > 800
    node = site.node(enrolled.node_id)
    assert (node.state, node.tier) == ("active", "high")
    assert presentations(site) == ["accepted"] * 3
    assert site.profile(enrolled.record_id).counter == 3
    assert site.read(audit.verify_log).intact


def test_the_verdict_tells_score_tier_and_why(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    verdict, pushes = site.run(
        challenges.submit_evidence, enrolled.node_id, enrolled.certificate, activation.challenge_id, evidence
    )
    node = site.node(enrolled.node_id)
    assert (verdict.outcome, verdict.score, verdict.explanation) == (Outcome.ACCEPTED, node.score, node.explanation)
    assert verdict.tier is Tier(node.tier)
    told = [event for node_id, event in pushes if node_id == enrolled.node_id and isinstance(event, StatusEvent)]
    assert [event.score for event in told] == [node.score]


def test_slow_and_poor_answers_are_worth_less(site: Site, enrolled: Machine):
    activation = activated(site, enrolled, elapsed_s=50)
    slow = enrolled.submit(site, activation.challenge_id, enrolled.evidence(enrolled.claims(activation, quality=1)))
    row = schema.presentation
    kept = site.read(lambda conn: conn.execute(select(row.c.speed, row.c.quality)).one())
    assert slow.outcome is Outcome.ACCEPTED
    assert kept.speed < 500 and kept.quality == 250


SWAPS: dict[str, dict[str, Any]] = {
    "another node": {"iss": "0" * 64},
    "another nonce": {"eat_nonce": b64url(bytes(32))},
    "another challenge": {"challenge": "0" * 32},
    "another record": {"record": "0" * 32},
    "another certificate": {"certificate": "0" * 64},
    "no certificate": {"certificate": ""},
    "counter stands still": {"counter": 0},
    "counter far too large": {"counter": 2**53 + 1},
    "counter beyond the database": {"counter": 2**64},
    "another model": {"modalities": [model("fingerprint", model="another"), model("face")]},
    "other parameters": {"modalities": [model("fingerprint", parameters="0"), model("face")]},
    "a modality not enrolled": {"modalities": [model("iris"), model("face")]},
    "one modality": {
        "modalities": [model("face")],
        "sensors": [sensor("face")],
        "commitments": [bytes(32)],
        "commitment": merkle_root([bytes(32)]),
    },
    "one modality twice": {"modalities": [model("face"), model("face")]},
    "another sensor": {"sensors": [sensor("fingerprint", serial="another"), sensor("face")]},
    "a sensor in another port": {"sensors": [sensor("fingerprint", port="9"), sensor("face")]},
    "another driver": {"sensors": [sensor("fingerprint", driver_sha256="ff"), sensor("face")]},
    "one sensor for two modalities": {"sensors": [sensor("face"), sensor("face")]},
    "sensors exchanged": {"sensors": [sensor("face"), sensor("fingerprint")]},
    "a sensor too many": {"sensors": [sensor(name) for name in MODALITIES]},
    "no sensors": {"sensors": []},
    "another profile of the token": {"eat_profile": "tag:example,2026:evidence/1"},
    "commitments that do not hash to their root": {"commitment": bytes(32)},
    "a bucket out of range": {"quality": 5},
    "a negative bucket": {"margin": -1},
}


@pytest.mark.parametrize("swap", SWAPS)
def test_evidence_with_one_claim_swapped_is_rejected(site: Site, enrolled: Machine, swap: str):
    activation = activated(site, enrolled)
    claims = enrolled.claims(activation, **SWAPS[swap])
    verdict = enrolled.submit(site, activation.challenge_id, enrolled.evidence(claims))
    assert (verdict.outcome, verdict.reason) == (Outcome.REJECTED, "evidence refused")
    assert presentations(site) == ["failed"]
    assert "evidence-refused" in site.alerts() and len(reasons(site)) == 1
    assert site.profile(enrolled.record_id).failures_in_row == 1
    assert not site.node(enrolled.node_id).attestation_failed
    assert answered(site, enrolled) is Outcome.ACCEPTED  # the same, unswapped


def test_a_modality_that_the_policy_ceased_to_accept_counts_for_nothing(site: Site, enrolled: Machine):
    rules = EnrolmentRules(modalities=("face", "voice"))
    usual, site.policy = site.policy, msgspec.structs.replace(site.policy, enrolment=rules)
    assert answered(site, enrolled) is Outcome.REJECTED  # it carries fingerprint and face
    assert reasons(site) == ["too few modalities"]
    site.policy = usual
    assert answered(site, enrolled) is Outcome.ACCEPTED


def test_a_modality_without_a_trait_that_the_policy_demands_counts_for_nothing(site: Site, enrolled: Machine):
    usual = site.policy
    two = EnrolmentRules(require={"fingerprint": ("two-fingers",)})
    site.policy = msgspec.structs.replace(usual, enrolment=two)
    assert answered(site, enrolled) is Outcome.REJECTED  # it carries fingerprint and face
    assert reasons(site) == ["too few modalities"]
    unheard = EnrolmentRules(require={"voice": ("two-languages",)})
    site.policy = msgspec.structs.replace(usual, enrolment=unheard)
    assert answered(site, enrolled) is Outcome.ACCEPTED


def test_a_still_face_of_before_counts_for_nothing_once_the_policy_is_the_default(site: Site, enrolled: Machine):
    usual = site.policy
    site.policy = msgspec.structs.replace(usual, enrolment=EnrolmentRules(require={}))
    session = enrolled.start_enrolment(site)
    still = [model("fingerprint"), model("face", traits=UNSET)]
    request = enrolled.enrolment(session, modalities=still, sensors=[sensor("fingerprint"), sensor("face")])
    site.run(enrolling.finish_enrolment, enrolled.node_id, session.enrolment_id, request)
    site.run(enrolling.approve, session.record_id, "operator")
    assert answered(site, enrolled, modalities=still) is Outcome.ACCEPTED
    site.policy = usual
    assert answered(site, enrolled, modalities=still) is Outcome.REJECTED
    assert reasons(site) == ["too few modalities"]


def test_the_counter_grows_over_challenges(site: Site, enrolled: Machine):
    assert answered(site, enrolled) is Outcome.ACCEPTED
    enrolled.counter -= 1
    assert answered(site, enrolled) is Outcome.REJECTED
    assert reasons(site) == ["the token's counter did not grow"]
    assert answered(site, enrolled) is Outcome.ACCEPTED


@pytest.mark.parametrize(("elapsed_s", "outcome"), [(1.9, Outcome.REJECTED), (2.0, Outcome.ACCEPTED)])
def test_an_answer_too_fast_for_a_person_is_rejected(site: Site, enrolled: Machine, elapsed_s: float, outcome: Outcome):
    activation = activated(site, enrolled, elapsed_s)
    verdict = enrolled.submit(site, activation.challenge_id, enrolled.evidence(enrolled.claims(activation)))
    assert verdict.outcome is outcome
