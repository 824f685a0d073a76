"""Profile keys behind a PIN index: their policies computed without a TPM, their certification, their resets.

TCG TPM 2.0 Library Part 3, 23: each policy assertion extends the digest of those before it. Which way of using the
index each branch of its policy is, and why none is PolicyAuthValue: docs/decisions/0025-guarded-keys.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

from cryptography.hazmat.primitives.asymmetric import ec

from authority.tpm._reader import TpmFormatError
from authority.tpm.certify import certified, p256_key
from authority.tpm.keys import RH_ENDORSEMENT
from authority.tpm.nv import NvPublic, fit_index, guard_index, nv_mark, nv_name, verify_nv
from authority.tpm.rejection import CertificationRejected, Reason, TpmRejected, rejecting
from authority.tpm.wire import Algorithm, Curve, ObjectAttributes

RESET_REFERENCE = b"keyvigil/pin-reset/1"
CHANGE_REFERENCE = b"keyvigil/pin-change/1"
GUARD_PURPOSE = 0xA4
NONCE_BYTES = 32
POINT_BYTES = 65

_A = ObjectAttributes
_GUARDED = _A.FIXED_TPM | _A.FIXED_PARENT | _A.SENSITIVE_DATA_ORIGIN | _A.NO_DA | _A.SIGN
_NO = b"\0"


class _Command(IntEnum):
    """TPM_CC (Part 2, 6.5.2)."""

    NV_WRITE = 0x137
    NV_CHANGE_AUTH = 0x13B
    NV_READ = 0x14E
    POLICY_SECRET = 0x151
    POLICY_SIGNED = 0x160
    POLICY_AUTHORIZE = 0x16A
    POLICY_AUTH_VALUE = 0x16B
    POLICY_COMMAND_CODE = 0x16C
    POLICY_OR = 0x171
    NV_CERTIFY = 0x184
    POLICY_NV_WRITTEN = 0x18F


@dataclass(frozen=True)
class Guard:
    """What makes a guard's index ours: its label, our reset key, and the node's throw-away key that approved changes.

    Both keys are P-256 points of 65 bytes, uncompressed.
    """

    label: str
    reset_key: bytes
    change_key: bytes

    @property
    def policy(self) -> bytes:
        """The index's authPolicy: PolicyOR of six branches."""
        start = bytes(32)
        signed = _referring(start, _Command.POLICY_SIGNED, signer_name(self.reset_key), RESET_REFERENCE)
        unwritten = _step(start, _Command.POLICY_NV_WRITTEN, _NO)
        branches = (
            _only(signed, _Command.NV_WRITE),
            _referring(start, _Command.POLICY_AUTHORIZE, signer_name(self.change_key), CHANGE_REFERENCE),
            _only(unwritten, _Command.NV_WRITE),
            _only(start, _Command.NV_READ),
            _only(start, _Command.NV_CERTIFY),
            nv_mark(GUARD_PURPOSE, self.label),
        )
        return _step(start, _Command.POLICY_OR, *branches)

    def index(self, index_public: bytes) -> NvPublic:
        """The index in TPM2B_NV_PUBLIC, if it is this guard's; raises `TpmRejected`, `TpmFormatError`."""
        return fit_index(index_public, guard_index(self.policy))


@dataclass(frozen=True)
class GuardCount:
    """What a guard's index holds: TPMS_NV_PIN_COUNTER_PARAMETERS (Part 2, 13.3)."""

    failures: int
    limit: int


def verify_guarded_key(  # noqa: PLR0913 - each argument is one thing that the certification must agree with
    attest: bytes,
    signature: bytes,
    ak_public: bytes,
    qualifying: bytes,
    object_public: bytes,
    index_public: bytes,
    guard: Guard,
    *,
    hierarchy: int | None = RH_ENDORSEMENT,
) -> ec.EllipticCurvePublicKey:
    """The P-256 key in `object_public`, if the enrolled AK certified it over `qualifying` and that PIN opens it.

    The key signs by exactly PolicySecret(index) and PolicyAuthValue, and by nothing else. Raises
    `CertificationRejected`.
    """
    with rejecting(CertificationRejected):
        public = certified(attest, signature, ak_public, qualifying, object_public, hierarchy)
        if public.attributes != _GUARDED:
            raise TpmRejected(Reason.UNFIT_OBJECT, f"a guarded key with {public.attributes!r}")
        if public.auth_policy != key_policy(nv_name(guard.index(index_public))):
            raise TpmRejected(Reason.UNFIT_OBJECT, "a key with another authorisation policy")
        return p256_key(public, Algorithm.ECDSA)


