"""Machine attestation: it keeps or lowers trust, and never raises it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update

from authority import challenges, scheduler
from authority.store import schema
from protocol.digests import attest_digest
from protocol.messages import (
    AttestRequest,
    AttestSubmission,
    Outcome,
    StatusEvent,
)
from protocol.problems import ErrorCode
from tests.authority.challenges.answers import (
    answered,
    presentations,
)
from tests.authority.nodes import Machine, Site


def attestation_request(site: Site, node: Machine) -> AttestRequest:
    """The request that a sweep pushed to the node."""
    site.read(lambda conn: conn.execute(update(schema.schedule).values(next_attest_at=0.0)))
    pushes = site.run(scheduler.sweep)
    return next(event for node_id, event in pushes if node_id == node.node_id and isinstance(event, AttestRequest))


def attest(node: Machine, submission: AttestSubmission) -> tuple[Any, ...]:
    return challenges.attest, node.node_id, submission


def test_a_machine_attests(site: Site, enrolled: Machine):
    request = attestation_request(site, enrolled)
    site.clock += 1
    result, _ = site.run(*attest(enrolled, enrolled.attestation(request.nonce)))
    assert result.outcome is Outcome.ACCEPTED
    assert site.node(enrolled.node_id).last_attested_at == site.clock
    assert presentations(site) == []  # it never raises a score


def test_an_attestation_is_fresh_or_none(site: Site, enrolled: Machine, other: Machine):
    other.join(site)
    request, foreign = attestation_request(site, enrolled), attestation_request(site, other)
    site.run(*attest(enrolled, enrolled.attestation(request.nonce)))
    renewal = enrolled.renewal(site).nonce
    late = attestation_request(site, enrolled)
    site.clock += site.policy.attestation.answer_s
    for nonce in (request.nonce, foreign.nonce, renewal, late.nonce, bytes(32), b""):
        assert site.refuses(*attest(enrolled, enrolled.attestation(nonce))).code is ErrorCode.NONCE_EXPIRED
    assert len(site.audit("attestation-refused")) == 6
    assert not site.node(enrolled.node_id).attestation_failed


def test_a_failed_attestation_takes_the_score_away_at_once(site: Site, enrolled: Machine, other: Machine):
    for _ in range(3):
        answered(site, enrolled)
    nonce = attestation_request(site, enrolled).nonce
    foreign = AttestSubmission(nonce=nonce, quote=other.quote(attest_digest(enrolled.node_id, nonce)))
    result, pushes = site.run(*attest(enrolled, foreign))
    assert (result.outcome, result.reason) == (Outcome.REJECTED, "attestation refused")
    assert site.node(enrolled.node_id).score == 0
    assert any(isinstance(event, StatusEvent) and event.score == 0 for _, event in pushes)
    good = enrolled.attestation(attestation_request(site, enrolled).nonce)
    assert site.run(*attest(enrolled, good))[0].outcome is Outcome.ACCEPTED
    assert site.node(enrolled.node_id).score == 0  # a machine alone does not win trust back
    assert answered(site, enrolled) is Outcome.ACCEPTED
    assert site.node(enrolled.node_id).score > 0


def test_an_attestation_that_we_cannot_check_lowers_nothing(site: Site, enrolled: Machine):
    answered(site, enrolled)
    before = site.node(enrolled.node_id)
    nonce = attestation_request(site, enrolled).nonce
    site.set_node(enrolled.node_id, reference_pcrs="{")
    result, _ = site.run(*attest(enrolled, enrolled.attestation(nonce)))
    assert result.outcome is Outcome.UNDECIDED
    assert (site.node(enrolled.node_id).score, site.node(enrolled.node_id).last_attested_at) == (
        before.score,
        before.last_attested_at,
    )
