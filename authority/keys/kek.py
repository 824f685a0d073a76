"""Key-encryption keys: what wraps the secrets in the authority's database."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.codec import length_prefixed, transcript

KEY_BYTES = 32
_NONCE_BYTES = 12
_SECRET_FILE_MODE = 0o600


class KekError(Exception):
    """The key-encryption key cannot be used; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class KekProvider(Protocol):
    """Wraps secrets for storage. `kek_id` names the key, so that a row tells what wrapped it."""

    @property
    def kek_id(self) -> str:
        """Name of the key, up to 64 characters; not secret."""

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """`secret` encrypted and bound to `context`."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Inverse of `wrap`; raises `KekError` under another key or context."""


def version_context(network: str, version: int) -> bytes:
    """What the secret of a network's key version is bound to."""
    return length_prefixed("keyvigil/key-version/1", network, version)


class AesKek:
    """An AES-256 key in this process's memory, wherever it was fetched from; `kind` begins its name."""

    kind = "aes"

    def __init__(self, key: bytes, random: Callable[[int], bytes] = os.urandom, kind: str = "") -> None:
        if len(key) != KEY_BYTES:
            raise KekError("a key-encryption key has 32 bytes", "Restore it from its backup.")
        self._cipher = AESGCM(key)
        self._random = random
        self._kek_id = f"{kind or self.kind}:" + transcript("keyvigil/kek-id/1", key).hex()[:16]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._kek_id})"

    @property
    def kek_id(self) -> str:
        """Name of the key: a one-way digest of it."""
        return self._kek_id

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Nonce (12 bytes), ciphertext and tag of AES-256-GCM with `context` as associated data."""
        nonce = self._random(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The secret; raises `KekError` when it was wrapped by another key, for another context, or was changed."""
        nonce, ciphertext = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, ciphertext, context)
        except (InvalidTag, ValueError):
            raise KekError(
                "a stored secret does not open with this key-encryption key",
                "Use the key that belongs to this database, or restore both from one backup.",
            ) from None


class FileKek(AesKek):
    """An AES-256 key in a file that only its owner reads.

    Whoever reads the file and the database has every key: `WARNING` is printed wherever it is chosen.
    """

    kind = "file"
    WARNING = "the key-encryption key is a file: whoever can read it and the database can read every network key"

    @classmethod
    def create(cls, path: Path, random: Callable[[int], bytes] = os.urandom) -> FileKek:
        """A new key in a new file (0600); raises `KekError` if there is one already."""
        key = random(KEY_BYTES)
        try:
            write_new(path, key)
        except FileExistsError:
            raise KekError(f"{path} exists", "A key is never written over: move the old state away first.") from None
        except OSError as error:
            raise KekError(f"{path} cannot be written: {error.strerror}", "Check the folder and the disk.") from None
        return cls(key, random)

    @classmethod
    def open(cls, path: Path, random: Callable[[int], bytes] = os.urandom) -> FileKek:
        """The key in `path`; raises `KekError` when others could read the file."""
        return cls(read_key(path), random)


def read_key(path: Path) -> bytes:
    """The 32 bytes of a key file; raises `KekError` when there is none, or when others could read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise KekError(f"{path} cannot be read: {error.strerror}", "Restore it from its backup.") from None
    if stat.S_IMODE(mode) & 0o077:
        raise KekError(f"{path} is open to others", f"Run `chmod 600 {path}` and `keyvigil-authority kek rotate`.")
    if len(key) != KEY_BYTES:
        raise KekError(f"{path} does not hold 32 bytes", "Restore it from its backup.")
    return key


def write_new(path: Path, content: bytes) -> None:
    """A new file (0600), durable with its name when this returns; raises `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _SECRET_FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def overwrite_and_remove(path: Path) -> None:
    """Overwrite a file with zeros in place, then remove it; nothing where there is none. Raises `OSError`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
