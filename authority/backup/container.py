"""The file format: a head in clear, then AES-256-GCM in chunks, so that neither end has to hold a backup in memory.

magic ‖ length of head (4 bytes) ‖ head (JSON) ‖ chunks of 64 KiB, each with its tag. A chunk's nonce is its number (11
bytes) and whether it is the last: the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015), so that chunks
cannot be moved, dropped or cut off unseen. The key is derived with the head's digest: a changed head opens nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import BinaryIO

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from authority.backup.locks import KEY_BYTES, Lock, Sealed
from authority.backup.refused import BackupError

MAGIC = b"keyvigil-backup/1\n"
CHUNK = 64 * 1024
LONGEST_HEAD = 16 * 1024
_TAG = 16
_INFO = b"keyvigil/backup-stream/1"


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What everybody can read of a backup: when it was made (POSIX seconds), and how its key is sealed."""

    made_at: float
    sealed: Sealed


class Writer:
    """Encrypts what is written; `finish` seals the end. Raises `OSError`."""

    def __init__(self, stream: BinaryIO, lock: Lock, made_at: float, random: Callable[[int], bytes]) -> None:
        self._stream, self.key = stream, random(KEY_BYTES)
        head = msgspec.json.encode(Head(made_at, lock.seal(self.key, random)))
        stream.write(MAGIC + len(head).to_bytes(4, "big") + head)
        self._cipher, self._number, self._buffer = _cipher(self.key, head), 0, bytearray()

    def write(self, data: bytes) -> None:
        """Append; the last chunk is held back, for only the end tells which that is."""
        self._buffer += data
        while len(self._buffer) > CHUNK:
            self._seal(bytes(self._buffer[:CHUNK]), last=False)
            del self._buffer[:CHUNK]

    def finish(self) -> None:
        """Write the last chunk."""
        self._seal(bytes(self._buffer), last=True)

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        self._stream.write(self._cipher.encrypt(_nonce(self._number, last), chunk, None))
        self._number += 1


class Reader:
    """Decrypts a backup. `open_key` gives the key that the head seals. Raises `BackupError` for anything unexpected."""

    def __init__(self, stream: BinaryIO, open_key: Callable[[Sealed], bytes]) -> None:
        self._stream = stream
        raw = _read_head(stream)
        try:
            self.head = msgspec.json.decode(raw, type=Head)
        except msgspec.DecodeError:
            raise _damaged() from None
        self._cipher, self._number = _cipher(open_key(self.head.sealed), raw), 0
        self._ahead, self._buffer, self._ended = stream.read(CHUNK + _TAG), bytearray(), False

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        while len(self._buffer) < size:
            if self._ended:
                raise _damaged()
            self._open_next()
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    def finish(self) -> None:
        """Raise `BackupError` unless this is the end."""
        if not self._ended:
            self._open_next()
        if self._buffer or not self._ended:
            raise _damaged()

    def _open_next(self) -> None:
        chunk, self._ahead = self._ahead, self._stream.read(CHUNK + _TAG)
        self._ended = not self._ahead
        try:
            self._buffer += self._cipher.decrypt(_nonce(self._number, self._ended), chunk, None)
        except (InvalidTag, ValueError):
            raise _damaged() from None
        self._number += 1


def _damaged() -> BackupError:
    return BackupError(
        "the backup is damaged, or was changed or cut off", "Use another copy of it, or an older backup."
    )


def _read_head(stream: BinaryIO) -> bytes:
    if stream.read(len(MAGIC)) != MAGIC:
        raise BackupError("this is no backup of a Keyvigil authority", "Name a file that `backup` wrote.")
    length = int.from_bytes(stream.read(4), "big")
    head = stream.read(length) if length <= LONGEST_HEAD else b""
    if not head or len(head) != length:
        raise _damaged()
    return head


def _cipher(key: bytes, head: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, hashlib.sha256(head).digest(), _INFO).derive(key))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
