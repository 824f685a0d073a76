"""A whole piece of evidence that does not change any more, verified by us and by other implementations."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from authority.tpm import counter_index, measurement_index, verify_nv, verify_quote
from protocol.codec import encode
from protocol.digests import evidence_digest
from protocol.evidence import encode_token, read_claims
from protocol.measurement import AGENT_LABEL, COUNTER_LABEL, extended
from protocol.messages import CertifiedPublic, EvidenceSubmission, NvEvidence, QuoteEvidence
from tests.protocol.vectors import load

VECTOR = load("whole_evidence")
DIGEST, AK = bytes.fromhex(VECTOR["digest"]), bytes.fromhex(VECTOR["attestation_key"])
ATTEST, SIGNATURE = (bytes.fromhex(VECTOR["quote"][name]) for name in ("attest", "signature"))
PCRS = {int(index): bytes.fromhex(value) for index, value in VECTOR["quote"]["pcrs"].items()}


def certified(name: str) -> CertifiedPublic:
    return CertifiedPublic(**{key: bytes.fromhex(value) for key, value in VECTOR[name].items()})


def verify_by_hand(token: str, pem: str) -> dict[str, Any]:
    """RFC 7515 over `cryptography` alone."""
    head, body, signature = token.split(".")
    raw = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (head, body, signature)]
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey) and len(raw[2]) == 64
    der = utils.encode_dss_signature(int.from_bytes(raw[2][:32], "big"), int.from_bytes(raw[2][32:], "big"))
    key.verify(der, f"{head}.{body}".encode(), ec.ECDSA(SHA256()))
    assert json.loads(raw[0])["alg"] == "ES256"
    claims: dict[str, Any] = json.loads(raw[1])
    return claims


def test_the_token_is_read_and_written_as_it_was():
    claims = read_claims(VECTOR["token"])
    signature = VECTOR["token"].rpartition(".")[2]
    again = encode_token(claims, lambda _: base64.urlsafe_b64decode(signature + "=="))
    assert again == VECTOR["token"], "the bytes are deterministic"
    assert evidence_digest(VECTOR["token"]) == DIGEST == hashlib.sha256(VECTOR["token"].encode()).digest()


def test_another_implementation_of_jose_verifies_the_token():
    claims = verify_by_hand(VECTOR["token"], VECTOR["profile_key"])
    assert claims["eat_profile"] == "tag:keyvigil,2026:evidence/1"
    changed = VECTOR["token"].replace(".", ".f", 1)
    with pytest.raises((InvalidSignature, ValueError)):
        verify_by_hand(changed, VECTOR["profile_key"])


def test_the_quote_and_both_certifications_hold_over_one_digest():
    assert verify_quote(ATTEST, SIGNATURE, AK, DIGEST, tuple(PCRS), PCRS).pcrs == PCRS
    counter, measurement = certified("counter"), certified("measurement")
    value = verify_nv(counter.attest, counter.signature, AK, DIGEST, counter.public, counter_index(COUNTER_LABEL))
    assert int.from_bytes(value, "big") > 0
    index = measurement_index(AGENT_LABEL)
    held = verify_nv(measurement.attest, measurement.signature, AK, DIGEST, measurement.public, index)
    assert held == extended([bytes.fromhex(each) for each in VECTOR["measured"]])


@pytest.mark.skipif(not shutil.which("tpm2_checkquote"), reason="apt-get install tpm2-tools")
def test_tpm2_checkquote_verifies_the_quote(tmp_path: Path):
    (tmp_path / "ak.pem").write_text(VECTOR["attestation_key_pem"])
    (tmp_path / "msg").write_bytes(ATTEST)
    (tmp_path / "sig").write_bytes(SIGNATURE)
    line = ["tpm2_checkquote", "-u", "ak.pem", "-m", "msg", "-s", "sig", "-q"]

    def status(nonce: bytes) -> int:
        return subprocess.run([*line, nonce.hex()], cwd=tmp_path, capture_output=True, check=False).returncode

    assert status(DIGEST) == 0
    assert status(bytes(32)) != 0


def test_a_whole_submission_has_at_most_8_kib():
    nv = NvEvidence(
        counter=certified("counter"),
        measurement=certified("measurement"),
        measured=[bytes.fromhex(each) for each in VECTOR["measured"]],
    )
    quote = QuoteEvidence(attest=ATTEST, signature=SIGNATURE, pcrs=PCRS)
    assert len(encode(EvidenceSubmission(token=VECTOR["token"], quote=quote, nv=nv))) <= 8192
