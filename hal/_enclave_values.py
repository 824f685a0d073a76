"""What goes into an enclave and comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

PcrSelection = tuple[int, ...]
"""PCR indices of the SHA-256 bank, ascending."""

PcrValues = Mapping[int, bytes]
"""PCR index to its 32-byte SHA-256 value."""


class EnclaveKind(StrEnum):
    """Which technology holds the keys; the authority caps what the kind is worth."""

    TPM2 = "tpm2"
    PKCS11 = "pkcs11"
    CONFIDENTIAL_VM = "confidential-vm"
    SOFTWARE = "software"


class KeyUse(StrEnum):
    """What an enclave key is for. `SIGN` is P-256 ECDSA with an authorisation value; `AGREE` is P-256 ECDH only."""

    SIGN = "sign"
    AGREE = "agree"


@dataclass(frozen=True)
class Endorsement:
    """EK public area (marshalled TPM2B_PUBLIC) and its X.509 certificates in DER, leaf first.

    `further` are certificates of endorsement keys that this enclave has too and does not use, for diagnosis.
    """

    ek_public: bytes
    certificates: tuple[bytes, ...] = ()
    further: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class CertifiedKey:
    """A key made in the enclave: `public` and `private` are opaque TPM2B structures, `private` is wrapped.

    An enclave that is no TPM gives the 65-byte uncompressed point as `public` and a form of its own as `private`.

    `attest` and `signature` are the AK's certification (TPMS_ATTEST of type ATTEST_CERTIFY, TPMT_SIGNATURE) over the
    qualifying data that was given when the key was made.
    """

    public: bytes
    private: bytes = field(repr=False)
    attest: bytes = b""
    signature: bytes = b""


@dataclass(frozen=True)
class Attestation:
    """A quote: `attest` is TPMS_ATTEST, `signature` TPMT_SIGNATURE, `pcrs` the values read beside it."""

    attest: bytes
    signature: bytes
    pcrs: dict[int, bytes]


@dataclass(frozen=True)
class LockoutStatus:
    """State of the enclave's dictionary-attack protection."""

    failures: int
    max_failures: int
    recovery_seconds: int
    locked: bool


@dataclass(frozen=True)
class EnclaveClock:
    """TPMS_CLOCK_INFO: `milliseconds` since manufacture while powered, and the counts of resets and restarts.

    Both counts are those of the endorsement hierarchy, that is plain. `safe` is false after a power loss, until the
    clock is again past every value that it showed before.
    """

    milliseconds: int
    reset_count: int
    restart_count: int
    safe: bool


@dataclass(frozen=True)
class EnclaveStatus:
    """What a person wants to know of an enclave; a part that it does not tell is `None` or empty.

    `pcr_banks` names the active banks ("sha256"). `free_objects` and `free_sessions` count loadable slots,
    `free_counters` the NV counters that still fit, `free_indices` the small NV indices of other kinds.
    `owner_auth_set` tells whether the storage hierarchy asks for an authorisation value.
    """

    maker: str
    model: str
    firmware: str
    clock: EnclaveClock | None = None
    lockout: LockoutStatus | None = None
    pcr_banks: tuple[str, ...] = ()
    free_objects: int | None = None
    free_sessions: int | None = None
    free_counters: int | None = None
    free_indices: int | None = None
    owner_auth_set: bool | None = None


@dataclass(frozen=True)
class SealAuthority:
    """Whose approvals open a sealed secret: TPM2_PolicyAuthorize (TCG TPM 2.0 Library Part 3, 23.16).

    `key` is a P-256 public key as a 65-byte uncompressed point; `reference` (policyRef, at most 32 bytes) keeps
    approvals for one purpose apart from those for another. `floor` names a counter of this enclave: an approval of a
    version below its value no longer counts.
    """

    key: bytes
    reference: bytes
    floor: str = ""


@dataclass(frozen=True)
class Approval:
    """A `SealAuthority`'s signature (ECDSA P-256, 64 bytes r ‖ s) over SHA-256(`policy` ‖ reference).

    `policy` is the 32-byte digest that `Enclave.pcr_policy` gives; `selection` and `version` are what it was made of.
    """

    policy: bytes
    signature: bytes
    selection: PcrSelection
    version: int = 0


@dataclass(frozen=True)
class NvCertification:
    """The AK's word on an NV index: `attest` is TPMS_ATTEST of type ATTEST_NV, `signature` TPMT_SIGNATURE.

    `public` is the index's public area (TPM2B_NV_PUBLIC), whose digest is the Name in `attest`.
    """

    attest: bytes
    signature: bytes
    public: bytes


@dataclass(frozen=True)
class PinState:
    """Wrong answers so far, and how many lock the index."""

    failures: int
    limit: int


@dataclass(frozen=True)
class GuardedKey:
    """A signing key that only a PIN opens, whose wrong answers the enclave itself counts; all that its use needs.

    `index` is the AK's certification of the PIN index over the qualifying data that the key was made with; the key's
    policy names that index, which has `label` and `reset_key` in its own. `gate` is a sealed half of the key's
    authorisation value, which the right PIN alone releases: a candidate for the other half cannot be tried on the key
    without an answer that counts. `change` is what lets whoever answers the PIN replace it: the point (65 bytes) of a
    key that was thrown away, and that key's signature (64). An enclave that is no TPM gives a form of its own as
    `index.public`, and nothing else in `index` and `change`.
    """

    label: str
    key: CertifiedKey
    index: NvCertification
    gate: bytes = field(repr=False)
    reset_key: bytes
    change: bytes


@dataclass(frozen=True)
class OwnerAuth:
    """Authorisation values (32 random bytes, or none) of an enclave's storage hierarchy and of its lockout."""

    owner: bytes = field(default=b"", repr=False)
    lockout: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class OwnerCommand:
    """A command that an enclave takes from its owner, for the holder of the grant key to allow (`OWNERSHIP`).

    `index` (TPM2B_NV_PUBLIC) is what is made or removed, `nonce` (32 bytes) the enclave's own. A new index begins with
    `initial` (32 bytes), which its maker replaces at once, and `change_key` (65-byte point) approves that.
    """

    nonce: bytes
    index: bytes
    initial: bytes = field(default=b"", repr=False)
    change_key: bytes = b""


@dataclass(frozen=True)
class Grant:
    """The grant key's signature (64 bytes r ‖ s) that allows one `OwnerCommand`."""

    signature: bytes


@dataclass(frozen=True)
class OwnershipProof:
    """The AK's word (TPMS_ATTEST of type ATTEST_SESSION_AUDIT, TPMT_SIGNATURE) that `permanent` is TPMA_PERMANENT."""

    attest: bytes
    signature: bytes
    permanent: int


@dataclass(frozen=True)
class Report:
    """A confidential VM's attestation: the kernel's `provider`, its report, and auxiliary data (certificates)."""

    provider: str
    report: bytes
    auxiliary: bytes = b""
    generation: int = 0
