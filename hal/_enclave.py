"""Enclaves: TPM 2.0 and whatever else keeps keys and attests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from hal._values import Device

PcrSelection = tuple[int, ...]
"""PCR indices of the SHA-256 bank, ascending."""

PcrValues = Mapping[int, bytes]
"""PCR index to its 32-byte SHA-256 value."""


class EnclaveKind(StrEnum):
    """Which technology holds the keys; the authority caps what the kind is worth."""

    TPM2 = "tpm2"
    PKCS11 = "pkcs11"
    SOFTWARE = "software"


class KeyUse(StrEnum):
    """What an enclave key is for. `SIGN` is P-256 ECDSA with an authorisation value; `AGREE` is P-256 ECDH only."""

    SIGN = "sign"
    AGREE = "agree"


@dataclass(frozen=True)
class Endorsement:
    """EK public area (marshalled TPM2B_PUBLIC) and its X.509 certificates in DER, leaf first."""

    ek_public: bytes
    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class CertifiedKey:
    """A key made in the enclave: `public` and `private` are opaque TPM2B structures, `private` is wrapped.

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


class Enclave(Device, Protocol):
    """A place that makes keys, keeps secrets bound to the machine's state, and attests to both.

    An operation that the enclave lacks raises `Unsupported`. No method keeps an object or session loaded.
    """

    @property
    def kind(self) -> EnclaveKind:
        """The technology behind this enclave."""
        ...

    def random(self, count: int) -> bytes:
        """`count` random bytes from the enclave's generator."""
        ...

    def endorsement(self) -> Endorsement:
        """The endorsement key and its certificates."""
        ...

    def attestation_key(self) -> bytes:
        """Public area (TPM2B_PUBLIC) of the AK: a restricted P-256 signing key of the endorsement hierarchy."""
        ...

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> bytes:
        """Answer MakeCredential: the secret, if EK and AK are in this enclave; raises `AuthorisationFailed`."""
        ...

    def quote(self, qualifying: bytes, selection: PcrSelection) -> Attestation:
        """The AK's signature over `qualifying` (32 bytes) and the selected PCRs of the SHA-256 bank."""
        ...

    def create_key(self, use: KeyUse, auth: bytes, qualifying: bytes) -> CertifiedKey:
        """A new P-256 key under the storage root, certified by the AK over `qualifying` (32 bytes)."""
        ...

    def sign(self, key: CertifiedKey, auth: bytes, digest: bytes) -> bytes:
        """ECDSA P-256 over a 32-byte SHA-256 digest as 64 bytes r ‖ s; raises `AuthorisationFailed`."""
        ...

    def agree(self, key: CertifiedKey, auth: bytes, peer: bytes) -> bytes:
        """ECDH: the 32-byte x-coordinate shared with `peer` (65-byte uncompressed point)."""
        ...

    def seal(self, secret: bytes, selection: PcrSelection) -> bytes:
        """Bind up to 128 bytes to this enclave and the current values of the selected PCRs; an opaque blob."""
        ...

    def unseal(self, blob: bytes) -> bytes:
        """The sealed secret; raises `AuthorisationFailed` when the PCRs moved or the blob is of another enclave."""
        ...

    def read_pcrs(self, selection: PcrSelection) -> dict[int, bytes]:
        """Current values of the SHA-256 bank."""
        ...

    def lockout(self) -> LockoutStatus:
        """Dictionary-attack counters."""
        ...
