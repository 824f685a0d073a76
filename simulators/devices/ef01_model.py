"""An EF01 fingerprint module (R30x, AS608, ZFM-20) from its own side: bytes in, bytes out.

Written after the modules' user manuals: instruction and confirmation codes, system parameters, the image at four bits
a pixel. It is half-duplex as they are, and answers one command after the other.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hal import Clock, SystemClock
from simulators.devices.ef01_library import Library, characters
from simulators.devices.press_sensor import Glass, SensorField, SensorLife
from simulators.devices.serial_wire import Message

FIELD = SensorField(height=288, width=256, dpi=500)
"""Geometry of the optical modules."""

PACKET_SIZES = (32, 64, 128, 256)

_START = b"\xef\x01"
_COMMAND, _DATA, _ACK, _END = 0x01, 0x02, 0x07, 0x08
_OK, _BAD_PACKET, _NO_FINGER, _BAD_IMAGE, _FEW_POINTS = 0x00, 0x01, 0x02, 0x03, 0x07
_DIFFERENT, _NOT_FOUND, _NO_MERGE, _BAD_PLACE, _NO_TEMPLATE = 0x08, 0x09, 0x0A, 0x0B, 0x0C
_NO_UPLOAD, _WRONG_PASSWORD, _NO_IMAGE, _BAD_REGISTER, _BAD_VALUE, _LOCKED = 0x0F, 0x13, 0x15, 0x1A, 0x1B, 0x21
_LONGEST_COMMAND = 64
_FORGET_NS = 100_000_000
"""A command that stops half-way is forgotten after so long."""

_FELT = 0.1
"""How much of a finger must lie on the glass for the module to feel it, 0 to 1."""

_IMAGING_SECONDS, _THINKING_SECONDS, _BOOT_SECONDS = 0.12, 0.2, 0.15
_SLOW_COMMANDS = {0x01: _IMAGING_SECONDS, 0x02: _THINKING_SECONDS, 0x04: _THINKING_SECONDS}

Answer = tuple[int, bytes]
"""Confirmation code, and what follows it."""


class Ef01Model:
    """The module's firmware and the finger on its glass. Every method is thread safe.

    `instant` needs no time for anything: no settling, no imaging. `life` is that of finger and sensor.
    `hands_out_images` false is firmware without UpImage (early R503). Flash (password, parameters, templates) outlasts
    `power_on`.
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        packet_bytes: int = 128,
        baud: int = 57_600,
        password: int = 0,
        address: int = 0xFFFFFFFF,
        hands_out_images: bool = True,
        life: SensorLife | None = None,
        seed: int = 0,
        instant: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.field = FIELD
        self.packet_bytes = packet_bytes
        self.password = password
        self.address = address
        self._rate = baud // 9600
        self._hands_out_images = hands_out_images
        self._random = np.random.default_rng(seed)
        self._instant = instant
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._glass = Glass(FIELD, instant=instant, life=life or SensorLife(seed=seed, clock=clock))
        self._library = Library(capacity=162)
        self._level = 3
        self.power_on()

    @property
    def speed(self) -> int:
        """Bits per second that the module sends and understands."""
        return 9600 * self._rate

    def place(self, pixels: NDArray[np.uint8], dpi: int) -> None:
        """Lay a finger on the glass: uint8 `[h, w]`, ridges dark on light, of any size, at `dpi`."""
        with self._lock:
            self._glass.place(pixels, dpi)

    def lift(self) -> None:
        """Take the finger away."""
        with self._lock:
            self._glass.lift()

    # The wire.

    def power_on(self) -> None:
        """Forget what is not in flash; the module hears nothing while it starts."""
        with self._lock:
            self._library.power_on()
            self._image: NDArray[np.uint8] | None = None
            self._unlocked = self.password == 0
            self._pending = b""
            self._heard_ns = 0
            self._ready_ns = 0 if self._instant else self._clock.monotonic_ns() + int(_BOOT_SECONDS * 1e9)

    def receive(self, data: bytes) -> Sequence[Message]:
        """Take bytes as they arrive, and what the module sends in return."""
        with self._lock:
            now = self._clock.monotonic_ns()
            if now < self._ready_ns:
                return ()
            if now - self._heard_ns > _FORGET_NS:
                self._pending = b""
            self._heard_ns = now
            self._pending += data
            return self._answers()

    def _answers(self) -> list[Message]:
        messages: list[Message] = []
        while (start := self._pending.find(_START)) >= 0:
            self._pending = self._pending[start:]
            if len(self._pending) < 9:
                break
            address, kind, length = struct.unpack_from(">IBH", self._pending, 2)
            if address != self.address or kind != _COMMAND or not 3 <= length <= _LONGEST_COMMAND:
                self._pending = self._pending[2:]
                continue
            if len(self._pending) < 9 + length:
                break
            packet, self._pending = self._pending[: 9 + length], self._pending[9 + length :]
            messages += self._execute(packet)
        return messages

    def _execute(self, packet: bytes) -> list[Message]:
        if sum(packet[6:-2]) & 0xFFFF != int.from_bytes(packet[-2:], "big"):
            return [self._message(_ACK, bytes([_BAD_PACKET]))]
        code, arguments = packet[9], packet[10:-2]
        speed = self.speed
        confirmation, rest = self._obey(code, arguments)
        latency = 0.0 if self._instant else _SLOW_COMMANDS.get(code, 0.005)
        messages = [Message(self._frame(_ACK, bytes([confirmation]) + rest), speed, latency)]
        if code == 0x0A and confirmation == _OK:
            messages += self._image_packets()
        return messages

    def _obey(self, code: int, arguments: bytes) -> Answer:
        handlers: dict[int, tuple[int, Callable[..., Answer]]] = {
            0x01: (0, self._take_image),
            0x02: (1, self._extract),
            0x03: (0, self._match),
            0x04: (5, self._search),
            0x05: (0, lambda: (_OK if self._library.combine() else _NO_MERGE, b"")),
            0x06: (3, self._store),
            0x07: (3, self._load),
            0x0A: (0, self._upload),
            0x0C: (4, self._delete),
            0x0D: (0, self._empty),
            0x0E: (2, self._set_parameter),
            0x0F: (0, self._parameters),
            0x12: (4, self._set_password),
            0x13: (4, self._verify),
            0x14: (0, lambda: (_OK, self._random.bytes(4))),
            0x1D: (0, lambda: (_OK, struct.pack(">H", len(self._library.templates)))),
        }
        length, handler = handlers.get(code, (-1, self._match))
        if length != len(arguments):
            return _BAD_PACKET, b""
        if not self._unlocked and code != 0x13:
            return _LOCKED, b""
        return handler(arguments) if arguments else handler()

    # What is asked most.

    def _take_image(self) -> Answer:
        if self._glass.contact() < _FELT:
            return _NO_FINGER, b""
        image = self._glass.view()
        if image.min() > 250:
            return _BAD_IMAGE, b""
        self._image = image
        return _OK, b""

    def _upload(self) -> Answer:
        return (_OK if self._hands_out_images and self._image is not None else _NO_UPLOAD), b""

    def _image_packets(self) -> list[Message]:
        assert self._image is not None
        nibbles = self._image >> 4
        packed = (nibbles[:, 0::2] << 4 | nibbles[:, 1::2]).tobytes()
        size = self.packet_bytes
        pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
        return [self._message(_DATA, piece) for piece in pieces[:-1]] + [self._message(_END, pieces[-1])]

    def _verify(self, arguments: bytes) -> Answer:
        right = int.from_bytes(arguments, "big") == self.password
        self._unlocked = self._unlocked or right
        return (_OK if right else _WRONG_PASSWORD), b""

    def _set_password(self, arguments: bytes) -> Answer:
        self.password = int.from_bytes(arguments, "big")
        return _OK, b""

    def _parameters(self) -> Answer:
        size = PACKET_SIZES.index(self.packet_bytes)
        capacity, level = self._library.capacity, self._level
        return _OK, struct.pack(">HHHHIHH", 0, 9, capacity, level, self.address, size, self._rate)

    def _set_parameter(self, arguments: bytes) -> Answer:
        register, value = arguments
        allowed = {4: range(1, 13), 5: range(1, 6), 6: range(len(PACKET_SIZES))}
        if register not in allowed:
            return _BAD_REGISTER, b""
        if value not in allowed[register]:
            return _BAD_VALUE, b""
        if register == 4:
            self._rate = value
        elif register == 5:
            self._level = value
        else:
            self.packet_bytes = PACKET_SIZES[value]
        return _OK, b""

    # The module's own matcher.

    def _extract(self, arguments: bytes) -> Answer:
        if self._image is None:
            return _NO_IMAGE, b""
        found = characters(self._image)
        if found is None:
            return _FEW_POINTS, b""
        self._library.buffers[1 if arguments[0] == 1 else 2] = found
        return _OK, b""

    def _match(self) -> Answer:
        score = self._library.match()
        return (_OK if score else _DIFFERENT), struct.pack(">H", score)

    def _search(self, arguments: bytes) -> Answer:
        found = self._library.search(*struct.unpack(">BHH", arguments))
        return (_NOT_FOUND if found is None else _OK), struct.pack(">HH", *(found or (0, 0)))

    def _store(self, arguments: bytes) -> Answer:
        buffer, place = struct.unpack(">BH", arguments)
        if place >= self._library.capacity or buffer not in self._library.buffers:
            return _BAD_PLACE, b""
        self._library.templates[place] = self._library.buffers[buffer]
        return _OK, b""

    def _load(self, arguments: bytes) -> Answer:
        buffer, place = struct.unpack(">BH", arguments)
        if place not in self._library.templates:
            return _NO_TEMPLATE, b""
        self._library.buffers[buffer] = self._library.templates[place]
        return _OK, b""

    def _delete(self, arguments: bytes) -> Answer:
        first, count = struct.unpack(">HH", arguments)
        for place in range(first, first + count):
            self._library.templates.pop(place, None)
        return _OK, b""

    def _empty(self) -> Answer:
        self._library.templates.clear()
        return _OK, b""

    def _message(self, kind: int, payload: bytes) -> Message:
        return Message(self._frame(kind, payload), self.speed)

    def _frame(self, kind: int, payload: bytes) -> bytes:
        body = struct.pack(">BH", kind, len(payload) + 2) + payload
        return _START + self.address.to_bytes(4, "big") + body + struct.pack(">H", sum(body) & 0xFFFF)
