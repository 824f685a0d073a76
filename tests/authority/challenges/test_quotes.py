"""Quotes beside evidence, and the state of the machine that they show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from authority.tpm import parse_attest
from hal import Enclave, KeyUse, load_driver
from protocol.digests import evidence_digest
from protocol.levels import Tier
from protocol.messages import (
    EvidenceSubmission,
    Outcome,
    QuoteEvidence,
)
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from tests.authority.challenges.answers import (
    activated,
    answered,
    presentations,
    reasons,
    set_profile,
)
from tests.authority.nodes import SELECTION, Machine, Site
from tests.authority.tpm.forge import NULL, Forger, pcr_digest, selection


def changed_quotes(node: Machine, other: Machine, token: str) -> dict[str, QuoteEvidence]:
    digest = evidence_digest(token)
    good = node.quote(digest)
    certified = node.certified(KeyUse.SIGN, digest)[1]
    empty = node.quote(digest, (0,))
    return {
        "another TPM": other.quote(digest),
        "other data": node.quote(evidence_digest(token + " ")),
        "no data": node.quote(bytes(32)),
        "fewer registers": node.quote(digest, SELECTION[:-1]),
        "more registers": node.quote(digest, (*SELECTION, 8)),
        "other registers": node.quote(digest, (0, 2, 4, 8)),
        "values of fewer registers": QuoteEvidence(attest=empty.attest, signature=empty.signature, pcrs={}),
        "other values": msgspec.structs.replace(good, pcrs={**good.pcrs, 7: b"\x01" * 32}),
        "values missing": msgspec.structs.replace(good, pcrs={index: good.pcrs[index] for index in SELECTION[:-1]}),
        "no values": msgspec.structs.replace(good, pcrs={}),
        "a certification": QuoteEvidence(attest=certified.attest, signature=certified.signature, pcrs=good.pcrs),
        "another's signature": msgspec.structs.replace(good, signature=other.quote(digest).signature),
        "garbage": QuoteEvidence(attest=b"\xff" * 100, signature=b"\xff" * 72, pcrs=good.pcrs),
        "nothing": QuoteEvidence(attest=b"", signature=b"", pcrs={}),
    }


QUOTES = [
    "another TPM",
    "other data",
    "no data",
    "fewer registers",
    "more registers",
    "other registers",
    "values of fewer registers",
    "other values",
    "values missing",
    "no values",
    "a certification",
    "another's signature",
    "garbage",
    "nothing",
]


@pytest.mark.parametrize("flaw", QUOTES)
def test_a_quote_that_does_not_hold_fails_person_and_machine(site: Site, enrolled: Machine, other: Machine, flaw: str):
    assert answered(site, enrolled) is Outcome.ACCEPTED
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    forged = msgspec.structs.replace(evidence, quote=changed_quotes(enrolled, other, evidence.token)[flaw])
    verdict = enrolled.submit(site, activation.challenge_id, forged)
    assert (verdict.outcome, verdict.score, verdict.tier) == (Outcome.REJECTED, 0, Tier.LOW)
    assert site.node(enrolled.node_id).attestation_failed
    assert presentations(site) == ["accepted", "failed"]
    assert answered(site, enrolled) is Outcome.ACCEPTED
    assert site.node(enrolled.node_id).score > 0


def test_an_empty_selection_by_the_node_s_own_key_is_rejected(site: Site, enrolled: Machine):
    forger = Forger()
    site.set_node(enrolled.node_id, ak_public=forger.public)
    quotes = {
        "empty": (selection(), []),
        "an absent bank": (selection((0x0004, SELECTION)), [bytes(32)] * 4),
        "an empty bitmap": (selection((0x000B, ())), []),
        "no bank": (selection((NULL, ())), []),
    }
    good = pcr_values(site, enrolled)
    for chosen, values in quotes.values():
        assert forged_outcome(site, enrolled, forger, chosen, values, good) is Outcome.REJECTED
    right = [good[index] for index in SELECTION]
    chosen = selection((0x000B, SELECTION))
    assert forged_outcome(site, enrolled, forger, chosen, right, good) is Outcome.ACCEPTED


def pcr_values(site: Site, node: Machine) -> dict[int, bytes]:
    kept = json.loads(site.node(node.node_id).reference_pcrs)
    return {int(index): bytes.fromhex(value) for index, value in kept.items()}


def forged_outcome(
    site: Site, node: Machine, forger: Any, chosen: bytes, values: list[bytes], shown: dict[int, bytes]
) -> Outcome:
    set_profile(site, locked_until=None, failures_in_row=0)
    site.set_node(node.node_id, reset_count=0, clock=0)
    activation = activated(site, node)
    evidence = node.evidence(node.claims(activation))
    attest = forger.quote(chosen, pcr_digest(values), extra=evidence_digest(evidence.token))
    quote = QuoteEvidence(attest=attest, signature=forger.sign(attest), pcrs=shown if values else {})
    return node.submit(site, activation.challenge_id, EvidenceSubmission(token=evidence.token, quote=quote)).outcome


def test_a_machine_in_another_state_is_worth_nothing(site: Site, enrolled: Machine):
    for _ in range(3):
        answered(site, enrolled)
    kept = site.node(enrolled.node_id).reference_pcrs
    activation = activated(site, enrolled)
    site.set_node(enrolled.node_id, reference_pcrs=json.dumps({**json.loads(kept), "4": "11" * 32}))
    verdict = enrolled.submit(site, activation.challenge_id, enrolled.evidence(enrolled.claims(activation)))
    node = site.node(enrolled.node_id)
    assert (verdict.outcome, verdict.score, node.score, node.tier) == (Outcome.REJECTED, 0, 0, "low")
    assert "PCR 4" in reasons(site)[0]
    assert {"evidence-refused", "attestation-failed"} <= {*site.alerts()}
    site.set_node(enrolled.node_id, reference_pcrs=kept)
    assert answered(site, enrolled) is Outcome.ACCEPTED
    assert site.node(enrolled.node_id).score > 0


def test_a_register_without_a_reference_value_is_not_in_its_reference_state(site: Site, enrolled: Machine):
    replace = msgspec.structs.replace
    site.policy = replace(site.policy, attestation=replace(site.policy.attestation, pcr_selection=(*SELECTION, 8)))
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    evidence = replace(evidence, quote=enrolled.quote(evidence_digest(evidence.token), (*SELECTION, 8)))
    assert enrolled.submit(site, activation.challenge_id, evidence).outcome is Outcome.REJECTED
    assert "PCR 8" in reasons(site)[0]


@pytest.mark.parametrize(
    ("field", "by", "outcome"),
    [
        ("clock", 59_000, Outcome.ACCEPTED),
        ("clock", 3_600_000, Outcome.REJECTED),
        ("reset_count", 1, Outcome.REJECTED),
    ],
)
def test_a_tpm_whose_clock_went_back_is_a_copy_of_an_earlier_one(
    site: Site, enrolled: Machine, field: str, by: int, outcome: Outcome
):
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    clock = parse_attest(evidence.quote.attest).clock_info
    newest = {"clock": clock.clock, "reset_count": clock.reset_count}
    site.set_node(enrolled.node_id, **{**newest, field: newest[field] + by})
    verdict = enrolled.submit(site, activation.challenge_id, evidence)
    assert verdict.outcome is outcome
    assert site.node(enrolled.node_id).attestation_failed is (outcome is Outcome.REJECTED)


def test_the_newest_clock_is_kept(site: Site, enrolled: Machine):
    before = site.node(enrolled.node_id)
    answered(site, enrolled)
    after = site.node(enrolled.node_id)
    assert (after.reset_count, after.clock) > (before.reset_count, before.clock)


@contextmanager
def opened(tpm: Swtpm) -> Iterator[Enclave]:
    driver, _ = load_driver("tpm2", None)
    with driver.open({"tcti": tpm.tcti}) as enclave:
        yield enclave


def onboarded(site: Site, tpm: Swtpm) -> Machine:
    """A node that joined, enrolled and answered once."""
    with opened(tpm) as enclave:
        node = Machine("n3", enclave)
        node.join(site)
        node.enrol(site)
        assert answered(site, node) is Outcome.ACCEPTED
    return node


def answers(site: Site, node: Machine, tpm: Swtpm) -> Outcome:
    with opened(tpm) as node.enclave:
        return answered(site, node)


def extend(tpm: Swtpm, index: int) -> None:
    from tpm2_pytss import ESAPI, ESYS_TR, TPM2_ALG, TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA

    with ESAPI(tpm.tcti) as esys:
        value = TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=b"\x5a" * 32))
        esys.pcr_extend(ESYS_TR.PCR0 + index, TPML_DIGEST_VALUES([value]))


def test_a_register_extended_on_the_machine_takes_the_score_until_it_boots_anew(
    site: Site, tpm_maker: SwtpmFactory, tmp_path: Path
):
    with Swtpm(tpm_maker.manufacture("third").copy(tmp_path / "tpm")) as tpm:
        node = onboarded(site, tpm)
        extend(tpm, 8)
        assert answers(site, node, tpm) is Outcome.ACCEPTED  # a register that the policy leaves out
        extend(tpm, 4)
        assert answers(site, node, tpm) is Outcome.REJECTED
        assert site.node(node.node_id).score == 0
        assert "PCR 4" in reasons(site)[-1]
        tpm.reboot()
        assert answers(site, node, tpm) is Outcome.ACCEPTED


def test_an_earlier_copy_of_the_tpm_does_not_stand_in_for_it(site: Site, tpm_maker: SwtpmFactory, tmp_path: Path):
    """Same keys, same registers, right signatures: the reset counter alone tells."""
    state = tpm_maker.manufacture("third").copy(tmp_path / "tpm")
    with Swtpm(state) as tpm:
        node = onboarded(site, tpm)
    earlier = state.copy(tmp_path / "earlier")
    with Swtpm(state) as tpm:
        for _ in range(3):
            tpm.reboot()
        assert answers(site, node, tpm) is Outcome.ACCEPTED
        with Swtpm(earlier) as clone:
            assert answers(site, node, clone) is Outcome.REJECTED
        assert "went back" in reasons(site)[-1]
        assert site.node(node.node_id).score == 0
        assert answers(site, node, tpm) is Outcome.ACCEPTED
