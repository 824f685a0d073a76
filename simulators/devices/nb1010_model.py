"""NEXT Biometrics NB-1010-U from the device's side: three commands in, fixed replies and image frames out.

The frame and reply layouts are those of a recorded real reader (libfprint's test trace).
"""

from __future__ import annotations

import struct

from simulators.devices.press_sensor import PressSensorModel, SensorField, SensorLife
from simulators.devices.usb import Endpoint, Setup, Stall, TransferType, UsbLayout

FIELD = SensorField(height=180, width=256, dpi=385)
"""Geometry of the sensor."""

_COMMAND, _REPLY = 0x02, 0x83
_IS_FINGER, _PREPARE, _CAPTURE = 0x38, 0x0D, 0x12
_COMMAND_LENGTHS = {_IS_FINGER: 8, _PREPARE: 12, _CAPTURE: 32}
_LINES_PER_FRAME = 2
_PRESSED, _FREE = 0xF7, 0x04
_FRAME_SECONDS = 0.004


class Nb1010Model(PressSensorModel):
    """The reader's firmware.

    Between commands it remembers only whether it was told to prepare: a capture without that is answered, and images
    nothing. Replies and frames leave in the order of their commands, whoever reads them. `life` tells how finger and
    sensor fall short of a perfect picture.
    """

    def __init__(self, serial: str = "", *, instant: bool = True, life: SensorLife | None = None) -> None:
        layout = UsbLayout(
            vendor_id=0x298D,
            product_id=0x1010,
            manufacturer="NEXT Biometrics",
            product="NB-1010-U (simulated)",
            interface_class=(0, 0, 0),
            endpoints=(
                Endpoint(0x81, TransferType.INTERRUPT, interval=5),
                Endpoint(_COMMAND, TransferType.BULK),
                Endpoint(_REPLY, TransferType.BULK),
            ),
            serial=serial,
        )
        super().__init__(layout, FIELD, instant=instant, life=life)
        self.power_on()

    def power_on(self) -> None:
        """Not prepared for an image."""
        self._prepared = False

    def vendor_request(self, setup: Setup, data: bytes) -> bytes:
        """The reader has no requests of its own on endpoint 0."""
        raise Stall(f"request {setup.request:#04x} with {len(data)} bytes")

    def received(self, endpoint: int, data: bytes) -> None:
        """Take one command and have its reply ready."""
        if len(data) < 8 or data[0] != 0x80 or _COMMAND_LENGTHS.get(data[1]) != len(data) or data[4] != len(data):
            raise Stall(f"unknown command on endpoint {endpoint:#04x}")
        command, sequence = data[1], data[2]
        if command == _IS_FINGER:
            self._reply(0x37, sequence, round(_FREE + (_PRESSED - _FREE) * self._glass.contact()))
        elif command == _PREPARE:
            self._prepared = True
            self._reply(0x20, sequence, 0)
        else:
            self._reply(0x20, sequence, 3)
            self._after(_FRAME_SECONDS * FIELD.height / _LINES_PER_FRAME, self._send_image)

    def _reply(self, kind: int, sequence: int, value: int) -> None:
        self._send(_REPLY, struct.pack("<BBBBIII", 0x80, kind, sequence, 0, 16, 0, value))

    def _send_image(self) -> None:
        view = self._glass.view() if self._prepared else self.field.blank()
        self._prepared = False
        for top in range(0, FIELD.height, _LINES_PER_FRAME):
            self._send(_REPLY, _frame(top + 1, view[top : top + _LINES_PER_FRAME].tobytes()))


def _frame(first_line: int, lines: bytes) -> bytes:
    """25 bytes of header, two lines, three bytes of trailer; lines count from 1."""
    length = 25 + len(lines) + 3
    return struct.pack("<BBBBIIIIIB", 0x80, 0x21, 0, 0, length, 0, 1, first_line, FIELD.width, 1) + lines + bytes(3)
