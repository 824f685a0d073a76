"""Failure reports count as failures and say no more."""

from __future__ import annotations

from authority import challenges
from protocol.digests import attest_digest, evidence_digest, failure_digest, renew_digest
from protocol.messages import (
    FailureSubmission,
    Outcome,
    QuoteEvidence,
)
from tests.authority.challenges.answers import (
    activated,
    presentations,
    reasons,
)
from tests.authority.nodes import Machine, Site


def failure(site: Site, node: Machine, challenge_id: str, quote: QuoteEvidence) -> Outcome:
    report = FailureSubmission(quote=quote)
    verdict, _ = site.run(challenges.report_failure, node.node_id, challenge_id, report)
    return verdict.outcome


def test_a_reported_failure_counts_as_one_and_says_no_more(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    report = enrolled.failure(activation)
    assert failure(site, enrolled, activation.challenge_id, report.quote) is Outcome.REJECTED
    assert failure(site, enrolled, activation.challenge_id, report.quote) is Outcome.REJECTED
    assert presentations(site) == ["failed"]
    assert reasons(site) == ["presentation failed"]
    assert "evidence-refused" not in site.alerts()
    assert not site.node(enrolled.node_id).attestation_failed


def test_a_report_without_a_quote_that_holds_fails_the_machine_too(site: Site, enrolled: Machine, other: Machine):
    for number, quote in enumerate((bytes(32), other)):
        activation = activated(site, enrolled)
        digest = failure_digest(activation.challenge_id, activation.record_id, activation.nonce)
        made = enrolled.quote(quote) if isinstance(quote, bytes) else quote.quote(digest)
        site.set_node(enrolled.node_id, attestation_failed=False)
        assert failure(site, enrolled, activation.challenge_id, made) is Outcome.REJECTED
        assert site.node(enrolled.node_id).attestation_failed
        assert presentations(site) == ["failed"] * (number + 1)


def test_a_failure_cannot_be_reported_with_another_purpose_s_quote(site: Site, enrolled: Machine):
    """Every purpose has its own label, so that a quote made for one says nothing in another."""
    nonce, csr = bytes(32), b"csr"
    digests = {
        failure_digest("c", "r", nonce),
        attest_digest("c", nonce),
        renew_digest("c", nonce, csr),
        evidence_digest("c"),
    }
    assert len(digests) == 4
