"""Who can open a backup: the holder of a P-256 key (HPKE, RFC 9180), or of a passphrase (scrypt, RFC 7914)."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from authority.backup.refused import BackupError
from authority.keys.sealing import seal_to
from protocol.codec import ProtocolViolation
from protocol.hpke import POINT_BYTES, open_sealed

KEY_BYTES = 32
SHORTEST_PASSPHRASE = 16
_INFO = b"keyvigil/backup-key/1"
_SALT_BYTES, _NONCE_BYTES = 16, 12
_WRONG = "Use the key or the passphrase that it was made for; if it is that one, the file was changed."


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the key of a backup lies in its head. `cost` is scrypt's N as a power of two, 0 for a key."""

    kind: Literal["key", "passphrase"]
    wrapped: bytes
    recipient: str = ""
    salt: bytes = b""
    cost: Annotated[int, msgspec.Meta(ge=0, le=20)] = 0


class Lock(Protocol):
    """Seals the key of a backup, or opens it."""

    def seal(self, key: bytes, random: Callable[[int], bytes]) -> Sealed:
        """`key` (32 bytes), for whoever can open this lock."""
        ...

    def open(self, sealed: Sealed) -> bytes:
        """The key; raises `BackupError`."""
        ...


@dataclass(frozen=True)
class KeyLock:
    """A P-256 key pair of which whoever makes backups needs the public half alone."""

    public: ec.EllipticCurvePublicKey
    private: ec.EllipticCurvePrivateKey | None = field(default=None, repr=False)

    @classmethod
    def of_file(cls, file: Path) -> KeyLock:
        """From a PEM file with a public or a private key; raises `BackupError`."""
        content = _read(file)
        private: object = None
        public: object = None
        try:
            if b"PRIVATE" in content:
                private = load_pem_private_key(content, None)
            else:
                public = load_pem_public_key(content)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise BackupError(f"{file} holds no key in PEM", "Name a P-256 key, without a passphrase.") from None
        if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1):
            return cls(private.public_key(), private)
        if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
            return cls(public)
        raise BackupError(f"{file} holds another kind of key than P-256", "Make one: docs/operations.md says how.")

    def seal(self, key: bytes, random: Callable[[int], bytes]) -> Sealed:
        """See `Lock`."""
        del random
        return Sealed("key", seal_to(self.public, _INFO, key), self._name())

    def open(self, sealed: Sealed) -> bytes:
        """See `Lock`."""
        private = self.private
        if private is None:
            raise BackupError("a public key opens no backup", "Name the file with the private key.")
        if sealed.kind != "key" or sealed.recipient != self._name():
            raise BackupError(
                "the backup was made for somebody else", f"It was made for {sealed.recipient or 'a passphrase'}."
            )

        def agree(enc: bytes) -> bytes:
            return private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), enc))

        enc, ciphertext = sealed.wrapped[:POINT_BYTES], sealed.wrapped[POINT_BYTES:]
        try:
            return open_sealed(enc, ciphertext, _INFO, _point(self.public), agree)
        except ProtocolViolation:
            raise BackupError("the backup does not open with this key", _WRONG) from None

    def _name(self) -> str:
        return hashlib.sha256(_point(self.public)).hexdigest()


@dataclass(frozen=True)
class PassphraseLock:
    """A passphrase; `cost` is scrypt's N as a power of two: 17 takes 128 MiB and about half a second."""

    passphrase: bytes = field(repr=False)
    cost: int = 17

    @classmethod
    def of_file(cls, file: Path) -> PassphraseLock:
        """The first line of a file; raises `BackupError` when it is short."""
        first = _read(file).split(b"\n")[0].rstrip(b"\r")
        if len(first) < SHORTEST_PASSPHRASE:
            text = f"the passphrase in {file} has less than {SHORTEST_PASSPHRASE} bytes"
            raise BackupError(text, "Use a long one: `openssl rand -base64 24`.")
        return cls(first)

    def seal(self, key: bytes, random: Callable[[int], bytes]) -> Sealed:
        """See `Lock`."""
        salt, nonce = random(_SALT_BYTES), random(_NONCE_BYTES)
        wrapped = nonce + self._cipher(salt, self.cost).encrypt(nonce, key, _INFO)
        return Sealed("passphrase", wrapped, salt=salt, cost=self.cost)

    def open(self, sealed: Sealed) -> bytes:
        """See `Lock`."""
        if sealed.kind != "passphrase" or not sealed.cost:
            raise BackupError("the backup was made for a key", f"Name the private key of {sealed.recipient}.")
        nonce, ciphertext = sealed.wrapped[:_NONCE_BYTES], sealed.wrapped[_NONCE_BYTES:]
        try:
            return self._cipher(sealed.salt, sealed.cost).decrypt(nonce, ciphertext, _INFO)
        except (InvalidTag, ValueError):
            raise BackupError("the backup does not open with this passphrase", _WRONG) from None

    def _cipher(self, salt: bytes, cost: int) -> AESGCM:
        return AESGCM(Scrypt(salt, KEY_BYTES, 2**cost, 8, 1).derive(self.passphrase))


def _point(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _read(file: Path) -> bytes:
    """The content of a file with a key or a passphrase, which only its owner may read if it is secret."""
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(64 * 1024)
    except OSError as error:
        raise BackupError(f"{file} cannot be read: {error.strerror}", "Name another file.") from None
    if b"PUBLIC KEY" not in content and stat.S_IMODE(mode) & 0o077:
        raise BackupError(f"{file} is open to others", f"Run `chmod 600 {file}`.")
    return content
