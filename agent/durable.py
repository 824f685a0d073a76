"""Files that survive a crash: written beside, synced, renamed over the old one, directory synced."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from agent.errors import StateError
from protocol.codec import ProtocolViolation, decode

T = TypeVar("T")

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
_LARGEST_STATE_FILE = 16 * 1024 * 1024


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` atomically by `data` with mode 0600; on any failure the old content stays.

    Raises `StateError` naming the cause (full disk, file-size limit, permissions).
    """
    temporary = _beside(path)
    try:
        _write_new(temporary, data)
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise storage_error(path, error) from None


def remove(path: Path) -> None:
    """Remove `path` durably, and what a crash left of a new version of it; a missing file is fine."""
    try:
        _beside(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise storage_error(path, error) from None


def discard_leftover(path: Path) -> None:
    """Remove the new version of `path` that a crash kept from taking its place."""
    try:
        _beside(path).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(path, error) from None


def append_private(path: Path, data: bytes) -> None:
    """Append `data` to a file of mode 0600."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
        with os.fdopen(descriptor, "ab") as file:
            file.write(data)
    except OSError as error:
        raise storage_error(path, error) from None


def read_struct(path: Path, kind: type[T]) -> T | None:
    """The JSON message stored at `path`, or `None` when there is no such file; raises `StateError`."""
    data = read_bytes(path, _LARGEST_STATE_FILE)
    if data is None:
        return None
    try:
        return decode(data, kind)
    except ProtocolViolation as error:
        raise StateError(
            f"{path} is damaged: {error}", remedy="Restore the file from a backup, or join and enrol again."
        ) from None


def read_bytes(path: Path, limit: int) -> bytes | None:
    """At most `limit` bytes of `path`, `None` when it does not exist; raises `StateError`."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(path, error) from None
    if len(data) > limit:
        raise StateError(f"{path} is larger than {limit} bytes", remedy="This is not a file that Keyvigil wrote.")
    return data


def private_directory(path: Path) -> Path:
    """`path` as a directory of mode 0700 owned by this user, made when absent; raises `StateError`."""
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise storage_error(path, error) from None
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise StateError(
            f"{path} is open to other users", remedy=f"Run `chown {os.geteuid()} {path} && chmod 700 {path}`."
        )
    return path


def sync_directory(path: Path) -> None:
    """Make renames and removals in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(path: Path, error: OSError) -> StateError:
    """What an `OSError` on `path` means for the person at the machine."""
    remedies = {
        errno.ENOSPC: "Free space on this disk; nothing that was stored before is lost.",
        errno.EDQUOT: "Raise the disk quota of this user; nothing that was stored before is lost.",
        errno.EFBIG: "Raise the file-size limit of this process; nothing that was stored before is lost.",
        errno.EACCES: "Run the command as the user that owns the state directory.",
        errno.EPERM: "Run the command as the user that owns the state directory.",
        errno.EROFS: "Put node.state_dir on a disk that can be written.",
    }
    return StateError(f"{path}: {error.strerror or error}", remedy=remedies.get(error.errno or 0))


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _write_new(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
