"""What an identity key signs where a TPM would quote or certify."""

from __future__ import annotations

import pytest

from protocol import statements
from protocol.levels import EnclaveKind
from tests.protocol.vectors import load

V = load("statements")
DIGEST, PUBLIC = bytes.fromhex(V["digest"]), bytes.fromhex(V["public"])
TPM_GENERATED = bytes.fromhex("ff544347")


@pytest.mark.parametrize("case", V["cases"], ids=lambda case: f"{case['kind']}-{case['use']}")
def test_golden_statements(case: dict[str, str]) -> None:
    kind, use = EnclaveKind(case["kind"]), case["use"]
    assert statements.evidence_marker(kind).hex() == case["evidence_marker"]
    assert statements.evidence_digest(kind, DIGEST).hex() == case["evidence"]
    assert statements.key_marker(kind, use).hex() == case["key_marker"]
    assert statements.key_digest(kind, use, PUBLIC, DIGEST).hex() == case["key"]


def test_no_kind_use_or_purpose_can_stand_in_for_another() -> None:
    kinds = [EnclaveKind.PKCS11, EnclaveKind.SOFTWARE]
    made = [statements.evidence_digest(kind, DIGEST) for kind in kinds]
    made += [statements.key_digest(kind, use, PUBLIC, DIGEST) for kind in kinds for use in ("sign", "agree")]
    assert len({*made}) == len(made)


def test_a_marker_is_never_the_beginning_of_a_tpm_s_structure() -> None:
    for kind in EnclaveKind:
        for marker in (statements.evidence_marker(kind), statements.key_marker(kind, "sign")):
            assert not marker.startswith(TPM_GENERATED)
