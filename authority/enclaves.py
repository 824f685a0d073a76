"""Enclaves by their kind: how each proves itself. Nothing is taken from the proof to choose how it is checked.

The kind is what the node was registered with. A TPM's proofs are structures that it signed; any other kind makes
statements by its identity key (`protocol.statements`), which show that the key answers and nothing about the machine.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authority.tpm import CertifiedUse, Reason, TpmRejected, public_key, verify_certify
from protocol.levels import EnclaveKind
from protocol.messages import CertifiedPublic, QuoteEvidence
from protocol.statements import SIGNATURE_BYTES, evidence_digest, evidence_marker, key_digest, key_marker

POINT_BYTES = 65


class StatementRejected(TpmRejected):
    """A statement that does not hold; it is refused wherever a TPM's proof that does not hold would be."""


def enclave_key(kind: str, public: bytes) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """The key that an enclave of this kind calls `public`: TPM2B_PUBLIC of a TPM, else a 65-byte point on P-256.

    Raises `TpmFormatError`, `ValueError`.
    """
    return public_key(public) if EnclaveKind(kind) is EnclaveKind.TPM2 else _point(public)


def statement_node_id(identity_public: bytes) -> str:
    """SHA-256 of the identity key's SubjectPublicKeyInfo (DER), 64 hexadecimal digits; raises `ValueError`."""
    spki = _point(identity_public).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def verify_statement(kind: EnclaveKind, identity_public: bytes, evidence: QuoteEvidence, digest: bytes) -> None:
    """Check a statement over the 32 bytes that a TPM would quote over; raises `StatementRejected`."""
    _check_kind(kind)
    if evidence.pcrs:
        raise StatementRejected(Reason.WRONG_SELECTION, "a statement with PCR values, which nothing signs")
    _check_marker(evidence.attest, evidence_marker(kind))
    _check_signature(identity_public, evidence.signature, evidence_digest(kind, digest))


def check_key(kind: str, attesting_public: bytes, key: CertifiedPublic, digest: bytes, use: CertifiedUse) -> None:
    """Check that a P-256 key for `use` is of the node whose AK or identity key is `attesting_public`, and not that key.

    Raises `TpmRejected`.
    """
    if EnclaveKind(kind) is EnclaveKind.TPM2:
        verify_certify(key.attest, key.signature, attesting_public, digest, key.public, use)
        return
    _check_kind(EnclaveKind(kind))
    _check_marker(key.attest, key_marker(EnclaveKind(kind), use.value))
    try:
        _point(key.public)
    except ValueError as error:
        raise StatementRejected(Reason.UNFIT_OBJECT, str(error)) from None
    if hmac.compare_digest(key.public, attesting_public):
        raise StatementRejected(Reason.UNFIT_OBJECT, "the identity key, which anybody at the node may use")
    _check_signature(attesting_public, key.signature, key_digest(EnclaveKind(kind), use.value, key.public, digest))


def _check_kind(kind: EnclaveKind) -> None:
    if kind is EnclaveKind.TPM2:
        raise StatementRejected(Reason.WRONG_TYPE, "a statement where a TPM must attest")


def _check_marker(given: bytes, wanted: bytes) -> None:
    if not hmac.compare_digest(given, wanted):
        raise StatementRejected(Reason.WRONG_TYPE, "not a statement of this form and kind of enclave")


def _check_signature(identity_public: bytes, signature: bytes, digest: bytes) -> None:
    if len(signature) != SIGNATURE_BYTES:
        raise StatementRejected(Reason.BAD_SIGNATURE, f"a signature of {len(signature)} bytes")
    halves = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key, encoded = _point(identity_public), utils.encode_dss_signature(*halves)
        key.verify(encoded, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except (InvalidSignature, ValueError):
        raise StatementRejected(Reason.BAD_SIGNATURE, "the identity key did not sign this") from None


def _point(public: bytes) -> ec.EllipticCurvePublicKey:
    if len(public) != POINT_BYTES or public[0] != 4:
        raise ValueError("not an uncompressed point on P-256")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    except ValueError:
        raise ValueError("not an uncompressed point on P-256") from None
