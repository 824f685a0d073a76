"""DigitalPersona U.are.U 4000B/4500 (05ba:000a) from the device's side: registers, interrupts, scrambled images."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

import numpy as np

from simulators.devices.finger import Pixels
from simulators.devices.press_sensor import PressSensorModel, SensorField, SensorLife
from simulators.devices.usb import Endpoint, Setup, Stall, TransferType, UsbLayout

FIELD = SensorField(height=290, width=384, dpi=512)
"""Geometry of the sensor; it sends one line less and marks the missing one as an absent block."""

_INTERRUPTS, _IMAGES = 0x81, 0x82
_REGISTER_REQUEST, _REGISTER_WRITE, _REGISTER_READ = 0x04, 0x40, 0xC0
_FEEDBACK_TAPS = 0x9248144D
_KEYSTREAM_BITS = (4, 8, 11, 14, 18, 21, 24, 29)
_BLOCK_SLOTS = 15
_INTERRUPT_BYTES = 64


class _Register(IntEnum):
    HARDWARE_STATUS = 0x07
    SCRAMBLE_INDEX = 0x33
    SCRAMBLE_KEY = 0x34
    MODE = 0x4E
    DEVICE_INFO = 0xF0


class _Status(IntFlag):
    RUNNING = 0x01
    FAULT = 0x04
    LOW_POWER = 0x80


class _Mode(IntEnum):
    INIT = 0x00
    AWAIT_FINGER_ON = 0x10
    AWAIT_FINGER_OFF = 0x12
    CAPTURE = 0x20
    OFF = 0x70
    READY = 0x80


class _Interrupt(IntEnum):
    POWERED_UP = 0x56AA
    FINGER_ON = 0x0101
    FINGER_OFF = 0x0200
    DEATH = 0x0800


class _Flag(IntFlag):
    CLEAR = 0
    ABSENT = 0x01
    SCRAMBLED = 0x02
    NO_KEY_UPDATE = 0x04
    CHANGE_KEY = 0x80


class _Block(NamedTuple):
    """A run of sensor lines that travel alike."""

    flags: _Flag
    lines: int


_CLEAR_BLOCKS = (
    _Block(_Flag.NO_KEY_UPDATE, 200),
    _Block(_Flag.NO_KEY_UPDATE, 89),
    _Block(_Flag.ABSENT | _Flag.NO_KEY_UPDATE, 1),
)
_SCRAMBLED_BLOCKS = (
    _Block(_Flag.SCRAMBLED, 96),
    _Block(_Flag.CLEAR, 24),
    _Block(_Flag.SCRAMBLED, 40),
    _Block(_Flag.CHANGE_KEY | _Flag.SCRAMBLED, 90),
    _Block(_Flag.NO_KEY_UPDATE, 9),
    _Block(_Flag.SCRAMBLED, 30),
    _Block(_Flag.ABSENT | _Flag.NO_KEY_UPDATE, 1),
)


class Uru4000Model(PressSensorModel):
    """The reader's firmware.

    `scramble` chooses images of every kind of block or clear ones; `seed` draws the keys; `faulty` powers up with the
    fault bit set, which a host must clear first. `life` tells how finger and sensor fall short of a perfect picture.
    `die()` makes it report its internal failure. Asleep it serves registers but ignores modes; a new mode ends the one
    before it, an image that is on its way included.
    """

    def __init__(
        self,
        serial: str = "",
        *,
        scramble: bool = True,
        seed: int = 0,
        instant: bool = True,
        faulty: bool = False,
        life: SensorLife | None = None,
    ) -> None:
        layout = UsbLayout(
            vendor_id=0x05BA,
            product_id=0x000A,
            manufacturer="DigitalPersona, Inc.",
            product="U.are.U 4500 Fingerprint Reader (simulated)",
            interface_class=(0xFF, 0xFF, 0xFF),
            endpoints=(Endpoint(_INTERRUPTS, TransferType.INTERRUPT, interval=1), Endpoint(_IMAGES, TransferType.BULK)),
            serial=serial,
        )
        super().__init__(layout, FIELD, instant=instant, life=life)
        self._blocks = _SCRAMBLED_BLOCKS if scramble else _CLEAR_BLOCKS
        self._random = np.random.default_rng(seed)
        self._faulty = faulty
        self.power_on()

    def power_on(self) -> None:
        """Asleep until the host clears the low-power bit; a finger stays where it lies."""
        start = _Status.FAULT | _Status.LOW_POWER if self._faulty else _Status.LOW_POWER | _Status.RUNNING
        self._status = int(start)
        self._mode: int = _Mode.OFF
        self._keys: dict[int, int] = {}
        self._next_key = 1
        self._answer = 0
        self._dead = False

    def die(self) -> None:
        """Report an internal failure; the next image is empty until the reader is powered down and up."""
        with self._lock:
            self._dead = True
            self._interrupt(_Interrupt.DEATH)

    def vendor_request(self, setup: Setup, data: bytes) -> bytes:
        """Write or read a register."""
        if setup.request != _REGISTER_REQUEST or setup.index != 0:
            raise Stall(f"request {setup.request:#04x}")
        if setup.request_type == _REGISTER_READ:
            return self._read(setup.value)
        if setup.request_type != _REGISTER_WRITE or not data:
            raise Stall(f"request type {setup.request_type:#04x} with {len(data)} bytes")
        self._write(setup.value, data)
        return b""

    def _read(self, register: int) -> bytes:
        if register == _Register.HARDWARE_STATUS:
            return bytes([self._status])
        if register == _Register.MODE:
            return bytes([self._mode])
        if register == _Register.DEVICE_INFO:
            return bytes([0, 0, 0, 0, 0x12, 0x01, 0, 0, 0, 0, 0x34, 0x02, 0, 0, 0, 0])
        if register == _Register.SCRAMBLE_KEY:
            return struct.pack("<I", self._answer)
        raise Stall(f"no register {register:#06x}")

    def _write(self, register: int, data: bytes) -> None:
        if register == _Register.HARDWARE_STATUS:
            self._set_power(data[0])
        elif register == _Register.MODE:
            self._set_mode(data[0])
        elif register == _Register.SCRAMBLE_INDEX and len(data) == 5:
            number, seed = struct.unpack("<BI", data)
            self._answer = self._key(number) ^ seed
        else:
            raise Stall(f"register {register:#06x} takes no {len(data)} bytes")

    def _set_power(self, value: int) -> None:
        if self._status & _Status.FAULT:
            self._status = _Status.LOW_POWER | _Status.RUNNING
        elif value & _Status.LOW_POWER:
            self._status |= _Status.LOW_POWER
            self._mode = _Mode.OFF
        elif self._status & _Status.LOW_POWER:
            self._after(0.03, self._wake)

    def _wake(self) -> None:
        if self._status & _Status.LOW_POWER:
            self._status &= ~_Status.LOW_POWER
            self._dead = False
            self._flush(_IMAGES)
            self._flush(_INTERRUPTS)
            self._interrupt(_Interrupt.POWERED_UP)

    def _set_mode(self, mode: int) -> None:
        if mode not in set(_Mode):
            raise Stall(f"no mode {mode:#04x}")
        if self._status & _Status.LOW_POWER:
            return
        self._mode = mode
        if mode == _Mode.CAPTURE:
            self._after(0.1, self._send_image)
        else:
            self._flush(_IMAGES)
            self._finger_changed()

    def _finger_changed(self) -> None:
        if self._mode == _Mode.AWAIT_FINGER_ON and self._glass.touched:
            self._interrupt(_Interrupt.FINGER_ON)
            self._mode = _Mode.READY
        elif self._mode == _Mode.AWAIT_FINGER_OFF and not self._glass.touched:
            self._interrupt(_Interrupt.FINGER_OFF)
            self._mode = _Mode.READY

    def _interrupt(self, cause: _Interrupt) -> None:
        self._send(_INTERRUPTS, struct.pack(">H", cause).ljust(_INTERRUPT_BYTES, b"\0"))

    def _send_image(self) -> None:
        if self._mode != _Mode.CAPTURE:
            return
        number, self._next_key = self._next_key, (self._next_key + 16) % 256
        if self._dead:
            self._send(_IMAGES, _image_header(0, number, ()))
            return
        body = self._encode(np.uint8(255) - self._glass.view()[::-1, ::-1], number)
        lines = len(body) // FIELD.width
        self._send(_IMAGES, _image_header(lines, number, self._blocks) + body)

    def _encode(self, sensed: Pixels, number: int) -> bytes:
        """The lines of `sensed` (inverted, upside down) as they travel under the key `number`."""
        key = self._key(number)
        sent, top = [], 0
        for flags, lines in self._blocks:
            if flags & _Flag.CHANGE_KEY:
                number = (number + 1) % 256
                key = self._key(number)
            plain = sensed[top : top + lines].reshape(-1)
            top += lines
            if flags & _Flag.NO_KEY_UPDATE:
                cipher = plain
            else:
                stream, key = _keystream(key, plain.size)
                cipher = self._scrambled(plain, stream) if flags & _Flag.SCRAMBLED else plain
            if not flags & _Flag.ABSENT:
                sent.append(cipher.tobytes())
        return b"".join(sent)

    def _scrambled(self, plain: Pixels, stream: Pixels) -> Pixels:
        """Each byte one place later under the keystream; the first is noise, the block's last byte is lost."""
        noise = self._random.integers(0, 256, 1, np.uint8)
        return np.concatenate([noise, plain[:-1] ^ stream[:-1]])

    def _key(self, number: int) -> int:
        return self._keys.setdefault(number, int(self._random.integers(1, 1 << 32)))


def _image_header(lines: int, key_number: int, blocks: tuple[_Block, ...]) -> bytes:
    """64 bytes: the count of lines at 4, the key's number at 6, from 16 the blocks as pairs of flags and lines."""
    pairs = [value for block in blocks for value in block]
    table = bytes(pairs).ljust(2 * _BLOCK_SLOTS, b"\0")
    return (struct.pack("<4xHB9x", lines, key_number) + table).ljust(64, b"\0")


def _keystream(key: int, count: int) -> tuple[Pixels, int]:
    """`count` bytes of the reader's shift register from `key`, and the key after them."""
    keys = np.empty(count, np.uint32)
    for index in range(count):
        keys[index] = key
        key = key >> 1 | ((key & _FEEDBACK_TAPS).bit_count() & 1) << 31
    stream = np.zeros(count, np.uint8)
    for place, bit in enumerate(_KEYSTREAM_BITS):
        stream |= ((keys >> bit & 1) << place).astype(np.uint8)
    return stream, key
