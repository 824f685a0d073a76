"""Enclaves: TPM 2.0 and whatever else keeps keys and attests."""

from __future__ import annotations

from types import TracebackType
from typing import ClassVar, NoReturn, Self

from hal._enclave_values import (
    Approval,
    Attestation,
    CertifiedKey,
    EnclaveKind,
    EnclaveStatus,
    Endorsement,
    Grant,
    GuardedKey,
    KeyUse,
    LockoutStatus,
    NvCertification,
    OwnerAuth,
    OwnerCommand,
    OwnershipProof,
    PcrSelection,
    PinState,
    Report,
    SealAuthority,
)
from hal._errors import Unsupported
from hal._values import Capability, DeviceInfo


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
