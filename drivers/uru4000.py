"""DigitalPersona U.are.U 4000B and 4500 (05ba:000a), clean-room over pyusb.

Register map, interrupts and sequences are facts from libfprint's uru4000 source, read as documentation; no code of it
is used. The optical sensor waits for a finger by itself and says so on an interrupt endpoint. It has no checksum: an
image whose header, length and blocks disagree is noticed; an altered pixel, or a key altered on its way, is not.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from drivers.uru4000_image import DPI, HEADER_BYTES, HEIGHT, WIDTH, decode_image
from drivers.usb_access import UsbFamily, UsbLink, list_devices, open_device
from hal import (
    Clock,
    Deadline,
    DeviceError,
    DeviceInfo,
    DeviceKind,
    FingerprintImage,
    ProtocolError,
    SystemClock,
    TimedOut,
)

_INTERRUPTS, _IMAGES = 0x81, 0x82
_INTERRUPT_BYTES = 64
_REGISTER_REQUEST = 0x04
_HARDWARE_STATUS, _SCRAMBLE_INDEX, _SCRAMBLE_KEY, _MODE, _DEVICE_INFO = 0x07, 0x33, 0x34, 0x4E, 0xF0
_RUNNING, _FAULT, _LOW_POWER = 0x01, 0x04, 0x80
_INIT, _AWAIT_ON, _AWAIT_OFF, _CAPTURE, _OFF = 0x00, 0x10, 0x12, 0x20, 0x70
_POWERED_UP, _FINGER_ON, _FINGER_OFF, _DEATH = 0x56AA, 0x0101, 0x0200, 0x0800

_POLLS, _POLL_SECONDS = 100, 0.01
_POWER_UP_TRIES, _POWER_UP_SECONDS = 3, 0.3
_INIT_SECONDS = 5.0
_IMAGE_SECONDS = 3.0
_OFF_SECONDS, _OFF_SHARE = 0.5, 0.05
"""Switching off: at most this long, and no more than this share of what the caller gave for the whole."""

_SLICE_SECONDS = 0.5
"""A wait for a finger is cut into reads this long, so that Ctrl-C and closing are noticed."""

_FAMILY = UsbFamily(
    driver="uru4000",
    name="U.are.U 4000B/4500",
    ids=frozenset({(0x05BA, 0x000A)}),
    endpoints=frozenset({_INTERRUPTS, _IMAGES}),
    interface_class=(0xFF, 0xFF, 0xFF),
)

RandomBytes = Callable[[int], bytes]


class Uru4000Driver:
    """Finds and opens U.are.U 4000B/4500 readers; options as in `drivers.usb_access`.

    `backend` is a pyusb backend in place of libusb, `random_bytes` the source of the host's half of a scrambling key.
    """

    kind = DeviceKind.FINGERPRINT

    def __init__(
        self, backend: Any = None, clock: Clock | None = None, random_bytes: RandomBytes = secrets.token_bytes
    ) -> None:
        self._backend = backend
        self._clock = clock or SystemClock()
        self._random_bytes = random_bytes

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The attached readers; raises `Unsupported` without libusb."""
        return list_devices(_FAMILY, options, self._backend)

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Uru4000Reader:
        """Claim and wake the reader that `options` name.

        Raises `NotFound`, `Busy`, `PermissionDenied`, `Unsupported`, `TimedOut`, `ProtocolError`.
        """
        within = (deadline or Deadline.after(_INIT_SECONDS, self._clock)).within(_INIT_SECONDS)
        link = open_device(_FAMILY, options, self._backend, within)
        reader = Uru4000Reader(link, self._clock, self._random_bytes)
        try:
            reader.wake(within)
        except BaseException:
            link.close()
            raise
        return reader


