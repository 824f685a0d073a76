"""What the policies of guarded keys come to. Pure: nothing here talks to a TPM.

TCG TPM 2.0 Library Part 3, 23: each assertion extends the digest of those before it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tpm2_pytss import TPM2_CC

RESET_REFERENCE = b"keyvigil/pin-reset/1"
"""policyRef of a reset: whatever else the same key signs lifts no lock."""

CHANGE_REFERENCE = b"keyvigil/pin-change/1"
OWNER_REFERENCE = b"keyvigil/owner-command/1"
"""policyRef of a command of the owner's."""

_START = bytes(32)
_NO = b"\0"
_OWNER = 0x40000001.to_bytes(4, "big")
"""TPM_RH_OWNER, whose Name is its handle (Part 1, 16)."""


@dataclass(frozen=True)
class IndexPolicy:
    """The ways to use a guard's index, any one of which its policy allows.

    `reset` (PolicySigned by the reset key, NV_Write) and `change` (PolicyAuthorize) are the two that alter it; the only
    policy that was ever approved for `change` is `changing`. `first` (PolicyNvWritten NO, NV_Write) gives a new index
    its limit, once. `read` and `certify` are open to anybody. `mark` is a digest that no session reaches, and tells two
    labels apart. None is PolicyAuthValue: there a TPM counts wrong answers, and keeps no limit.
    """

    reset: bytes
    change: bytes
    first: bytes
    read: bytes
    certify: bytes
    mark: bytes

    @classmethod
    def of(cls, reset_key_name: bytes, change_key_name: bytes, mark: bytes) -> IndexPolicy:
        """For the Names of a reset key and of the key that approved the change, and a label's mark."""
        signed = _two_steps(_START, TPM2_CC.PolicySigned, reset_key_name, RESET_REFERENCE)
        unwritten = _step(_START, TPM2_CC.PolicyNvWritten, _NO)
        return cls(
            reset=_only(signed, TPM2_CC.NV_Write),
            change=_two_steps(_START, TPM2_CC.PolicyAuthorize, change_key_name, CHANGE_REFERENCE),
            first=_only(unwritten, TPM2_CC.NV_Write),
            read=_only(_START, TPM2_CC.NV_Read),
            certify=_only(_START, TPM2_CC.NV_Certify),
            mark=mark,
        )

    @property
    def branches(self) -> tuple[bytes, ...]:
        """In the order of the fields."""
        return self.reset, self.change, self.first, self.read, self.certify, self.mark

    @property
    def digest(self) -> bytes:
        """The index's authPolicy: PolicyOR over the branches."""
        return _step(_START, TPM2_CC.PolicyOR, *self.branches)


def gate_policy(index_name: bytes) -> bytes:
    """PolicySecret(index): whoever answers the PIN."""
    return _two_steps(_START, TPM2_CC.PolicySecret, index_name, b"")


def changing(index_name: bytes) -> bytes:
    """PolicySecret(index), NV_ChangeAuth: whoever answers the PIN may replace it."""
    return _only(gate_policy(index_name), TPM2_CC.NV_ChangeAuth)


def key_policy(index_name: bytes) -> bytes:
    """PolicySecret(index), and PolicyAuthValue."""
    return _step(gate_policy(index_name), TPM2_CC.PolicyAuthValue)


def reset_content(limit: int) -> bytes:
    """TPMS_NV_PIN_COUNTER_PARAMETERS (Part 2, 13.3): no failure so far, and the limit."""
    return bytes(4) + limit.to_bytes(4, "big")


def reset_command(index_name: bytes, limit: int) -> bytes:
    """cpHash (Part 1, 16.7) of the only write that a reset allows: TPM2_NV_Write of no failure, with the same limit."""
    content = reset_content(limit)
    sized = len(content).to_bytes(2, "big") + content
    return hashlib.sha256(_code(TPM2_CC.NV_Write) + index_name + index_name + sized + bytes(2)).digest()


def owner_policy(grant_key_name: bytes) -> bytes:
    """PolicySigned by the grant key, which names in each signature the one command that it allows."""
    return _two_steps(_START, TPM2_CC.PolicySigned, grant_key_name, OWNER_REFERENCE)


def define_command(initial: bytes, index_public: bytes) -> bytes:
    """cpHash of TPM2_NV_DefineSpace by the owner, of the index in TPM2B_NV_PUBLIC with the value `initial`."""
    sized = len(initial).to_bytes(2, "big") + initial
    return hashlib.sha256(_code(TPM2_CC.NV_DefineSpace) + _OWNER + sized + index_public).digest()


def undefine_command(index_name: bytes) -> bytes:
    """cpHash of TPM2_NV_UndefineSpace by the owner."""
    return hashlib.sha256(_code(TPM2_CC.NV_UndefineSpace) + _OWNER + index_name).digest()


def _only(before: bytes, command: int) -> bytes:
    return _step(before, TPM2_CC.PolicyCommandCode, _code(command))


def _two_steps(before: bytes, command: int, name: bytes, reference: bytes) -> bytes:
    """PolicyUpdate(): Part 3, 23.2.3."""
    return hashlib.sha256(_step(before, command, name) + reference).digest()


def _step(before: bytes, command: int, *parts: bytes) -> bytes:
    return hashlib.sha256(before + _code(command) + b"".join(parts)).digest()


def _code(command: int) -> bytes:
    return int(command).to_bytes(4, "big")
