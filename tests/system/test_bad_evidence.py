"""Evidence that must not be believed: late, replayed, of another TPM, of another node."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from agent.errors import AuthorityRefused
from agent.identity import TlsKey
from protocol.digests import attest_digest, failure_digest, renew_digest
from protocol.messages import AttestSubmission, FailureSubmission, Outcome, RenewRequest
from protocol.problems import ErrorCode
from simulators.lab.insider import Insider
from tests.system.harness import Site, code_of, name_for

pytestmark = pytest.mark.system

Insiders = Callable[[Site, str], Insider]
LATE = {ErrorCode.NONCE_EXPIRED, ErrorCode.CHALLENGE_CLOSED}
"""What evidence meets after its deadline, before and after the sweep that closes the challenge."""


@pytest.fixture
def trusted(site: Site, insider: Insiders, request: pytest.FixtureRequest) -> Insider:
    """A node that has answered as it should, so that there is trust to lose."""
    return _trusted(insider(site, name_for(request.node.name)))


@pytest.fixture
def hasty(brisk: Site, insider: Insiders, request: pytest.FixtureRequest) -> Insider:
    """As `trusted`, where deadlines last seconds."""
    return _trusted(insider(brisk, name_for(request.node.name)))


def _trusted(machine: Insider) -> Insider:
    machine.join().enrol()
    assert machine.answer().outcome is Outcome.ACCEPTED
    assert machine.standing()["tier"] != "low"
    return machine


def refusal(machine: Insider, evidence: object, challenge_id: str) -> ErrorCode:
    """Why the authority does not even appraise this evidence."""
    with pytest.raises(AuthorityRefused) as caught:
        machine.submit(evidence, challenge_id)
    assert caught.value.remedy
    return code_of(caught.value)


def test_the_same_evidence_again_gives_the_same_verdict_and_counts_once(site: Site, trusted: Insider) -> None:
    activation = trusted.begin()
    evidence = trusted.evidence(trusted.claims(activation))
    first = trusted.submit(evidence, activation.challenge_id)
    before = trusted.standing()
    assert trusted.submit(evidence, activation.challenge_id) == first
    after = trusted.standing()
    assert (after["answered"], after["score"]) == (before["answered"], before["score"])
    assert before["answered"] == 2


def test_other_evidence_for_an_answered_challenge_is_a_replay(site: Site, trusted: Insider) -> None:
    mark = site.since()
    activation = trusted.begin()
    trusted.submit(trusted.evidence(trusted.claims(activation)), activation.challenge_id)
    before = trusted.standing()
    other = trusted.evidence(trusted.claims(activation))
    assert refusal(trusted, other, activation.challenge_id) is ErrorCode.REPLAYED
    mark.audited("replay-refused", challenge=activation.challenge_id)
    assert trusted.standing()["score"] == before["score"]


def test_accepted_evidence_is_worthless_for_the_next_challenge(site: Site, trusted: Insider) -> None:
    first = trusted.begin()
    evidence = trusted.evidence(trusted.claims(first))
    trusted.submit(evidence, first.challenge_id)
    before, mark, second = trusted.standing(), site.since(), trusted.begin()
    verdict = trusted.submit(evidence, second.challenge_id)
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.reason == "evidence refused"
    assert "another" in mark.audited("rejected", challenge=second.challenge_id)["data"]["reason"]
    mark.alerted("evidence-refused", trusted.name)
    assert verdict.score < before["score"]
    assert verdict.tier.value != "high"


def test_evidence_after_its_deadline_is_refused_and_the_challenge_failed(brisk: Site, hasty: Insider) -> None:
    before, mark = hasty.standing(), brisk.since()
    activation = hasty.begin()
    evidence = hasty.evidence(hasty.claims(activation))
    assert brisk.ended(hasty.name, activation.challenge_id) == "failed"
    assert refusal(hasty, evidence, activation.challenge_id) in LATE
    mark.audited("late-evidence", challenge=activation.challenge_id)
    mark.audited("presentation", challenge=activation.challenge_id, kind="failed")
    after = hasty.standing()
    assert after["score"] < before["score"]
    assert after["answered"] == before["answered"] + 1


def test_a_failure_report_after_its_deadline_is_refused(brisk: Site, hasty: Insider) -> None:
    activation = hasty.begin()
    digest = failure_digest(activation.challenge_id, activation.record_id, activation.nonce)
    report = FailureSubmission(quote=hasty.quote(digest))
    assert brisk.ended(hasty.name, activation.challenge_id) == "failed"
    with pytest.raises(AuthorityRefused) as caught:
        hasty.client.submit_failure(activation.challenge_id, report)
    assert code_of(caught.value) in LATE


def test_a_nonce_for_renewal_is_good_once(site: Site, trusted: Insider) -> None:
    mark = site.since()
    nonce = trusted.client.nonce(trusted.identity.node_id)
    csr = TlsKey.generate().request(trusted.name)
    quote = trusted.quote(renew_digest(trusted.identity.node_id, nonce.nonce, csr))
    request = RenewRequest(node_id=trusted.identity.node_id, nonce=nonce.nonce, csr=csr, quote=quote)
    assert trusted.client.renew(request).certificate
    with pytest.raises(AuthorityRefused) as caught:
        trusted.client.renew(request)
    assert code_of(caught.value) is ErrorCode.ATTESTATION_REJECTED
    mark.audited("renewal-refused", cause="stale nonce")


def test_a_machine_attestation_needs_a_nonce_that_the_authority_gave(site: Site, trusted: Insider) -> None:
    mark, nonce = site.since(), b"\x01" * 32
    quote = trusted.quote(attest_digest(trusted.identity.node_id, nonce))
    with pytest.raises(AuthorityRefused) as caught:
        trusted.client.attest(AttestSubmission(nonce=nonce, quote=quote))
    assert code_of(caught.value) is ErrorCode.NONCE_EXPIRED
    mark.audited("attestation-refused", cause="stale nonce")


def test_a_quote_of_another_tpm_costs_all_trust(site: Site, trusted: Insider, insider: Insiders) -> None:
    other = insider(site, f"{trusted.name}-other").join()
    mark, activation = site.since(), trusted.begin()
    evidence = trusted.evidence(trusted.claims(activation), quoting=other)
    verdict = trusted.submit(evidence, activation.challenge_id)
    assert verdict.outcome is Outcome.REJECTED
    assert "signature" in mark.audited("rejected", challenge=activation.challenge_id)["data"]["reason"]
    assert mark.alerted("evidence-refused", trusted.name)["severity"] == "error"
    mark.alerted("attestation-failed", trusted.name)
    after = trusted.standing()
    assert (after["score"], after["access"]) == (0, "restricted")


def test_evidence_that_names_another_node_is_refused(site: Site, trusted: Insider) -> None:
    other = site.node("node-a")
    mark, before, activation = site.since(), trusted.standing(), trusted.begin()
    evidence = trusted.evidence(trusted.claims(activation, iss=other["id"]))
    verdict = trusted.submit(evidence, activation.challenge_id)
    assert verdict.outcome is Outcome.REJECTED
    mark.audited("rejected", challenge=activation.challenge_id, reason="the token is for another node")
    assert mark.alerted("evidence-refused", trusted.name)
    assert verdict.score < before["score"]
    assert site.node("node-a")["score"] == other["score"]


def test_a_node_answers_its_own_challenges_only(site: Site, trusted: Insider, insider: Insiders) -> None:
    other = insider(site, f"{trusted.name}-other").join().enrol()
    activation = other.begin()
    evidence = trusted.evidence(trusted.claims(activation))
    before = trusted.standing()
    assert refusal(trusted, evidence, activation.challenge_id) is ErrorCode.NOT_FOUND
    with pytest.raises(AuthorityRefused) as caught:
        trusted.client.begin(activation.challenge_id, trusted.record_id)
    assert code_of(caught.value) is ErrorCode.NOT_FOUND
    assert trusted.standing()["score"] == before["score"]


def test_a_changed_byte_of_the_token_is_noticed(site: Site, trusted: Insider) -> None:
    activation = trusted.begin()
    evidence = trusted.evidence(trusted.claims(activation))
    middle = len(evidence.token) // 2
    changed = "A" if evidence.token[middle] != "A" else "B"
    token = evidence.token[:middle] + changed + evidence.token[middle + 1 :]
    verdict = trusted.submit(msgspec.structs.replace(evidence, token=token), activation.challenge_id)
    assert verdict.outcome is Outcome.REJECTED


def test_the_genuine_agent_is_still_trusted(site: Site) -> None:
    """The control: the same authority accepts a person at a node that is what it says."""
    challenge = site.challenge("node-a")
    assert site.ended("node-a", challenge, 60) == "accepted"