def verify_guard(
    attest: bytes,
    signature: bytes,
    ak_public: bytes,
    qualifying: bytes,
    index_public: bytes,
    guard: Guard,
    *,
    hierarchy: int | None = RH_ENDORSEMENT,
) -> GuardCount:
    """Count and limit of a guard, if the enrolled AK certified them; raises `CertificationRejected`."""
    with rejecting(CertificationRejected):
        expected = guard_index(guard.policy)
    contents = verify_nv(attest, signature, ak_public, qualifying, index_public, expected, hierarchy=hierarchy)
    return GuardCount(int.from_bytes(contents[:4], "big"), int.from_bytes(contents[4:], "big"))


def key_policy(index_name: bytes) -> bytes:
    """PolicySecret(index), and PolicyAuthValue."""
    return _step(_referring(bytes(32), _Command.POLICY_SECRET, index_name, b""), _Command.POLICY_AUTH_VALUE)


def reset_message(nonce: bytes, index_public: bytes, guard: Guard, limit: int) -> bytes:
    """What the reset key signs (ECDSA with SHA-256) so that a guard's count becomes zero again.

    aHash of Part 3, 23.3.1: `nonce` (32 bytes, from the node), no expiration, cpHash of the one command, reference. The
    command writes no failure and `limit` to exactly this index: a node cannot use the signature for a limit of its own.
    Raises `ValueError` for a nonce of another length, `CertificationRejected` for what is not this guard's index.
    """
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce of {len(nonce)} bytes, {NONCE_BYTES} are needed")
    with rejecting(CertificationRejected):
        name = nv_name(guard.index(index_public))
    content = bytes(4) + limit.to_bytes(4, "big")
    parameters = len(content).to_bytes(2, "big") + content + bytes(2)
    command = hashlib.sha256(_Command.NV_WRITE.to_bytes(4, "big") + name + name + parameters).digest()
    return nonce + bytes(4) + command + RESET_REFERENCE


def signer_name(point: bytes) -> bytes:
    """Name under which a TPM knows a software key of ours: P-256, ECDSA with SHA-256, nothing but signing.

    Raises `TpmFormatError` for anything else than a point of 65 bytes on the curve.
    """
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise TpmFormatError("a key that is no point on P-256") from None
    if len(point) != POINT_BYTES:
        raise TpmFormatError("a key whose point is not uncompressed")
    null = Algorithm.NULL.to_bytes(2, "big")
    area = Algorithm.ECC.to_bytes(2, "big") + Algorithm.SHA256.to_bytes(2, "big")
    area += (_A.USER_WITH_AUTH | _A.SIGN).to_bytes(4, "big") + bytes(2) + null
    area += Algorithm.ECDSA.to_bytes(2, "big") + Algorithm.SHA256.to_bytes(2, "big")
    area += Curve.P256.to_bytes(2, "big") + null
    area += b"".join(len(half).to_bytes(2, "big") + half for half in (point[1:33], point[33:]))
    return Algorithm.SHA256.to_bytes(2, "big") + hashlib.sha256(area).digest()


def _only(before: bytes, command: _Command) -> bytes:
    return _step(before, _Command.POLICY_COMMAND_CODE, command.to_bytes(4, "big"))


def _referring(before: bytes, command: _Command, name: bytes, reference: bytes) -> bytes:
    """PolicyUpdate(): Part 3, 23.2.3."""
    return hashlib.sha256(_step(before, command, name) + reference).digest()


def _step(before: bytes, command: _Command, *parts: bytes) -> bytes:
    return hashlib.sha256(before + command.to_bytes(4, "big") + b"".join(parts)).digest()
