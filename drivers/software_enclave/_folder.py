"""The folder of a software enclave: private, claimed by one process, every file replaced whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from hal import Busy, Deadline, DeviceError, NotFound, PermissionDenied, ProtocolError

LARGEST_FILE = 4096
_POLL_S = 0.02
_PRIVATE = 0o077


class Folder:
    """An open, locked folder. Its lock ends with the process, however that ends."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        """Claim the folder, made with mode 0700 when absent; raises `Busy` at the deadline, `PermissionDenied`."""
        self._path = path
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            self._check_private(path.stat())
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = os.open(path / "lock", flags, 0o600)
        except OSError as error:
            raise explain(path, error) from None
        try:
            self._wait(deadline)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the folder back; doing so twice is allowed."""
        descriptor, self._lock = self._lock, -1
        if descriptor >= 0:
            os.close(descriptor)

    def read(self, name: str) -> bytes | None:
        """Content of a file, or `None` when there is none; raises `ProtocolError` for one that is too large."""
        path = self._path / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            self._check_there()
            return None
        except OSError as error:
            raise explain(path, error) from None
        with os.fdopen(descriptor, "rb") as file:
            self._check_private(os.fstat(file.fileno()))
            try:
                data = file.read(LARGEST_FILE + 1)
            except OSError as error:
                raise explain(path, error) from None
        if len(data) > LARGEST_FILE:
            raise damaged(path)
        return data

    def write(self, name: str, data: bytes) -> None:
        """Replace a file by `data` with mode 0600, durably; on any failure the old content stays."""
        path, fresh = self._path / name, self._path / f".{name}.new"
        try:
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            self._sync()
        except OSError as error:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise explain(path, error) from None

    def remove(self, name: str) -> None:
        """Remove a file durably; a missing one is fine."""
        try:
            (self._path / name).unlink(missing_ok=True)
            self._sync()
        except OSError as error:
            raise explain(self._path / name, error) from None

    def damaged(self, name: str) -> ProtocolError:
        """The refusal of a file whose content is not what this driver wrote."""
        return damaged(self._path / name)

    def _wait(self, deadline: Deadline) -> None:
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if deadline.remaining() <= 0:
                    raise Busy(f"the software enclave in {self._path} is in use") from None
                deadline.clock.sleep(_POLL_S)
            except OSError as error:
                raise explain(self._path, error) from None
            else:
                return

    def _check_there(self) -> None:
        """A missing file in a folder that was taken away is no file that was never written."""
        try:
            here, held = (self._path / "lock").stat(), os.fstat(self._lock)
        except OSError as error:
            raise explain(self._path, error) from None
        if (here.st_dev, here.st_ino) != (held.st_dev, held.st_ino):
            raise explain(self._path, FileNotFoundError(errno.ENOENT, "the folder was replaced"))

    def _check_private(self, found: os.stat_result) -> None:
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & _PRIVATE:
            raise PermissionDenied(
                f"{self._path} or a file in it is open to other users, or of another one",
                remedy=f"Run `chown -R {os.geteuid()} {self._path} && chmod -R go= {self._path}`.",
            )

    def _sync(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def damaged(path: Path) -> ProtocolError:
    """The refusal of a file that is not as it was written."""
    return ProtocolError(
        f"{path} is damaged",
        remedy="Restore the folder from a backup; without one this node has to join and enrol anew.",
    )


def explain(path: Path, error: OSError) -> DeviceError:
    """The error of our tree for what the operating system said of `path`."""
    text = f"{path}: {error.strerror or error}"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}:
        return PermissionDenied(text, remedy="Let the service user own the folder, on a disk that can be written.")
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotFound(text, remedy="Make the folder above it, or correct the option `folder`.")
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return DeviceError(text, remedy="Free space on this disk; nothing that was stored before is lost.")
    return DeviceError(text, remedy="Check the disk that the folder is on.")
