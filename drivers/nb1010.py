"""NEXT Biometrics NB-1010-U (298d:1010), clean-room over pyusb.

Commands and frame layout are facts from libfprint's nb1010 source and from its recorded trace; no code of it is used.
A command is 0x80, code, sequence, 0, length u32 LE; the thermal sensor is polled, needs no initialisation, and sends an
image as 90 frames of two lines. It has no checksum: a reply or a frame that is cut, out of turn or of a wrong header is
noticed, an altered pixel is not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from drivers.usb_access import UsbFamily, UsbLink, list_devices, open_device
from hal import (
    Clock,
    Deadline,
    DeviceInfo,
    DeviceKind,
    FingerprintImage,
    ProtocolError,
    SystemClock,
)

WIDTH, HEIGHT, DPI = 256, 180, 385
"""Geometry in pixels, resolution in pixels per inch."""

_COMMANDS, _REPLIES = 0x02, 0x83
_CHECK_FINGER = bytes.fromhex("8038010008000000")
_PREPARE = bytes.fromhex("800d03000c00000000040000")
_CAPTURE = bytes.fromhex("801204002000000002") + bytes(19) + bytes.fromhex("20000000")
_REPLY_BYTES = 16
_PRESSED_ABOVE = 0x30
_FRAME_HEADER, _FRAME_TRAILER, _LINES_PER_FRAME = 25, 3, 2
_FRAME_BYTES = _FRAME_HEADER + _LINES_PER_FRAME * WIDTH + _FRAME_TRAILER
_POLL_SECONDS = 0.05
_REPLY_SECONDS = 1.0
_IMAGE_SECONDS = 5.0

_FAMILY = UsbFamily(
    driver="nb1010",
    name="NB-1010-U",
    ids=frozenset({(0x298D, 0x1010)}),
    endpoints=frozenset({_COMMANDS, _REPLIES}),
    interface_class=(0, 0, 0),
)


class _Step(Enum):
    """Whether the next bytes from the reader will be the reply to our next command."""

    UNPROVEN = auto()
    KEPT = auto()
    LOST = auto()


class Nb1010Driver:
    """Finds and opens NB-1010-U readers; options as in `drivers.usb_access`.

    `backend` is a pyusb backend in place of libusb.
    """

    kind = DeviceKind.FINGERPRINT

    def __init__(self, backend: Any = None, clock: Clock | None = None) -> None:
        self._backend = backend
        self._clock = clock or SystemClock()

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The attached readers; raises `Unsupported` without libusb."""
        return list_devices(_FAMILY, options, self._backend)

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Nb1010Reader:
        """Claim the reader that `options` name.

        Raises `NotFound`, `Busy`, `PermissionDenied`, `Unsupported`, `TimedOut`, `ProtocolError`.
        """
        return Nb1010Reader(open_device(_FAMILY, options, self._backend, deadline), self._clock)


class Nb1010Reader:
    """An opened reader. Made by `Nb1010Driver.open`."""

    def __init__(self, link: UsbLink, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._sequence = 0
        self._step = _Step.UNPROVEN

    @property
    def info(self) -> DeviceInfo:
        """Who and where the reader is."""
        return self._link.info

    def capture(self, deadline: Deadline, on_ready: Callable[[], None] | None = None) -> FingerprintImage:
        """Wait for a finger and image it: 256x180 pixels at 385 dpi."""
        ready = on_ready
        while not self._finger_present(deadline):
            if ready is not None:
                ready()
                ready = None
            self._pause("waiting for the finger", deadline)
        if ready is not None:
            ready()
        return self._take_image(deadline.within(_IMAGE_SECONDS))

    def wait_removed(self, deadline: Deadline) -> None:
        """Return when no finger lies on the sensor."""
        while self._finger_present(deadline):
            self._pause("waiting for the finger to leave", deadline)

    def close(self) -> None:
        """Release the reader; closing twice is allowed."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pause(self, what: str, deadline: Deadline) -> None:
        deadline.check(what)
        deadline.clock.sleep(min(_POLL_SECONDS, deadline.remaining()))
        deadline.check(what)

    def _finger_present(self, deadline: Deadline) -> bool:
        return self._command(_CHECK_FINGER, deadline)[12] > _PRESSED_ABOVE

    def _take_image(self, deadline: Deadline) -> FingerprintImage:
        self._command(_PREPARE, deadline)
        self._command(_CAPTURE, deadline)
        self._step = _Step.LOST
        tops = range(0, HEIGHT, _LINES_PER_FRAME)
        lines = [frame_lines(self._link.read(_REPLIES, _FRAME_BYTES, deadline), top) for top in tops]
        self._step = _Step.KEPT
        self._sequence += 1
        return FingerprintImage(np.concatenate(lines), DPI, self._sequence, self._clock.monotonic_ns())

    def _command(self, command: bytes, deadline: Deadline) -> bytes:
        """Send a command and return its 16-byte reply.

        What an exchange that failed half-way, or a program before us, left in the reader is thrown away.
        """
        within = deadline.within(_REPLY_SECONDS)
        before, self._step = self._step, _Step.LOST
        if before is _Step.LOST:
            self._link.drain(_REPLIES, _FRAME_BYTES, within)
        try:
            reply = self._exchange(command, within)
        except ProtocolError:
            if before is _Step.KEPT:
                raise
            self._link.drain(_REPLIES, _FRAME_BYTES, within)
            reply = self._exchange(command, within)
        self._step = _Step.KEPT
        return reply

    def _exchange(self, command: bytes, deadline: Deadline) -> bytes:
        self._link.write(_COMMANDS, command, deadline)
        return checked_reply(command, self._link.read(_REPLIES, _REPLY_BYTES, deadline))


def checked_reply(command: bytes, reply: bytes) -> bytes:
    """`reply` if it is the 16-byte one to `command`; raises `ProtocolError`."""
    if len(reply) != _REPLY_BYTES or reply[0] != 0x80 or reply[2] != command[2] or reply[4] != _REPLY_BYTES:
        raise ProtocolError(f"command {command[1]:#04x} was answered by {reply.hex() or 'nothing'}")
    return reply


def frame_lines(frame: bytes, top: int) -> NDArray[np.uint8]:
    """The two lines of the frame that starts at line `top`, uint8 `[2, 256]`, dark ridges on light as they come.

    Raises `ProtocolError` for a frame of another length or with another header.
    """
    if len(frame) != _FRAME_BYTES:
        raise ProtocolError(f"the frame of line {top} has {len(frame)} bytes instead of {_FRAME_BYTES}")
    kind, length, line, width = struct.unpack_from("<HxxI8xII", frame)
    if (kind, length, line, width) != (0x2180, _FRAME_BYTES, top + 1, WIDTH):
        raise ProtocolError(f"the frame of line {top} has the header {frame[:_FRAME_HEADER].hex()}")
    body = np.frombuffer(frame, np.uint8, _LINES_PER_FRAME * WIDTH, _FRAME_HEADER)
    return body.reshape(_LINES_PER_FRAME, WIDTH)
