"""Enrolling, and what becomes of a profile later."""

from __future__ import annotations

from typing import Annotated

import msgspec

from protocol.bounds import Identifier, Instant, Word
from protocol.messages._base import CertifiedPublic, Message, SensorIdentity

MOST_TRAITS = 8


class EnrolStart(Message, frozen=True):
    """POST /v1/enrolments: the administrator's one-time ticket and PIN.

    `replaces` names the same administrator's record at this node that the new one takes the place of.
    """

    admin: str
    ticket: str
    pin: str
    replaces: Identifier | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return f"EnrolStart(admin={self.admin!r})"


class EnrolSession(Message, frozen=True):
    """What the node needs to enrol: nonce for the certification, consent text, this profile's first release share.

    `sealed_share` is a sealed `protocol.release.ReleasedShares`. `approval_key` (65-byte point) is whose approvals open
    what the enclave seals, and whose signature lifts a lock of the profile key. `granted` tells that the authority is
    the TPM's owner: an index is made by its grant (`IndexRequest`).
    """

    enrolment_id: str
    nonce: bytes
    record_id: str
    sealed_share: bytes
    approval_key: bytes
    modalities: list[str]
    consent_version: str
    consent_text: str
    expires_at: Instant
    granted: bool = False

    def __repr__(self) -> str:
        return f"EnrolSession(enrolment_id={self.enrolment_id!r})"


class ModalityModel(Message, frozen=True):
    """A modality of a profile, the model that made its features, and the version of the parameters.

    `traits` are words for how the modality is used that a policy may demand or refuse: `two-fingers`, `gestures`,
    `spoken-digits`, `own-threshold`, `own-model`, and those of further modalities.
    """

    modality: str
    model: str
    parameters: str
    traits: Annotated[tuple[Word, ...], msgspec.Meta(min_length=1, max_length=MOST_TRAITS)] | msgspec.UnsetType = (
        msgspec.UNSET
    )

    @property
    def traits_known(self) -> frozenset[str]:
        """The traits, or none."""
        return frozenset() if isinstance(self.traits, msgspec.UnsetType) else frozenset(self.traits)


class CertifiedIndex(Message, frozen=True):
    """A TPM's NV index: its public area (TPM2B_NV_PUBLIC), and the AK's certification of its content."""

    public: bytes
    attest: bytes
    signature: bytes


class CertifiedGuard(CertifiedIndex, frozen=True):
    """A profile key's PIN index; `change_key` (65-byte point) approved its PIN's change, and was thrown away."""

    change_key: bytes


class EnrolFinish(Message, frozen=True):
    """PUT /v1/enrolments/{enrolment_id}; everything certified is certified over `enrol_digest`.

    A TPM's profile key names in its policy the PIN index `guard`, which counts wrong answers; `floor` is the counter
    below whose value no approval of a machine state counts. Neither is there without a TPM. `infrared` is the second
    camera beside that of the face, which is pinned with the sensors; a node without one leaves it out.
    """

    profile_key: CertifiedPublic
    modalities: list[ModalityModel]
    sensors: list[SensorIdentity]
    consent_version: str
    consent_sha256: str
    consent_at: Instant
    guard: CertifiedGuard | msgspec.UnsetType = msgspec.UNSET
    floor: CertifiedIndex | msgspec.UnsetType = msgspec.UNSET
    infrared: SensorIdentity | msgspec.UnsetType = msgspec.UNSET


class EnrolResult(Message, frozen=True):
    """State of the profile: `pending` until an operator approves."""

    record_id: str
    state: str


class ResetRequest(Message, frozen=True):
    """POST /v1/profiles/{record_id}/reset: the enclave's nonce (32 bytes) for lifting the lock of a profile key."""

    nonce: bytes


class ResetGrant(Message, frozen=True):
    """The approval key's signature (64 bytes r ‖ s) that lifts the lock."""

    signature: bytes


class ErasedRecord(Message, frozen=True):
    """POST /v1/profiles/{record_id}/erased: the node holds nothing of this record any more."""

    record_id: Identifier
