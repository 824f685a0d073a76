"""A serial line of the kernel: claimed, raw, read with a deadline."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

from hal import Busy, Deadline, DeviceError, Disconnected, NotFound, PermissionDenied, TimedOut, Transport, Unsupported

T = TypeVar("T")
_PTS_MAJORS = range(136, 144)
"""Device numbers of pseudo-terminals (Linux, admin-guide/devices.txt): whatever stands behind one is simulated."""

_SPEEDS = {1200: termios.B1200, 9600: termios.B9600, 19200: termios.B19200, 115200: termios.B115200}
_CHUNK = 256
BAUD_RATES = tuple(_SPEEDS)


def transport_of(path: str) -> Transport | None:
    """How what is at `path` is attached; `None` when nothing is there."""
    try:
        status = Path(path).stat()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return None
        raise_for(error, path)
    if not stat.S_ISCHR(status.st_mode):
        raise Unsupported(f"{path} is no serial line", remedy="Name a device node such as /dev/ttyUSB0 as `port`.")
    return Transport.VIRTUAL if os.major(status.st_rdev) in _PTS_MAJORS else Transport.UART


class SerialLine:
    """An open line; one claimant at a time, in this process and in any other that uses flock(2)."""

    def __init__(self, path: str, baud: int) -> None:
        """Claim and set up; raises `NotFound`, `Busy`, `PermissionDenied`, `Unsupported`."""
        self.path = path
        self._arrived = bytearray()
        self._file = _tried(path, lambda: os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            _tried(path, lambda: fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB))
            _tried(path, lambda: _make_raw(self._file, baud))
        except BaseException:
            self.close()
            raise

    def read(self, deadline: Deadline, what: str) -> int:
        """The next byte; raises `TimedOut` naming `what`, `Disconnected`."""
        if not self._arrived:
            self._wait(select.POLLIN, deadline, what)
            self._arrived += _tried(self.path, lambda: os.read(self._require_open(), _CHUNK))
            if not self._arrived:
                raise Disconnected(f"{self.path} was hung up")
        return self._arrived.pop(0)

    def write(self, byte: int, deadline: Deadline, what: str) -> None:
        """Send one byte; raises as `read` does."""
        self._wait(select.POLLOUT, deadline, what)
        _tried(self.path, lambda: os.write(self._require_open(), bytes([byte])))

    def flush(self) -> None:
        """Throw away what arrived before."""
        self._arrived.clear()
        _tried(self.path, lambda: termios.tcflush(self._require_open(), termios.TCIFLUSH))

    def close(self) -> None:
        """Release the line; closing twice is allowed."""
        file, self._file = self._file, -1
        if file >= 0:
            with suppress(OSError):
                os.close(file)

    def _wait(self, event: int, deadline: Deadline, what: str) -> None:
        """In slices, so that a deadline that is called off is noticed."""
        poll = select.poll()
        poll.register(self._require_open(), event)
        while not poll.poll(min(100.0, 1000 * deadline.remaining())):
            if deadline.remaining() <= 0:
                raise TimedOut(f"{what} took longer than its deadline")

    def _require_open(self) -> int:
        if self._file < 0:
            raise Disconnected(f"{self.path} is closed")
        return self._file


def _make_raw(file: int, baud: int) -> None:
    """Eight bits, no parity, one stop bit, nothing interpreted (termios(3), cfmakeraw)."""
    mode = termios.tcgetattr(file)
    mode[0] = termios.IGNBRK
    mode[1] = 0
    mode[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
    mode[3] = 0
    mode[4] = mode[5] = _SPEEDS[baud]
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 0, 0
    termios.tcsetattr(file, termios.TCSANOW, mode)
    termios.tcflush(file, termios.TCIFLUSH)


def _tried(path: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        raise_for(error, path)
    except termios.error as error:
        raise_for(OSError(*error.args), path)


def raise_for(error: OSError, path: str) -> NoReturn:
    """The error of the tree that an error of the operating system means."""
    raise _meaning(error, path) from None


def _meaning(error: OSError, path: str) -> DeviceError:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ENXIO | errno.ENODEV:
            return NotFound(f"nothing is attached at {path}")
        case errno.EACCES | errno.EPERM:
            return PermissionDenied(f"no permission to use {path}", remedy="Add the service user to group dialout.")
        case errno.EBUSY | errno.EWOULDBLOCK:
            return Busy(f"another program holds {path}")
        case errno.ENOTTY | errno.EINVAL:
            return Unsupported(f"{path} is no serial line", remedy="Name a node such as /dev/ttyUSB0 as `port`.")
        case _:
            return Disconnected(f"{path} failed: {error.strerror}")
