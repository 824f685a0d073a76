"""Secrets bound to this TPM, and to PCR values or to what an authority approves.

TCG TPM 2.0 Library Part 3: TPM2_PolicyPCR 23.7, TPM2_PolicyNV 23.9, TPM2_PolicyAuthorize 23.16.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_EO,
    TPM2_SE,
    TPM2B_DIGEST,
    TPM2B_ECC_PARAMETER,
    TPM2B_NAME,
    TPM2B_SENSITIVE_CREATE,
    TPMS_SENSITIVE_CREATE,
    TPMS_SIGNATURE_ECC,
    TPMT_SIGNATURE,
    TPMU_SIGNATURE,
)

from drivers.tpm2 import _pcrs, _registers, _templates
from drivers.tpm2._blob import SealedBlob
from drivers.tpm2._errors import foreign
from drivers.tpm2._tpm import DECRYPT, ENCRYPT, Tpm, refusing
from hal import Approval, AuthorisationFailed, DeviceError, PcrSelection, SealAuthority

_POLICY_AUTHORIZE = 0x0000016A.to_bytes(4, "big")
_BAD_SIGNATURE = frozenset({0x092, 0x095, 0x098, 0x09B})
_COMPARISON_FAILED = frozenset({0x126})
_OTHER_POLICY = frozenset({0x084})


def seal(tpm: Tpm, secret: bytes, selection: PcrSelection, authority: SealAuthority | None) -> bytes:
    """TPM2_Create of a data object whose policy is PolicyPCR over the current values, or PolicyAuthorize."""
    if authority is None:
        policy = _pcrs.policy_now(tpm, selection)
    else:
        selection, policy = (), authorised_by(authority)
        if authority.floor:
            _registers.counter_index(tpm, authority.floor)
    sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=secret))
    with tpm.storage_root() as root, tpm.session(root, DECRYPT | ENCRYPT) as session:
        private, public, _, _, _ = tpm.esys.create(root, sensitive, _templates.sealed_object(policy), session1=session)
        return SealedBlob(selection, tpm.name(root), public.marshal(), private.marshal(), authority).pack()


def unseal(tpm: Tpm, blob: bytes, approval: Approval | None) -> bytes:
    """TPM2_Unseal in a salted policy session that encrypts the answer."""
    sealed = SealedBlob.unpack(blob)
    satisfied = _Satisfied(tpm, sealed, approval)
    with tpm.storage_root() as root:
        # Before the session: whoever sits on the bus must not get to choose the key that the session is salted to.
        if tpm.name(root) != sealed.root:
            raise foreign("unsealing")
        with (
            tpm.session(root, ENCRYPT, TPM2_SE.POLICY) as session,
            tpm.loaded(root, sealed.public, sealed.private) as handle,
        ):
            satisfied.by(session)
            secret = tpm.esys.unseal(handle, session1=session)
            return bytes(secret)


def policy_of_now(tpm: Tpm, selection: PcrSelection, authority: SealAuthority, version: int) -> bytes:
    """What the authority signs: PolicyPCR over the current values, and that the floor is not above `version`."""
    floor = _registers.counter_index(tpm, authority.floor) if authority.floor else None
    _pcrs.read(tpm, selection)
    with _pcrs.trial(tpm) as session:
        _state_policy(tpm, session, selection, floor, version)
        digest = tpm.esys.policy_get_digest(session)
    return bytes(digest)


def authorised_by(authority: SealAuthority) -> bytes:
    """The policy PolicyAuthorize(key, reference), computed as Part 3, 23.16.1, equation (37) has it."""
    name = bytes(_templates.approving_key(authority.key).get_name())
    started = hashlib.sha256(bytes(32) + _POLICY_AUTHORIZE + name).digest()
    return hashlib.sha256(started + authority.reference).digest()


class _Satisfied:
    """What a blob's policy needs, fetched before the session that it is shown to: there is one slot less then."""

    def __init__(self, tpm: Tpm, sealed: SealedBlob, approval: Approval | None) -> None:
        self._tpm = tpm
        self._selection = sealed.selection
        self._authority = sealed.authority
        self._approval = approval
        self._floor: int | None = None
        self._ticket: Any = None
        if sealed.authority is not None:
            self._fetch(sealed.authority)

    def by(self, session: Any) -> None:
        """Bring the policy session to the blob's policy."""
        if self._authority is None or self._approval is None:
            self._tpm.esys.policy_pcr(session, b"", _pcrs.structure(self._selection))
            return
        approval, authority = self._approval, self._authority
        old = AuthorisationFailed(
            f"the approval of version {approval.version} is below the floor", remedy="Have this state approved anew."
        )
        with refusing(_COMPARISON_FAILED, old):
            _state_policy(self._tpm, session, approval.selection, self._floor, approval.version)
        other = AuthorisationFailed(
            "the approval is for another measured state or version than this machine's",
            remedy="Boot the software that was approved, or have the new state approved.",
        )
        with refusing(_OTHER_POLICY, other):
            self._tpm.esys.policy_authorize(
                session,
                approved_policy=approval.policy,
                key_sign=TPM2B_NAME(bytes(_templates.approving_key(authority.key).get_name())),
                check_ticket=self._ticket,
                policy_ref=authority.reference,
            )

    def _fetch(self, authority: SealAuthority) -> None:
        if self._approval is None:
            raise AuthorisationFailed("the blob opens by an approval only", remedy="Ask the authority for one.")
        refusal = AuthorisationFailed(
            "the approval is not the authority's", remedy="Ask the authority for its approval."
        )
        signature = self._approval.signature
        self._ticket = verified(
            self._tpm, authority.key, self._approval.policy + authority.reference, signature, refusal
        )
        if authority.floor:
            self._floor = _registers.existing_counter(self._tpm, authority.floor)
            if self._floor is None:
                raise AuthorisationFailed(
                    f"the counter {authority.floor!r} under the blob's floor is gone",
                    remedy="The TPM was cleared, or its owner removed the counter: join and enrol again.",
                )


def _state_policy(tpm: Tpm, session: Any, selection: PcrSelection, floor: int | None, version: int) -> None:
    tpm.esys.policy_pcr(session, b"", _pcrs.structure(selection))
    if floor is not None:
        with tpm.known(floor) as index:
            # By the index's own authorisation value, which is empty: what counts is the digest that comes of it.
            tpm.esys.policy_nv(index, index, session, version.to_bytes(8, "big"), TPM2_EO.UNSIGNED_LE)


def verified(tpm: Tpm, key: bytes, message: bytes, signature: bytes, refusal: DeviceError) -> Any:
    """The TPM's own ticket that the key at the point `key` signed the message (64 bytes r ‖ s); raises `refusal`."""
    handle = tpm.esys.load_external(_templates.approving_key(key), hierarchy=ESYS_TR.OWNER)
    with tpm.flushed(handle), refusing(_BAD_SIGNATURE, refusal):
        digest = hashlib.sha256(message).digest()
        return tpm.esys.verify_signature(handle, TPM2B_DIGEST(digest), ecdsa(signature))


def ecdsa(signature: bytes) -> Any:
    """TPMT_SIGNATURE by ECDSA with SHA-256, of 64 bytes r ‖ s."""
    r, s = (TPM2B_ECC_PARAMETER(half) for half in (signature[:32], signature[32:]))
    pair = TPMS_SIGNATURE_ECC(hash=TPM2_ALG.SHA256, signatureR=r, signatureS=s)
    return TPMT_SIGNATURE(sigAlg=TPM2_ALG.ECDSA, signature=TPMU_SIGNATURE(ecdsa=pair))