class Uru4000Reader:
    """An opened reader. Made by `Uru4000Driver.open`."""

    def __init__(self, link: UsbLink, clock: Clock, random_bytes: RandomBytes) -> None:
        self._link = link
        self._clock = clock
        self._random_bytes = random_bytes
        self._sequence = 0
        self._awake = False
        self._awaiting_off = False

    @property
    def info(self) -> DeviceInfo:
        """Who and where the reader is."""
        return self._link.info

    def wake(self, deadline: Deadline) -> None:
        """Bring the reader from any state to powered up, its identity register read."""
        for attempt in range(1, _POWER_UP_TRIES + 1):
            self._clear_fault(deadline)
            self._cycle_power(deadline)
            try:
                self._await_interrupt(_POWERED_UP, deadline.within(_POWER_UP_SECONDS))
                break
            except TimedOut:
                if attempt == _POWER_UP_TRIES:
                    raise
        self._link.control_read(_REGISTER_REQUEST, _DEVICE_INFO, 16, deadline)
        self._awake = True

    def capture(self, deadline: Deadline, on_ready: Callable[[], None] | None = None) -> FingerprintImage:
        """Wait for a finger and image it: 384x290 pixels at 512 dpi. On failure the sensor is switched off.

        After a failure that leaves the reader's state in doubt, the next capture wakes it anew.
        """
        deadline.check("capturing a fingerprint")
        off_seconds = _share(deadline)
        try:
            self._await_finger(deadline, on_ready)
            return self._take_image(deadline)
        except BaseException:
            self._switch_off(off_seconds)
            raise

    def wait_removed(self, deadline: Deadline) -> None:
        """Wait until the finger has left, then switch the sensor off."""
        deadline.check("waiting for the finger to leave")
        off_seconds = _share(deadline)
        try:
            if not self._awaiting_off:
                self._set_mode(_AWAIT_OFF, deadline)
            self._await_interrupt(_FINGER_OFF, deadline)
        finally:
            self._switch_off(off_seconds)

    def close(self) -> None:
        """Switch the sensor off and release it; closing twice is allowed."""
        self._switch_off(_OFF_SECONDS)
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await_finger(self, deadline: Deadline, on_ready: Callable[[], None] | None) -> None:
        if not self._awake:
            self._link.drain(_IMAGES, HEADER_BYTES + HEIGHT * WIDTH, deadline)
            self.wake(deadline)
        self._awake = False
        self._link.drain(_INTERRUPTS, _INTERRUPT_BYTES, deadline)
        self._set_mode(_AWAIT_ON, deadline)
        self._awake = True
        if on_ready is not None:
            on_ready()
        self._await_interrupt(_FINGER_ON, deadline)

    def _take_image(self, deadline: Deadline) -> FingerprintImage:
        within = deadline.within(_IMAGE_SECONDS)
        self._awake = False
        self._set_mode(_CAPTURE, within)
        message = self._link.read(_IMAGES, HEADER_BYTES + HEIGHT * WIDTH, within)
        captured_ns = self._clock.monotonic_ns()
        pixels = decode_image(message, lambda number: self._exchange_key(number, within))
        self._set_mode(_AWAIT_OFF, within)
        self._awaiting_off = self._awake = True
        self._sequence += 1
        return FingerprintImage(pixels, DPI, self._sequence, captured_ns)

    def _exchange_key(self, number: int, deadline: Deadline) -> int:
        """Ask for scrambling key `number` under a seed of ours."""
        (seed,) = struct.unpack("<I", self._random_bytes(4))
        self._link.control_write(_REGISTER_REQUEST, _SCRAMBLE_INDEX, struct.pack("<BI", number, seed), deadline)
        (masked,) = struct.unpack("<I", self._link.control_read(_REGISTER_REQUEST, _SCRAMBLE_KEY, 4, deadline))
        return int(masked) ^ int(seed)

    def _clear_fault(self, deadline: Deadline) -> None:
        status = self._status(deadline)
        if status & (_FAULT | _LOW_POWER) == _FAULT | _LOW_POWER:
            self._set_status(status & 0x0F, deadline)
            self._poll(lambda now: bool(now & _RUNNING), "restart", deadline)

    def _cycle_power(self, deadline: Deadline) -> None:
        """Into low power, if the reader is not there, and out of it."""
        status = self._status(deadline)
        if not status & _LOW_POWER:
            self._set_status(status | _LOW_POWER, deadline)
        self._set_status(status & 0x0F, deadline)
        self._poll(lambda now: not now & _LOW_POWER, "power up", deadline, again=status & 0x0F)

    def _poll(self, reached: Callable[[int], bool], what: str, deadline: Deadline, *, again: int | None = None) -> None:
        """Read the status until `reached`, writing `again` in between where the reader wants to be told twice."""
        for _ in range(_POLLS):
            if reached(self._status(deadline)):
                return
            deadline.check(f"waiting for the reader to {what}")
            deadline.clock.sleep(_POLL_SECONDS)
            if again is not None:
                self._set_status(again, deadline)
        raise TimedOut(f"the reader did not {what}")

    def _await_interrupt(self, wanted: int, deadline: Deadline) -> None:
        """Wait for one kind of interrupt and pass over the others; raises `ProtocolError` when the reader fails."""
        while True:
            deadline.check("waiting for the finger" if wanted != _POWERED_UP else "waiting for the reader to power up")
            try:
                packet = self._link.read(_INTERRUPTS, _INTERRUPT_BYTES, deadline.within(_SLICE_SECONDS))
            except TimedOut:
                continue
            cause = interrupt_cause(packet)
            if cause == wanted:
                return
            if cause == _DEATH:
                self._awake = False
                raise ProtocolError("the reader reports an internal failure", remedy="Lift the finger and try again.")

    def _status(self, deadline: Deadline) -> int:
        return self._link.control_read(_REGISTER_REQUEST, _HARDWARE_STATUS, 1, deadline)[0]

    def _set_status(self, value: int, deadline: Deadline) -> None:
        self._link.control_write(_REGISTER_REQUEST, _HARDWARE_STATUS, bytes([value]), deadline)

    def _set_mode(self, mode: int, deadline: Deadline) -> None:
        self._link.control_write(_REGISTER_REQUEST, _MODE, bytes([mode]), deadline)
        self._awaiting_off = False

    def _switch_off(self, seconds: float) -> None:
        """Stop waiting for a finger, which would keep the light on; a reader that is gone needs no telling."""
        with suppress(DeviceError):
            self._set_mode(_OFF, Deadline.after(seconds, self._clock))


def interrupt_cause(packet: bytes) -> int:
    """What an interrupt says, a 16-bit code; raises `ProtocolError` for one that is cut short."""
    if len(packet) < 2:
        raise ProtocolError(f"an interrupt of {len(packet)} bytes")
    return int.from_bytes(packet[:2], "big")


def _share(deadline: Deadline) -> float:
    """The seconds that switching off may take beyond `deadline`."""
    return max(0.01, min(_OFF_SECONDS, _OFF_SHARE * deadline.remaining()))
