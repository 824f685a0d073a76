"""The TPM's counter and the agent's measurement beside evidence: certified, growing, and of an accepted agent."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection

from agent.measuring import Measurer, code_digest
from authority import challenges, references
from authority.appraisal import Presented, appraise
from authority.scheduler import ATTEST_PURPOSE
from authority.store import schema
from authority.verdict import Accepted, Appraisal
from protocol.digests import attest_digest, evidence_digest
from protocol.measurement import AGENT_LABEL, extended
from protocol.messages import CertifiedPublic, EvidenceSubmission, NvEvidence, Outcome
from simulators.devices.swtpm import Swtpm
from tests.authority.challenges.answers import activated, challenge, reasons, set_profile
from tests.authority.challenges.test_swapped import mutations
from tests.authority.nodes import Machine, Site
from tests.authority.tpm.forge import Forger

CODE = bytes(range(32))


@pytest.fixture
def node(site: Site, tpm_maker, tmp_path: Path):
    """A node whose TPM nobody measured into."""
    from drivers.tpm2 import Tpm2Driver

    with Swtpm(tpm_maker.manufacture("measured")) as tpm, Tpm2Driver().open({"tcti": tpm.tcti}) as enclave:
        machine = Machine("n2", enclave)
        site.clock = time.time() + 3600  # the maker's certificate for this TPM is new
        machine.join(site)
        machine.enrol(site)
        yield machine


@pytest.fixture
def measurer(tmp_path: Path) -> Measurer:
    return Measurer(tmp_path / "measured.json", CODE)


def evidence(site: Site, node: Machine) -> tuple[str, EvidenceSubmission]:
    set_profile(site, locked_until=None, failures_in_row=0)
    site.clock += 600
    activation = activated(site, node)
    return activation.challenge_id, node.evidence(node.claims(activation))


def proof(node: Machine, measurer: Measurer, made: EvidenceSubmission) -> NvEvidence:
    proved = measurer.prove(node.enclave, evidence_digest(made.token))
    assert proved is not None
    return proved


def answer(site: Site, node: Machine, measurer: Measurer | None, **changes: object) -> Outcome:
    challenge_id, made = evidence(site, node)
    if measurer is not None:
        made = msgspec.structs.replace(made, nv=msgspec.structs.replace(proof(node, measurer, made), **changes))
    return node.submit(site, challenge_id, made).outcome


def test_a_node_shows_both_and_the_agent_is_learned(site: Site, node: Machine, measurer: Measurer):
    assert answer(site, node, measurer) is Outcome.ACCEPTED
    first = site.node(node.node_id).nv_counter
    assert answer(site, node, measurer) is Outcome.ACCEPTED
    assert site.node(node.node_id).nv_counter == first + 1
    learned = site.read(lambda conn: references.listing(conn, node.node_id, "learned"))
    assert [each["value"] for each in learned if each["kind"] == "agent"] == [{"agent": CODE.hex()}]


def test_what_was_shown_once_cannot_be_left_out(site: Site, node: Machine, measurer: Measurer):
    assert answer(site, node, None) is Outcome.ACCEPTED
    assert answer(site, node, measurer) is Outcome.ACCEPTED
    assert answer(site, node, None) is Outcome.REJECTED
    assert "leaves out" in reasons(site)[-1]


def test_a_policy_may_demand_it_from_the_first_day(site: Site, node: Machine):
    rules = msgspec.structs.replace(site.policy.attestation, require_nv=True)
    strict = replace(site, policy=msgspec.structs.replace(site.policy, attestation=rules))
    assert answer(strict, node, None) is Outcome.REJECTED


def test_certifications_of_other_evidence_are_refused(site: Site, node: Machine, measurer: Measurer):
    challenge_id, made = evidence(site, node)
    old = proof(node, measurer, made)
    assert node.submit(site, challenge_id, msgspec.structs.replace(made, nv=old)).outcome is Outcome.ACCEPTED
    for changes in ({"counter": old.counter}, {"measurement": old.measurement}):
        assert answer(site, node, measurer, **changes) is Outcome.REJECTED
        assert "wrong-qualifying-data" in reasons(site)[-1]


def test_a_counter_that_did_not_grow_is_refused(site: Site, node: Machine, measurer: Measurer):
    assert answer(site, node, measurer) is Outcome.ACCEPTED
    site.set_node(node.node_id, nv_counter=site.node(node.node_id).nv_counter + 1)
    assert answer(site, node, measurer) is Outcome.REJECTED
    assert "did not grow" in reasons(site)[-1]


def test_another_index_another_key_and_another_list_are_refused(site: Site, node: Machine, measurer: Measurer):
    def swapped(made: NvEvidence) -> NvEvidence:
        return NvEvidence(counter=made.measurement, measurement=made.counter, measured=made.measured)

    def forged(made: NvEvidence) -> NvEvidence:
        signature = Forger().sign(made.counter.attest)
        return msgspec.structs.replace(made, counter=msgspec.structs.replace(made.counter, signature=signature))

    def relabelled(made: NvEvidence) -> NvEvidence:
        node.enclave.measure("another-label", CODE)
        digest = evidence_digest(relabelled.token)  # type: ignore[attr-defined]
        other = node.enclave.certify_measurement("another-label", digest)
        public = CertifiedPublic(public=other.public, attest=other.attest, signature=other.signature)
        return msgspec.structs.replace(made, measurement=public)

    def shortened(made: NvEvidence) -> NvEvidence:
        return msgspec.structs.replace(made, measured=[])

    def renamed(made: NvEvidence) -> NvEvidence:
        return msgspec.structs.replace(made, measured=[bytes(32)])

    for flaw in (swapped, forged, relabelled, shortened, renamed):
        challenge_id, made = evidence(site, node)
        relabelled.token = made.token  # type: ignore[attr-defined]
        bad = msgspec.structs.replace(made, nv=flaw(proof(node, measurer, made)))
        assert node.submit(site, challenge_id, bad).outcome is Outcome.REJECTED, flaw.__name__
    assert site.node(node.node_id).nv_counter is None


def test_no_byte_of_the_certifications_can_be_mutated(site: Site, node: Machine, measurer: Measurer):
    challenge_id, made = evidence(site, node)
    good = proof(node, measurer, made)
    row = challenge(site, challenge_id)
    presented = Presented(site.node(node.node_id), row, site.profile(node.record_id), node.certificate, 5.0)

    def appraised(conn: Connection, nv: NvEvidence) -> Appraisal:
        return appraise(conn, site.rt, presented, msgspec.structs.replace(made, nv=nv), site.clock)

    def count(conn: Connection) -> tuple[int, int]:
        bad = [*mutated(good)]
        wrongly = sum(isinstance(appraised(conn, each), Accepted) for each in bad)
        assert isinstance(appraised(conn, good), Accepted)
        return len(bad), wrongly

    tried, wrongly = site.read(count)
    assert tried > 400 and wrongly == 0


def mutated(good: NvEvidence) -> Iterator[NvEvidence]:
    """One bit of each byte, and each digest of the list of what was measured."""
    replace_in = msgspec.structs.replace
    for part in ("counter", "measurement"):
        certified = getattr(good, part)
        for name in ("public", "attest", "signature"):
            for data in mutations(getattr(certified, name), 1):
                yield replace_in(good, **{part: replace_in(certified, **{name: data})})
    for at, digest in enumerate(good.measured):
        for data in mutations(digest, 1):
            yield replace_in(good, measured=[*good.measured[:at], data, *good.measured[at + 1 :]])


def test_another_agent_fails_until_it_is_accepted(site: Site, node: Machine, measurer: Measurer):
    assert answer(site, node, measurer) is Outcome.ACCEPTED
    upgraded = Measurer(measurer.path, b"\2" * 32)
    assert answer(site, node, upgraded) is Outcome.REJECTED
    (found,) = site.read(lambda conn: references.listing(conn, node.node_id, "candidate"))
    assert found["value"] == {"agent": "02" * 32}
    site.read(lambda conn: references.accept(conn, found["id"], "ada", site.clock))
    assert answer(site, node, upgraded) is Outcome.ACCEPTED
    assert answer(site, node, Measurer(measurer.path, b"\3" * 32)) is Outcome.REJECTED


def attested(site: Site, node: Machine, measurer: Measurer | None, over: bytes | None = None) -> Outcome:
    """A machine attestation with what the measurer proves, over another digest where one is given."""
    nonce = os.urandom(32)
    row = {"value": nonce.hex(), "node_id": node.node_id, "purpose": ATTEST_PURPOSE, "expires_at": site.clock + 60}
    site.read(lambda conn: conn.execute(schema.nonce.insert().values(**row)))
    sent = node.attestation(nonce)
    if measurer is not None:
        nv = measurer.prove(node.enclave, over or attest_digest(node.node_id, nonce), counted=False)
        sent = msgspec.structs.replace(sent, nv=nv)
    result, _ = site.run(challenges.attest, node.node_id, sent)
    return result.outcome


def test_a_machine_attests_to_its_agent_between_presentations(site: Site, node: Machine, measurer: Measurer):
    assert attested(site, node, None) is Outcome.ACCEPTED
    assert answer(site, node, measurer) is Outcome.ACCEPTED
    counter = site.node(node.node_id).nv_counter
    assert attested(site, node, measurer) is Outcome.ACCEPTED
    assert site.node(node.node_id).nv_counter == counter
    assert attested(site, node, measurer, bytes(32)) is Outcome.REJECTED
    assert attested(site, node, None) is Outcome.REJECTED
    assert attested(site, node, measurer) is Outcome.ACCEPTED
    assert attested(site, node, Measurer(measurer.path, b"\2" * 32)) is Outcome.REJECTED
    assert site.node(node.node_id).attestation_failed
    (found,) = site.read(lambda conn: references.listing(conn, node.node_id, "candidate"))
    assert found["value"] == {"agent": "02" * 32}


def test_evidence_that_an_attestation_overtook_still_counts(site: Site, node: Machine, measurer: Measurer):
    challenge, made = evidence(site, node)
    made = msgspec.structs.replace(made, nv=proof(node, measurer, made))
    assert attested(site, node, measurer) is Outcome.ACCEPTED
    assert node.submit(site, challenge, made).outcome is Outcome.ACCEPTED


def test_an_agent_measures_itself_once_and_survives_a_crash_between(node: Machine, measurer: Measurer):
    assert measurer.measure(node.enclave) == [CODE] == measurer.measure(node.enclave)
    other = Measurer(measurer.path, b"\2" * 32)
    one_ahead = msgspec.json.encode({"digests": [CODE, b"\2" * 32]})
    measurer.path.write_bytes(one_ahead)
    assert other.measure(node.enclave) == [CODE, b"\2" * 32]
    assert node.enclave.measurement(AGENT_LABEL) == extended([CODE, b"\2" * 32])


def test_a_list_that_was_lost_explains_nothing_and_does_not_pretend_to(site: Site, node: Machine, measurer: Measurer):
    assert answer(site, node, measurer) is Outcome.ACCEPTED
    measurer.path.unlink()
    assert answer(site, node, measurer) is Outcome.REJECTED
    assert "does not lead" in reasons(site)[-1]


def test_the_code_that_is_measured_is_all_of_the_agent_and_the_pins():
    assert code_digest([]) != code_digest(["a"]) == code_digest(["a"])
    assert code_digest(["a", "b"]) == code_digest(["b", "a"])
