"""What quotes and certifications are bound to."""

from __future__ import annotations

from protocol import digests
from tests.protocol.vectors import load

V = load("digests")
NONCE = bytes.fromhex(V["nonce"])
CSR = bytes.fromhex(V["csr"])


def all_digests() -> dict[str, bytes]:
    return {
        "join": digests.join_digest(V["join_id"], NONCE, CSR),
        "renew": digests.renew_digest(V["node_id"], NONCE, CSR),
        "enrol": digests.enrol_digest(V["enrolment_id"], V["record_id"], NONCE),
        "attest": digests.attest_digest(V["node_id"], NONCE),
        "failure": digests.failure_digest(V["challenge_id"], V["record_id"], NONCE),
        "evidence": digests.evidence_digest(V["token"]),
    }


def test_golden_digests() -> None:
    assert {name: value.hex() for name, value in all_digests().items()} == {name: V[name] for name in all_digests()}
    assert digests.certificate_thumbprint(bytes.fromhex(V["certificate"])) == V["certificate_thumbprint"]


def test_no_purpose_can_stand_in_for_another() -> None:
    same = "0" * 64
    made = [
        digests.join_digest(same, NONCE, CSR),
        digests.renew_digest(same, NONCE, CSR),
        digests.enrol_digest(same, same, NONCE),
        digests.failure_digest(same, same, NONCE),
        digests.attest_digest(same, NONCE),
    ]
    assert len({*made}) == len(made)
    assert {len(each) for each in made} == {32}


def test_evidence_that_is_not_ascii_still_has_a_digest() -> None:
    assert digests.evidence_digest("\udcff") != digests.evidence_digest("")
