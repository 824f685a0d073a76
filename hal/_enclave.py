"""Enclaves: TPM 2.0 and whatever else keeps keys and attests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import ClassVar, NoReturn, Self

from hal._errors import Unsupported
from hal._values import Capability, DeviceInfo

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
    `free_counters` the NV counters that still fit. `owner_auth_set` tells whether the storage hierarchy asks for an
    authorisation value.
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


class Enclave:
    """A place that makes keys, keeps secrets bound to the machine's state, and attests to both; a `Device`.

    A driver overrides what its technology can do and names it in `info.capabilities`; what it does not override raises
    `Unsupported`. Every operation ends by the driver's own limit (option `timeout`) with `TimedOut`. No method keeps an
    object or session loaded. Objects that outlast a call are named by a `label` (1 to 32 of a-z, 0-9, -).
    """

    kind: ClassVar[EnclaveKind]

    @property
    def info(self) -> DeviceInfo:
        """Who and where the enclave is, and what it can do."""
        self._lacks("identity")

    def close(self) -> None:
        """Release the enclave; closing twice is allowed."""
        self._lacks("closing")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def status(self) -> EnclaveStatus:
        """Maker, firmware, clock, counters and free slots."""
        self._lacks("status")

    def random(self, count: int) -> bytes:
        """`count` random bytes from the enclave's generator."""
        self._lacks("random numbers")

    def lockout(self) -> LockoutStatus:
        """Dictionary-attack counters (`LOCKOUT`)."""
        self._lacks(Capability.LOCKOUT)

    # Attestation.

    def endorsement(self) -> Endorsement:
        """The endorsement key and its certificates (`ENDORSE`)."""
        self._lacks(Capability.ENDORSE)

    def attestation_key(self) -> bytes:
        """Public area (TPM2B_PUBLIC) of the AK (`ATTEST`): a restricted P-256 signing key."""
        self._lacks(Capability.ATTEST)

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> bytes:
        """Answer MakeCredential (`ENDORSE`): the secret, if EK and AK live here; raises `AuthorisationFailed`."""
        self._lacks(Capability.ENDORSE)

    def quote(self, qualifying: bytes, selection: PcrSelection) -> Attestation:
        """The AK's signature over `qualifying` (32 bytes) and the selected PCRs of the SHA-256 bank (`ATTEST`)."""
        self._lacks(Capability.ATTEST)

    def report(self, qualifying: bytes) -> Report:
        """A confidential VM's report over `qualifying` (at most 64 bytes) (`REPORT`)."""
        self._lacks(Capability.REPORT)

    def read_pcrs(self, selection: PcrSelection) -> dict[int, bytes]:
        """Current values of the SHA-256 bank (`PCRS`)."""
        self._lacks(Capability.PCRS)

    # Keys.

    def create_key(self, use: KeyUse, auth: bytes, qualifying: bytes) -> CertifiedKey:
        """A new P-256 key (`SIGN`, `AGREE`), with `CERTIFY` certified by the AK over `qualifying` (32 bytes)."""
        self._lacks(Capability.SIGN if use is KeyUse.SIGN else Capability.AGREE)

    def sign(self, key: CertifiedKey, auth: bytes, digest: bytes) -> bytes:
        """ECDSA P-256 over a 32-byte SHA-256 digest as 64 bytes r ‖ s (`SIGN`); raises `AuthorisationFailed`."""
        self._lacks(Capability.SIGN)

    def agree(self, key: CertifiedKey, auth: bytes, peer: bytes) -> bytes:
        """ECDH (`AGREE`): the 32-byte x-coordinate shared with `peer` (65-byte uncompressed point)."""
        self._lacks(Capability.AGREE)

    # Sealed secrets.

    def seal(self, secret: bytes, selection: PcrSelection, authority: SealAuthority | None = None) -> bytes:
        """Bind up to 128 bytes to this enclave (`SEAL`); an opaque blob.

        Without an `authority`: to the current values of the selected PCRs, for ever; an enclave without `PCRS` takes an
        empty selection only. With one (`SEAL_APPROVED`): to whatever state that authority approves; `selection` is
        then given by the approval and ignored here.
        """
        self._lacks(Capability.SEAL if authority is None else Capability.SEAL_APPROVED)

    def unseal(self, blob: bytes, approval: Approval | None = None) -> bytes:
        """The sealed secret (`SEAL`); raises `AuthorisationFailed`.

        It is refused when the PCRs moved, when the blob is of another enclave, or when the approval is not the
        authority's, not for this state, or below the floor.
        """
        self._lacks(Capability.SEAL)

    def pcr_policy(self, selection: PcrSelection, authority: SealAuthority, version: int = 0) -> bytes:
        """The 32-byte policy of the present PCR values and `version`, for the authority to sign (`SEAL_APPROVED`).

        `version` counts where the authority has a floor, and only there.
        """
        self._lacks(Capability.SEAL_APPROVED)

    # What outlasts a reboot.

    def counter(self, label: str) -> int:
        """Value of a counter that can only grow (`COUNTER`); made when it is missing, never below any earlier one."""
        self._lacks(Capability.COUNTER)

    def advance(self, label: str) -> int:
        """Add one to a counter, and its new value."""
        self._lacks(Capability.COUNTER)

    def measurement(self, label: str) -> bytes:
        """32 bytes: what was measured under `label` since the last reset (`MEASURE`), zeros before the first."""
        self._lacks(Capability.MEASURE)

    def measure(self, label: str, digest: bytes) -> bytes:
        """Extend by a 32-byte digest: the new value is SHA-256(old ‖ digest)."""
        self._lacks(Capability.MEASURE)

    def certify_counter(self, label: str, qualifying: bytes) -> NvCertification:
        """The AK's certification of a counter over `qualifying` (32 bytes)."""
        self._lacks(Capability.COUNTER)

    def certify_measurement(self, label: str, qualifying: bytes) -> NvCertification:
        """The AK's certification of a measurement over `qualifying` (32 bytes); raises `NotFound` before the first."""
        self._lacks(Capability.MEASURE)

    def set_pin(self, label: str, pin: bytes, limit: int) -> None:
        """Make a PIN-fail index (`PIN`) that locks after `limit` wrong answers, or replace it; 1 to 32 bytes."""
        self._lacks(Capability.PIN)

    def try_pin(self, label: str, pin: bytes) -> None:
        """Answer; raises `AuthorisationFailed` when wrong or locked, `NotFound`. A right answer clears the count."""
        self._lacks(Capability.PIN)

    def pin_state(self, label: str) -> PinState:
        """How often the PIN was answered wrongly; raises `NotFound`."""
        self._lacks(Capability.PIN)

    def forget(self, label: str) -> None:
        """Remove the counter, measurement, PIN and guard of this label, where there are any."""
        self._lacks(Capability.COUNTER)

    # Keys behind a PIN.

    def create_guarded_key(
        self,
        label: str,
        pin: bytes,
        auth: bytes,
        limit: int,
        reset_key: bytes,
        qualifying: bytes,
        *,
        owner: bytes | Grant = b"",
    ) -> GuardedKey:
        """A P-256 signing key behind a PIN index of this label, which it replaces (`GUARD`).

        `pin` and `auth` are 32 bytes each; the key signs with both alone. `limit` wrong answers lock the index;
        `reset_key` (65-byte uncompressed P-256 point) is whose signature opens it again. `owner` is the enclave's owner
        authorisation, where one is set, or the reset key's grant of what `plan_guard` planned, which replaces nothing.
        Both certifications are over `qualifying` (32 bytes).
        """
        self._lacks(Capability.GUARD)

    def guarded_sign(self, key: GuardedKey, pin: bytes, auth: bytes, digest: bytes) -> bytes:
        """ECDSA P-256 over a 32-byte SHA-256 digest as 64 bytes r ‖ s (`GUARD`).

        Raises `AuthorisationFailed` for a wrong `pin`, which counts, and for a wrong `auth`; `Locked` at the limit,
        `NotFound` without the index. A right PIN clears the count.
        """
        self._lacks(Capability.GUARD)

    def change_pin(self, key: GuardedKey, old: bytes, new: bytes) -> None:
        """Replace a guard's PIN at once (`GUARD`): afterwards the old one opens nothing, an old key blob's neither.

        `key` itself stays as it is. Whatever interrupts the change, one of the two is in force, and never both. Raises
        like `guarded_sign`.
        """
        self._lacks(Capability.GUARD)

    def guard_state(self, key: GuardedKey) -> PinState:
        """How often a guard was answered wrongly (`GUARD`); needs no authorisation; raises `NotFound`."""
        self._lacks(Capability.GUARD)

    def certify_guard(self, key: GuardedKey, qualifying: bytes) -> NvCertification:
        """The AK's certification of a guard's count and limit over `qualifying` (32 bytes) (`GUARD`, `CERTIFY`)."""
        self._lacks(Capability.GUARD)

    def reset_nonce(self, key: GuardedKey) -> bytes:
        """Begin to lift a lock (`GUARD`): 32 bytes for the holder of the reset key.

        What he signs is `authority.tpm.reset_message`: this nonce, and the one write that it allows. A later
        `reset_nonce` takes the place of an earlier one; closing or a reset of the enclave in between makes it void.
        """
        self._lacks(Capability.GUARD)

    def reset_pin(self, key: GuardedKey, signature: bytes) -> None:
        """Set the count to zero (`GUARD`) by the reset key's signature (64 bytes r ‖ s) over the last nonce.

        Raises `AuthorisationFailed` for a signature by another key, over another nonce or another write.
        """
        self._lacks(Capability.GUARD)

    def plan_guard(self, label: str, reset_key: bytes) -> OwnerCommand:
        """Begin to make a guard (`GUARD`, `OWNERSHIP`) in an enclave whose owner's authorisation lies elsewhere.

        What the holder of the reset key signs is `authority.tpm.definition_message`. A later plan takes the place of an
        earlier one; closing or a reset of the enclave in between makes it void. Raises `Busy`.
        """
        self._lacks(Capability.GUARD)

    def plan_removal(self, key: GuardedKey) -> OwnerCommand | None:
        """Begin to remove a guard (`GUARD`, `OWNERSHIP`) in the same way; nothing where it is gone.

        What is signed is `authority.tpm.removal_message`.
        """
        self._lacks(Capability.GUARD)

    def remove_guard(self, key: GuardedKey, *, owner: bytes | Grant = b"") -> None:
        """Remove the PIN index (`GUARD`), after which the key never signs again; a missing one is fine.

        By the owner's authorisation, or by the grant of what `plan_removal` planned.
        """
        self._lacks(Capability.GUARD)

    # Whose the enclave is.

    def take_ownership(self, new: OwnerAuth, old: OwnerAuth | None = None, grant_key: bytes = b"") -> None:
        """Set both authorisations (`OWNERSHIP`), where `old` or nothing is in force; doing so again changes nothing.

        Afterwards the holder of `grant_key` (65-byte point) may allow single commands of the owner's without them. What
        was made before keeps working. Interrupted half-way it is completed by being called again.
        Raises `AuthorisationFailed` when neither `old` nor `new` is in force.
        """
        self._lacks(Capability.OWNERSHIP)

    def certify_ownership(self, qualifying: bytes) -> OwnershipProof:
        """Whether owner and lockout have authorisation values, certified by the AK over `qualifying` (32 bytes)."""
        self._lacks(Capability.OWNERSHIP)

    def _lacks(self, what: str) -> NoReturn:
        raise Unsupported(f"an enclave of kind {self.kind.value} has no {what}")
