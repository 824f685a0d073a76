"""Whose a node's TPM is, and what the authority allows the node as its owner."""

from __future__ import annotations

from typing import Annotated

import msgspec

from protocol.levels import Ownership
from protocol.messages._base import Message


class OwnershipReport(Message, frozen=True):
    """POST /v1/ownership: TPMA_PERMANENT, and the AK's certification over `ownership_digest` that it is so."""

    nonce: bytes
    permanent: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    attest: bytes
    signature: bytes


class OwnershipAnswer(Message, frozen=True, omit_defaults=True):
    """Whose the TPM is now; when it is to be taken, a sealed `protocol.ownership.OwnerValues` and the grant key.

    `grant_key` is a 65-byte point, whose signature allows single commands of the owner's.
    """

    state: Ownership
    sealed: bytes = b""
    grant_key: bytes = b""

    def __repr__(self) -> str:
        return f"OwnershipAnswer(state={self.state.value!r})"


class IndexRequest(Message, frozen=True):
    """POST /v1/enrolments/{enrolment_id}/index: let the TPM define a guard's index; `nonce` (32 bytes) is the TPM's.

    `public` is the index (TPM2B_NV_PUBLIC), `initial` (32 bytes) the value that it begins with, which the PIN replaces
    at once, and `change_key` (65-byte point) the key that approves that.
    """

    nonce: bytes
    public: bytes
    initial: bytes
    change_key: bytes

    def __repr__(self) -> str:
        return "IndexRequest()"


class RemovalRequest(Message, frozen=True):
    """POST /v1/profiles/{record_id}/removal: let the TPM remove the index of a guard that is of no more use."""

    nonce: bytes
    public: bytes
    change_key: bytes


class OwnerGrant(Message, frozen=True):
    """The grant key's signature (64 bytes r ‖ s) that allows the one command."""

    signature: bytes
