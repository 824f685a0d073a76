"""Whose a TPM is: what it says of its owner, and what lets a node give single commands of the owner's.

TCG TPM 2.0 Library Part 1, 19.7 and 29: a session that audits a command has a digest of the command and its answer,
which the AK certifies. The answer is rebuilt here from what the node says of it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace

from authority.tpm._signed import verify_attest
from authority.tpm.keys import RH_ENDORSEMENT
from authority.tpm.nv import NvAttributes, fit_index, guard_index, nv_name
from authority.tpm.policy import NONCE_BYTES, Guard
from authority.tpm.rejection import CertificationRejected, Reason, TpmRejected, rejecting
from authority.tpm.wire import SessionAuditInfo

OWNER_REFERENCE = b"keyvigil/owner-command/1"
INITIAL_BYTES = 32
_GET_CAPABILITY, _DEFINE, _UNDEFINE = (code.to_bytes(4, "big") for code in (0x17A, 0x12A, 0x122))
"""TPM_CC (Part 2, 6.5.2)."""
_OWNER = 0x40000001.to_bytes(4, "big")
_TPM_PROPERTIES, _PERMANENT, _ONE = (number.to_bytes(4, "big") for number in (6, 0x200, 1))
_LARGEST = 2**32 - 1


@dataclass(frozen=True)
class Permanent:
    """TPMA_PERMANENT (Part 2, 8.6), as far as it is of use: which hierarchies have an authorisation value."""

    owner: bool
    endorsement: bool
    lockout: bool


def verify_ownership(
    attest: bytes,
    signature: bytes,
    ak_public: bytes,
    qualifying: bytes,
    permanent: int,
    *,
    hierarchy: int | None = RH_ENDORSEMENT,
) -> Permanent:
    """What TPMA_PERMANENT is, if the enrolled AK certified over `qualifying` that its TPM said `permanent`.

    Raises `CertificationRejected`.
    """
    with rejecting(CertificationRejected):
        parsed, _ = verify_attest(attest, signature, ak_public, qualifying, hierarchy)
        if not isinstance(parsed.attested, SessionAuditInfo):
            raise TpmRejected(Reason.WRONG_TYPE, "another statement where a session's audit is needed")
        if not 0 <= permanent <= _LARGEST or not _told(parsed.attested.digest, permanent):
            raise TpmRejected(Reason.OTHER_OBJECT, "it certifies another answer than the node says")
    return Permanent(*(bool(permanent & 1 << bit) for bit in range(3)))


def _told(digest: bytes, permanent: int) -> bool:
    """Whether a session with this digest audited exactly TPM2_GetCapability of TPMA_PERMANENT, with this answer."""
    asked = hashlib.sha256(_GET_CAPABILITY + _TPM_PROPERTIES + _PERMANENT + _ONE).digest()
    value = _TPM_PROPERTIES + _ONE + _PERMANENT + permanent.to_bytes(4, "big")
    more = [hashlib.sha256(bytes(4) + _GET_CAPABILITY + said + value).digest() for said in (b"\0", b"\1")]
    expected = [hashlib.sha256(bytes(32) + asked + answered).digest() for answered in more]
    return any(hmac.compare_digest(digest, one) for one in expected)


def definition_message(nonce: bytes, initial: bytes, index_public: bytes, guard: Guard) -> bytes:
    """What the grant key signs (ECDSA with SHA-256) so that a node defines this guard's index, once.

    aHash of Part 3, 23.3.1: `nonce` (32 bytes, from the node), no expiration, cpHash of the one command, reference.
    Raises `ValueError` for lengths, `CertificationRejected` for what is not this guard's index.
    """
    if len(initial) != INITIAL_BYTES:
        raise ValueError(f"a value of {len(initial)} bytes, {INITIAL_BYTES} are needed")
    with rejecting(CertificationRejected):
        written = guard_index(guard.policy)
        fit_index(index_public, replace(written, attributes=written.attributes & ~NvAttributes.WRITTEN))
    return _message(nonce, _DEFINE + _OWNER + len(initial).to_bytes(2, "big") + initial + index_public)


def removal_message(nonce: bytes, index_public: bytes, guard: Guard) -> bytes:
    """What the grant key signs so that a node removes exactly this guard's index; raises like `definition_message`."""
    with rejecting(CertificationRejected):
        name = nv_name(guard.index(index_public))
    return _message(nonce, _UNDEFINE + _OWNER + name)


def _message(nonce: bytes, command: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce of {len(nonce)} bytes, {NONCE_BYTES} are needed")
    return nonce + bytes(4) + hashlib.sha256(command).digest() + OWNER_REFERENCE
