"""A challenge is decided once, in time, for the node and the person that began it."""

from __future__ import annotations

import msgspec
from sqlalchemy import func, select

from authority import challenges, enrolling, joining, scheduler, standing
from authority.store import schema
from protocol.digests import evidence_digest
from protocol.messages import (
    Activation,
    CertifiedPublic,
    NvEvidence,
    Outcome,
)
from protocol.problems import ErrorCode
from tests.authority.challenges.answers import (
    activated,
    challenge,
    presentations,
    reasons,
    refusal,
)
from tests.authority.nodes import Machine, Site


def test_identical_evidence_gives_the_identical_verdict(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    first = enrolled.submit(site, activation.challenge_id, evidence)
    rows = site.read(lambda conn: conn.scalar(select(func.count(schema.audit.c.seq))))
    site.clock += 3600
    again, pushes = site.run(
        challenges.submit_evidence, enrolled.node_id, enrolled.certificate, activation.challenge_id, evidence
    )
    assert (again, pushes) == (first, [])
    assert presentations(site) == ["accepted"]
    assert site.read(lambda conn: conn.scalar(select(func.count(schema.audit.c.seq)))) == rows


def test_a_rejection_is_repeated_too(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation, iss="0" * 64))
    first = enrolled.submit(site, activation.challenge_id, evidence)
    assert enrolled.submit(site, activation.challenge_id, evidence) == first
    assert presentations(site) == ["failed"]
    assert site.profile(enrolled.record_id).failures_in_row == 1


def test_nothing_beside_the_token_is_exchanged_under_a_verdict(site: Site, enrolled: Machine):
    """The share's number decides which share is destroyed, and the certifications which agent ran."""
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation), share=2)
    first = enrolled.submit(site, activation.challenge_id, evidence)
    assert enrolled.submit(site, activation.challenge_id, evidence) == first
    certified = CertifiedPublic(public=b"", attest=b"", signature=b"")
    nv = NvEvidence(counter=certified, measurement=certified, measured=[])
    for changes in ({"share": 3}, {"share": msgspec.UNSET}, {"nv": nv}):
        other = msgspec.structs.replace(evidence, **changes)
        assert refusal(site, enrolled, activation.challenge_id, other) is ErrorCode.REPLAYED, changes


def test_a_decided_challenge_takes_no_other_answer(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    enrolled.submit(site, activation.challenge_id, evidence)
    others = [
        enrolled.evidence(enrolled.claims(activation)),
        msgspec.structs.replace(evidence, quote=enrolled.quote(evidence_digest(evidence.token))),
        msgspec.structs.replace(evidence, token=evidence.token + "A"),
    ]
    codes = {refusal(site, enrolled, activation.challenge_id, other) for other in others}
    report = challenges.report_failure, enrolled.node_id, activation.challenge_id, enrolled.failure(activation)
    codes.add(site.refuses(*report).code)
    assert codes == {ErrorCode.REPLAYED}
    assert len(site.audit("replay-refused")) == 4
    assert presentations(site) == ["accepted"]


def test_a_failed_challenge_takes_no_better_answer(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    site.run(challenges.report_failure, enrolled.node_id, activation.challenge_id, enrolled.failure(activation))
    good = enrolled.evidence(enrolled.claims(activation))
    assert refusal(site, enrolled, activation.challenge_id, good) is ErrorCode.REPLAYED
    assert presentations(site) == ["failed"]


def test_evidence_of_one_challenge_does_not_answer_the_next(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    assert enrolled.submit(site, activation.challenge_id, evidence).outcome is Outcome.ACCEPTED
    following = activated(site, enrolled)
    assert enrolled.submit(site, following.challenge_id, evidence).outcome is Outcome.REJECTED
    assert presentations(site) == ["accepted", "failed"]


def test_evidence_after_the_deadline_is_late_before_and_after_the_sweep(site: Site, enrolled: Machine):
    activation = enrolled.begin(site, site.summon(enrolled.node_id))
    evidence = enrolled.evidence(enrolled.claims(activation))
    for _ in range(3):
        site.run(scheduler.sweep)  # before the clock moves: a longer silence would be an outage of ours
        site.clock += site.policy.challenge.activation_s / 3
    assert refusal(site, enrolled, activation.challenge_id, evidence) is ErrorCode.NONCE_EXPIRED
    site.run(scheduler.sweep)
    assert challenge(site, activation.challenge_id).state == "failed"
    assert refusal(site, enrolled, activation.challenge_id, evidence) is ErrorCode.NONCE_EXPIRED
    assert presentations(site) == ["failed"]
    assert len(site.audit("late-evidence")) == 2


def test_evidence_in_the_last_second_is_in_time(site: Site, enrolled: Machine):
    activation = activated(site, enrolled, site.policy.challenge.activation_s - 0.5)
    verdict = enrolled.submit(site, activation.challenge_id, enrolled.evidence(enrolled.claims(activation)))
    assert verdict.outcome is Outcome.ACCEPTED


def test_nothing_answers_a_challenge_that_nobody_began(site: Site, enrolled: Machine):
    challenge_id = site.summon(enrolled.node_id)
    made_up = Activation(
        challenge_id=challenge_id,
        record_id=enrolled.record_id,
        nonce=bytes(32),
        digits="",
        gestures=[],
        sealed_share=b"",
        deadline_s=60,
        pcr_selection=[],
    )
    evidence = enrolled.evidence(enrolled.claims(made_up))
    assert refusal(site, enrolled, challenge_id, evidence) is ErrorCode.CHALLENGE_CLOSED
    report = challenges.report_failure, enrolled.node_id, challenge_id, enrolled.failure(made_up)
    assert site.refuses(*report).code is ErrorCode.CHALLENGE_CLOSED
    assert challenge(site, challenge_id).state == "summoned"


def test_another_node_cannot_answer(site: Site, enrolled: Machine, other: Machine):
    other.join(site)
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    assert refusal(site, other, activation.challenge_id, evidence) is ErrorCode.NOT_FOUND
    assert enrolled.submit(site, activation.challenge_id, evidence).outcome is Outcome.ACCEPTED


def test_evidence_over_another_certificate_is_rejected(site: Site, enrolled: Machine):
    """A stolen token does not answer over the thief's connection."""
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    enrolled.certificate = "0" * 64
    assert enrolled.submit(site, activation.challenge_id, evidence).outcome is Outcome.REJECTED


def test_a_certificate_renewed_in_between_counts(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    enrolled.keep(site.run(joining.renew, site.ca, enrolled.renewal(site)).certificate)
    verdict = enrolled.submit(site, activation.challenge_id, enrolled.evidence(enrolled.claims(activation)))
    assert verdict.outcome is Outcome.ACCEPTED


def test_a_profile_revoked_in_between_is_not_accepted(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    site.run(enrolling.revoke_profile, enrolled.record_id, "operator")
    assert enrolled.submit(site, activation.challenge_id, evidence).outcome is Outcome.REJECTED
    assert reasons(site) == ["the profile was revoked meanwhile"]


def test_a_node_banned_in_between_is_not_accepted(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    site.run(standing.ban, enrolled.node_id, "operator", "stolen")
    assert refusal(site, enrolled, activation.challenge_id, evidence) is ErrorCode.CHALLENGE_CLOSED
