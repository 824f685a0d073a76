"""What quotes and certifications are bound to: one labelled transcript per purpose, 32 bytes each."""

from __future__ import annotations

import hashlib

from protocol.codec import transcript


def join_digest(join_id: str, nonce: bytes, csr: bytes) -> bytes:
    """Binds a joining node's TLS key and delivery key to its AK."""
    return transcript("keyvigil/join/1", join_id, nonce, hashlib.sha256(csr).digest())


def renew_digest(node_id: str, nonce: bytes, csr: bytes) -> bytes:
    """Binds a renewed TLS key to the AK."""
    return transcript("keyvigil/renew/1", node_id, nonce, hashlib.sha256(csr).digest())


def enrol_digest(enrolment_id: str, record_id: str, nonce: bytes) -> bytes:
    """Binds a profile key to its enrolment."""
    return transcript("keyvigil/enrol/1", enrolment_id, record_id, nonce)


def attest_digest(node_id: str, nonce: bytes) -> bytes:
    """Binds a machine attestation to its request."""
    return transcript("keyvigil/attest/1", node_id, nonce)


def ownership_digest(node_id: str, nonce: bytes) -> bytes:
    """Binds what a TPM says of its owner to the authority's question."""
    return transcript("keyvigil/ownership/1", node_id, nonce)


def failure_digest(challenge_id: str, record_id: str, nonce: bytes) -> bytes:
    """Binds a failure report to the activated challenge; it says nothing about what failed."""
    return transcript("keyvigil/failure/1", challenge_id, record_id, nonce)


def evidence_digest(token: str) -> bytes:
    """SHA-256 over exactly the compact JWS: what the quote beside the evidence carries."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def certificate_thumbprint(der: bytes) -> str:
    """`x5t#S256` of a certificate (RFC 8705 §3.1) as hexadecimal."""
    return hashlib.sha256(der).hexdigest()


def group_digest(challenge_id: str, nonce: bytes, evidence_sha256: bytes) -> bytes:
    """32 bytes that a member of a challenge group quotes over: its own nonce, and the evidence of the sensor node."""
    return transcript("keyvigil/group/1", challenge_id, nonce, evidence_sha256)
