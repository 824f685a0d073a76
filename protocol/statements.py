"""What a node whose enclave attests to nothing says in place of quotes and certifications: statements.

A statement is a signature by the node's identity key, a P-256 key made in its enclave. It proves that whoever answers
holds that key, and nothing about the machine. It travels where a quote or a certification would: `attest` is the marker
of its form and kind, `signature` 64 bytes r ‖ s, `pcrs` empty. A marker is no TPMS_ATTEST, whose first four bytes are
FF 54 43 47, and no TPMS_ATTEST is a marker: neither can stand in for the other.
"""

from __future__ import annotations

from protocol.codec import length_prefixed, transcript
from protocol.levels import EnclaveKind

EVIDENCE_LABEL = "keyvigil/statement/1"
KEY_LABEL = "keyvigil/key-statement/1"
SIGNATURE_BYTES = 64


def evidence_marker(kind: EnclaveKind) -> bytes:
    """`attest` of a statement that stands where a TPM would quote."""
    return length_prefixed(EVIDENCE_LABEL, kind.value)


def evidence_digest(kind: EnclaveKind, digest: bytes) -> bytes:
    """What the identity key signs over the 32-byte `digest` that a TPM would quote over."""
    return transcript(EVIDENCE_LABEL, kind.value, digest)


def key_marker(kind: EnclaveKind, use: str) -> bytes:
    """`attest` of a statement that stands where a TPM would certify a key; `use` is "sign" or "agree"."""
    return length_prefixed(KEY_LABEL, kind.value, use)


def key_digest(kind: EnclaveKind, use: str, public: bytes, digest: bytes) -> bytes:
    """What the identity key signs to say that the key with the point `public` (65 bytes) is of the same node."""
    return transcript(KEY_LABEL, kind.value, use, public, digest)
