"""Shred keys: one for every key version, outside the database, so that destroying it reaches backups and logs too.

A version's secret lies in the database under its shred key and, around that, the key-encryption key. A copy of the
database, however old, opens nothing whose shred key was destroyed (docs/decisions/0033-crypto-shredding.md).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

from authority.keys.kek import KEY_BYTES, AesKek, KekError, overwrite_and_remove, read_key, write_new
from authority.store import StoreUnavailable

FOLDER = "shreds"
_ID_BYTES = 16
_NAME = re.compile(r"[0-9a-f]{32}")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class ShredKeys:
    """A folder (0700) with one file (0600, 32 bytes) per shred key, named by a random id that is never used again."""

    def __init__(self, folder: Path, random: Callable[[int], bytes] = os.urandom) -> None:
        self._folder = folder
        self._random = random
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise KekError(f"{folder} cannot be made: {error.strerror}", "Check the folder and the disk.") from None

    def make(self) -> str:
        """A new key, durable before this returns; gives its id.

        Raises `KekError`, and `StoreUnavailable` where the disk is full.
        """
        shred_id = self._random(_ID_BYTES).hex()
        try:
            write_new(self._folder / shred_id, self._random(KEY_BYTES))
        except OSError as error:
            text = f"a shred key cannot be written: {error.strerror}"
            if error.errno in _FULL:
                raise StoreUnavailable(text) from None
            raise KekError(text, f"Free disk space, and check {self._folder}.") from None
        return shred_id

    def wrap(self, shred_id: str, secret: bytes, context: bytes) -> bytes:
        """`secret` under this key, bound to `context`; raises `KekError` when the key is gone."""
        return self._cipher(shred_id).wrap(secret, context)

    def unwrap(self, shred_id: str, wrapped: bytes, context: bytes) -> bytes:
        """Inverse of `wrap`; raises `KekError` when the key is gone, or another."""
        return self._cipher(shred_id).unwrap(wrapped, context)

    def ids(self) -> set[str]:
        """Every key that there is."""
        return {entry.name for entry in self._folder.iterdir() if _NAME.fullmatch(entry.name)}

    def destroy(self, shred_id: str) -> None:
        """Overwrite and remove the key; nothing where it is gone already. Raises `KekError`."""
        try:
            overwrite_and_remove(self._path(shred_id))
        except OSError as error:
            text = f"a shred key cannot be destroyed: {error.strerror}"
            raise KekError(text, f"Check {self._folder} and its file system.") from None

    def _cipher(self, shred_id: str) -> AesKek:
        return AesKek(read_key(self._path(shred_id)), self._random)

    def _path(self, shred_id: str) -> Path:
        if not _NAME.fullmatch(shred_id):
            raise KekError("a key version names no shred key", "Restore the database from a backup.")
        return self._folder / shred_id
