"""The profile key: what a root lets it sign.

In a TPM it is guarded: PIN and authorisation value come of the root, and the TPM counts wrong answers, so that the TPM
alone tells a right root from a wrong one. An enclave without guards takes the authorisation value alone and counts
nothing; the authority caps what such a node is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agent.hardening import wipe
from agent.identity import StoredKey
from hal import (
    AuthorisationFailed,
    Capability,
    CertifiedKey,
    Enclave,
    Grant,
    GuardedKey,
    KeyUse,
    NvCertification,
    OwnerCommand,
    PinState,
)
from protocol.codec import length_prefixed
from protocol.guard import PIN_LIMIT
from protocol.hpke import POINT_BYTES

AUTH_BYTES = 32
Permit = Callable[[str, OwnerCommand], Grant]
"""Asks the TPM's owner to allow a command, by the label that it is about."""


class StoredGuard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the enclave needs of a guard beside the key, as it lies on disk; `gate` is sealed by the enclave."""

    label: str
    public: bytes
    attest: bytes
    signature: bytes
    gate: bytes
    reset_key: bytes
    change: bytes

    def __repr__(self) -> str:
        return f"StoredGuard({self.label!r})"


class ProfileKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A profile key as it lies on disk, with its guard where the enclave has such."""

    stored: StoredKey
    guard: StoredGuard | None = None

    @classmethod
    def none(cls) -> ProfileKey:
        """What stands in a header until there is a key."""
        return cls(StoredKey(b"", b"", b"", b""))

    @classmethod
    def make(cls, enclave: Enclave, wanted: Wanted, root: bytes, auth: bytes) -> ProfileKey:
        """A new key that signs for `root`; `auth` is 32 random bytes. Raises `DeviceError`."""
        if Capability.GUARD not in enclave.info.capabilities:
            return cls(StoredKey.of(enclave.create_key(KeyUse.SIGN, auth, wanted.qualifying)))
        with _pin(root, wanted.label) as pin:
            made = enclave.create_guarded_key(
                wanted.label, pin, auth, PIN_LIMIT, wanted.reset_key, wanted.qualifying, owner=wanted.grant or b""
            )
        index = made.index
        guard = StoredGuard(
            made.label, index.public, index.attest, index.signature, made.gate, made.reset_key, made.change
        )
        return cls(StoredKey.of(made.key), guard)

    @property
    def certified(self) -> CertifiedKey:
        """The key as the enclave takes it."""
        return self.stored.certified()

    def sign(self, enclave: Enclave, root: bytes, auth: bytes, digest: bytes) -> bytes:
        """ECDSA (r ‖ s) over a SHA-256 digest; raises `AuthorisationFailed` for a wrong root, `Locked`, `NotFound`."""
        if self.guard is None:
            return enclave.sign(self.certified, auth, digest)
        with _pin(root, self.guard.label) as pin:
            return enclave.guarded_sign(self._guarded(self.guard), pin, auth, digest)

    def move(self, enclave: Enclave, old_root: bytes, new_root: bytes) -> None:
        """Let the key sign for the new root and never again for the old one; nothing changes without a guard."""
        if self.guard is not None:
            label = self.guard.label
            with _pin(old_root, label) as old, _pin(new_root, label) as new:
                enclave.change_pin(self._guarded(self.guard), old, new)

    def guard_state(self, enclave: Enclave) -> PinState | None:
        """Wrong answers so far, where the enclave counts them; raises `NotFound` when the guard is gone."""
        return None if self.guard is None else enclave.guard_state(self._guarded(self.guard))

    def reset_nonce(self, enclave: Enclave) -> bytes:
        """What the authority signs to lift the guard's lock; good while the enclave stays open."""
        return enclave.reset_nonce(self._guarded(self._required()))

    def reset(self, enclave: Enclave, signature: bytes) -> None:
        """Lift the guard's lock; raises `AuthorisationFailed`."""
        enclave.reset_pin(self._guarded(self._required()), signature)

    def forget(self, enclave: Enclave, permit: Permit | None = None) -> None:
        """Remove the guard, after which the key never signs again; `permit` asks the TPM's owner where it has one."""
        if self.guard is None:
            return
        guarded = self._guarded(self.guard)
        try:
            enclave.remove_guard(guarded)
        except AuthorisationFailed:
            if permit is None:
                raise
            command = enclave.plan_removal(guarded)
            if command is not None:
                change_key = self.guard.change[:POINT_BYTES]
                enclave.remove_guard(guarded, owner=permit(self.guard.label, replace(command, change_key=change_key)))

    def _required(self) -> StoredGuard:
        if self.guard is None:
            raise ValueError("this key has no guard")
        return self.guard

    def _guarded(self, guard: StoredGuard) -> GuardedKey:
        index = NvCertification(guard.attest, guard.signature, guard.public)
        return GuardedKey(guard.label, self.certified, index, guard.gate, guard.reset_key, guard.change)


@dataclass(frozen=True)
class Wanted:
    """What a new key is made for: its label, who may lift its lock (65-byte point), what its certification is over.

    `grant` is the leave of the TPM's owner, where that is the authority.
    """

    label: str
    reset_key: bytes
    qualifying: bytes = field(repr=False)
    grant: Grant | None = None


def pin_of(root: bytes, label: str) -> bytes:
    """The PIN (32 bytes) that a root answers with."""
    return _derived(root, length_prefixed("keyvigil/pin/1", label))


@contextmanager
def _pin(root: bytes, label: str) -> Iterator[bytes]:
    """`pin_of`, overwritten afterwards."""
    pin = pin_of(root, label)
    try:
        yield pin
    finally:
        wipe(pin)


def masked(auth: bytes, root: bytes, record_id: str) -> bytes:
    """An authorisation value under the root's keystream; doing it again takes the keystream off."""
    stream = _derived(root, length_prefixed("keyvigil/auth-mask/1", record_id))
    return bytes(a ^ b for a, b in zip(auth, stream, strict=True))


def _derived(root: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=AUTH_BYTES, salt=None, info=info).derive(root)
