"""A serial port through pyserial: held by one, every call over by a deadline, errors of our tree only."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import serial

from hal import Busy, Deadline, DeviceError, Disconnected, NotFound, PermissionDenied, ProtocolError, Unsupported

_CHUNK = 4096
_SILENCE_SECONDS = 0.1
_OPENING: dict[int, type[DeviceError]] = {
    errno.EAGAIN: Busy,
    errno.EBUSY: Busy,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.ENOENT: NotFound,
    errno.ENXIO: NotFound,
    errno.ENODEV: NotFound,
    errno.EIO: NotFound,
    errno.ELOOP: NotFound,
}
_REMEDIES: dict[type[DeviceError], str] = {
    PermissionDenied: "Add the user to the group that owns the port (dialout on Debian), or install the udev rules.",
    Unsupported: "Name the device node of a serial port in option 'port'.",
}


class SerialPort:
    """An opened port, 8N1, that no other program of this driver's kind can open at the same time."""

    def __init__(self, path: str, baud: int) -> None:
        """Open and lock the port.

        Raises `NotFound`, `Busy`, `PermissionDenied`, and `Unsupported` for what is no serial port.
        """
        self.path = path
        try:
            # Rates beyond the standard ones are set one by one; timeouts of 0: waiting is done here, by the deadline.
            self._port = serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
        except serial.SerialException as error:
            raise _refusal(path, error.errno) from None
        except (OSError, termios.error, ValueError) as error:
            raise _refusal(path, getattr(error, "errno", None)) from None
        self._ours = self._port.fileno()
        with suppress(OSError):
            fcntl.ioctl(self._ours, termios.TIOCEXCL)

    @property
    def status(self) -> os.stat_result:
        """Status of the node that was opened."""
        with self._mapped():
            return os.fstat(self._port.fileno())

    @property
    def baud(self) -> int:
        """Bits per second."""
        return int(self._port.baudrate)

    def set_baud(self, baud: int) -> None:
        """Change the rate of both directions; raises `Unsupported` where the port cannot do it."""
        self.require_open()
        try:
            self._port.baudrate = baud
        except (ValueError, serial.SerialException, OSError, termios.error):
            raise Unsupported(f"{self.path} cannot run at {baud} baud") from None

    def read(self, deadline: Deadline) -> bytes:
        """What came, at least a byte, at most 4,096; empty when nothing came by the deadline."""
        self.require_open()
        with self._mapped():
            if not select.select([self._port.fileno()], [], [], deadline.remaining())[0]:
                return b""
            return bytes(self._port.read(_CHUNK))

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Send all of `data`; raises `TimedOut` when the port does not take it."""
        self.require_open()
        with self._mapped():
            while data:
                deadline.check(f"writing to {self.path}")
                if select.select([], [self._port.fileno()], [], deadline.remaining())[1]:
                    data = data[int(self._port.write(data)) :]

    def discard_input(self) -> None:
        """Throw away what came and was not read."""
        self.require_open()
        with self._mapped():
            self._port.reset_input_buffer()

    def await_silence(self, deadline: Deadline) -> None:
        """Throw away what comes until nothing does; raises `ProtocolError` when that is not before the deadline."""
        while self.read(deadline.within(max(_SILENCE_SECONDS, 40 / self.baud))):
            if deadline.remaining() <= 0:
                raise ProtocolError(f"{self.path} never falls silent")

    def require_open(self) -> None:
        """Raise `Disconnected` after `close()`."""
        if not self._port.is_open:
            raise Disconnected(f"{self.path} was closed", remedy="Open the device again.")

    def close(self) -> None:
        """Release the port; closing twice is allowed."""
        if self._port.is_open:
            with suppress(OSError):
                fcntl.ioctl(self._ours, termios.TIOCNXCL)
            with suppress(OSError):
                self._port.close()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (serial.SerialException, OSError, termios.error):
            raise Disconnected(f"the serial port {self.path} went away") from None


def _refusal(path: str, number: int | None) -> DeviceError:
    kind = _OPENING.get(number, Unsupported) if number else Unsupported
    why = os.strerror(number) if number else "it is no serial port"
    text = f"{path} is held by another program" if kind is Busy else f"cannot open {path}: {why}"
    return kind(text, remedy=_REMEDIES.get(kind))
