"""Talking to a sensor: commands and their confirmation, repeated where the line garbled them; finding its rate."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from drivers.ef01._options import BAUD_STEP, BAUD_STEPS, Ef01Options
from drivers.ef01._packets import PacketKind, encode, find_packets
from drivers.ef01._port import SerialPort
from drivers.ef01._transfer import ImageLayout
from hal import AuthorisationFailed, Deadline, DeviceError, Disconnected, ProtocolError, TimedOut, Unsupported

T = TypeVar("T")

_TRIES = 5
_REPLY_SECONDS = 1.2
_PROBE_SECONDS = 0.25
_SETTLE_SECONDS = 0.05
_FIRST_BYTE_SECONDS = 1.0
_PAUSE_SECONDS = 0.25
"""A sensor that sends nothing for so long within an image has sent what it had."""

_USUAL_RATES = (57_600, 115_200, 9_600, 38_400, 19_200)
_PACKET_SIZES = (32, 64, 128, 256)
_BAUD_REGISTER = 4
_LONGEST_REPLY = 2048
_WIRE_REMEDY = (
    "Check the wiring (TX to RX and RX to TX, common ground, 3.3 V), the address, and that nothing else uses the port."
)


class Instruction(IntEnum):
    """Commands that this driver sends."""

    GET_IMAGE = 0x01
    SEND_IMAGE = 0x0A
    SET_PARAMETER = 0x0E
    READ_PARAMETERS = 0x0F
    VERIFY_PASSWORD = 0x13


class Confirmation(IntEnum):
    """The first byte of an acknowledgement, as far as this driver tells them apart."""

    OK = 0x00
    GARBLED = 0x01
    NO_FINGER = 0x02
    IMAGING_FAILED = 0x03
    WRONG_PASSWORD = 0x13
    PASSWORD_NEEDED = 0x21


@dataclass(frozen=True)
class SystemParameters:
    """What a sensor says of itself: `packet_bytes` of 32, 64, 128 or 256, `baud` in bits per second."""

    status: int
    system: int
    capacity: int
    security_level: int
    address: int
    packet_bytes: int
    baud: int

    @classmethod
    def parse(cls, reply: bytes) -> SystemParameters:
        """From the 16 bytes of a ReadSysPara reply; raises `ProtocolError`."""
        if len(reply) != 16:
            raise ProtocolError(f"the system parameters have {len(reply)} bytes instead of 16")
        status, system, capacity, level, address, size, rate = struct.unpack(">HHHHIHH", reply)
        if size >= len(_PACKET_SIZES) or rate not in BAUD_STEPS:
            raise ProtocolError(f"the sensor claims packet size code {size} and {rate} x 9600 baud")
        return cls(status, system, capacity, level, address, _PACKET_SIZES[size], rate * BAUD_STEP)


class Session:
    """A sensor that answered at the port's rate. Made by `connect`."""

    def __init__(self, port: SerialPort, options: Ef01Options) -> None:
        self.port = port
        self._options = options
        self._clean = False
        self.heard = False
        """Whether anything came at all, garbled or not."""

    def find_finger(self, deadline: Deadline) -> Confirmation:
        """Have the sensor take an image: `OK`, `NO_FINGER` or `IMAGING_FAILED`."""
        code = self._command(Instruction.GET_IMAGE, b"", deadline, "looking for a finger")[0]
        if code not in (Confirmation.OK, Confirmation.NO_FINGER, Confirmation.IMAGING_FAILED):
            raise _refused("take an image", code)
        return Confirmation(code)

    def parameters(self, deadline: Deadline) -> SystemParameters:
        """Ask the sensor for its parameters."""
        reply = self._command(Instruction.READ_PARAMETERS, b"", deadline, "reading the sensor's parameters", 16)
        if reply[0] != Confirmation.OK:
            raise _refused("tell its parameters", reply[0])
        return SystemParameters.parse(reply[1:])

    def receive_image(self, layout: ImageLayout, deadline: Deadline) -> bytes:
        """Ask once for the image: what came over the wire, acknowledgement first, damaged as it may be.

        Raises `Unsupported` when the sensor refuses, `TimedOut` at the deadline.
        """
        self._send(Instruction.SEND_IMAGE, b"", deadline)
        self._clean = False
        stream = self._stream(layout, deadline)
        deadline.check("fetching the image")
        if not layout.is_complete(stream):
            self._require_willing(bytes(stream[: 2 * len(layout.acknowledgement)]))
        self._clean = layout.is_complete(stream)
        return bytes(stream)

    def raise_baud(self, deadline: Deadline) -> None:
        """Switch to the rate that the options ask for; where that fails, all stays as it was."""
        before, wanted = self.port.baud, self._options.raise_baud
        if wanted is None or wanted == before:
            return
        setting = bytes([_BAUD_REGISTER, wanted // BAUD_STEP])
        if self._command(Instruction.SET_PARAMETER, setting, deadline, "setting the rate")[0] != Confirmation.OK:
            return
        for rate in (wanted, before):
            self.port.set_baud(rate)
            deadline.clock.sleep(min(_SETTLE_SECONDS, deadline.remaining()))
            if self.answers(deadline, _TRIES):
                return
        raise TimedOut(f"the sensor at {self.port.path} was not heard of again after changing its rate")

    def answers(self, deadline: Deadline, tries: int) -> bool:
        """Whether a sensor answers at this rate; raises `AuthorisationFailed` when it does and refuses the password."""
        password = struct.pack(">I", self._options.password)
        try:
            reply = _repeated(
                lambda: self._once(Instruction.VERIFY_PASSWORD, password, deadline.within(_PROBE_SECONDS), 0), tries
            )
        except (ProtocolError, TimedOut):
            deadline.check(f"looking for a sensor at {self.port.path}")
            return False
        if reply[0] == Confirmation.WRONG_PASSWORD:
            raise AuthorisationFailed(
                f"the sensor at {self.port.path} refuses the password",
                remedy="Put the module's password, eight hexadecimal digits, into the file of option 'password_file'.",
            )
        return reply[0] == Confirmation.OK

    def _stream(self, layout: ImageLayout, deadline: Deadline) -> bytearray:
        stream = bytearray()
        while len(stream) <= layout.wire_bytes + layout.frame and not layout.is_complete(stream):
            chunk = self.port.read(deadline.within(_PAUSE_SECONDS if stream else _FIRST_BYTE_SECONDS))
            if not chunk:
                break
            stream += chunk
        return stream

    def _require_willing(self, start: bytes) -> None:
        """Raise `Unsupported` when `start` is an acknowledgement that refuses; a garbled command is no refusal."""
        for packet in find_packets(start, self._options.address)[:1]:
            code = packet.payload[0] if packet.kind is PacketKind.ACK and len(packet.payload) == 1 else 0
            if code == Confirmation.PASSWORD_NEEDED:
                raise _refused("hand out its image", code)
            if code not in (Confirmation.OK, Confirmation.GARBLED):
                raise Unsupported(
                    f"the sensor does not hand out its image (confirmation {code:#04x})",
                    remedy="Use a module whose firmware has UpImage, such as AS608, R305 or R307; "
                    "an R503 needs recent firmware.",
                )

    def _command(self, code: Instruction, data: bytes, deadline: Deadline, what: str, length: int = 0) -> bytes:
        """The confirmation and `length` bytes, after as many tries as it takes, five at the most."""
        deadline.check(what)
        try:
            return _repeated(lambda: self._once(code, data, deadline.within(_REPLY_SECONDS), length), _TRIES)
        except (TimedOut, ProtocolError) as error:
            deadline.check(what)
            raise type(error)(f"{what}: {error}", remedy=error.remedy) from None

    def _once(self, code: Instruction, data: bytes, deadline: Deadline, length: int) -> bytes:
        self._send(code, data, deadline)
        self._clean = False
        received = bytearray()
        while chunk := self.port.read(deadline):
            self.heard = True
            received = (received + chunk)[-_LONGEST_REPLY:]
            for packet in find_packets(bytes(received), self._options.address):
                if packet.kind is PacketKind.ACK and packet.payload[:1] == bytes([Confirmation.GARBLED]):
                    raise ProtocolError("the sensor received a garbled command", remedy=_WIRE_REMEDY)
                if packet.kind is PacketKind.ACK and len(packet.payload) in (1, 1 + length):
                    self._clean = True
                    return packet.payload
        if received:
            raise ProtocolError(f"{self.port.path} delivers no EF01 packet", remedy=_WIRE_REMEDY)
        raise TimedOut(f"the sensor at {self.port.path} does not answer")

    def _send(self, code: Instruction, data: bytes, deadline: Deadline) -> None:
        """Send a command after whatever an exchange that failed has left on its way."""
        if not self._clean:
            self.port.await_silence(deadline)
        self.port.discard_input()
        self.port.write(encode(PacketKind.COMMAND, bytes([code]) + data, self._options.address), deadline)


def connect(port: SerialPort, options: Ef01Options, deadline: Deadline) -> Session:
    """Find the rate at which the sensor answers to the password, and raise it if the options say so.

    The rates that the options name come first, and more than once: a sensor that was just plugged in needs a moment.
    Raises `TimedOut`, `AuthorisationFailed`, and `ProtocolError` when something answers, but no sensor.
    """
    session = Session(port, options)
    port.await_silence(deadline)
    for rate, tries in _rates(options).items():
        try:
            port.set_baud(rate)
        except Unsupported:
            continue
        if session.answers(deadline, tries):
            session.raise_baud(deadline)
            return session
    if session.heard:
        raise ProtocolError(f"what answers at {port.path} is no EF01 sensor, at any rate", remedy=_WIRE_REMEDY)
    raise TimedOut(f"no EF01 sensor answers at {port.path}, at any rate", remedy=_WIRE_REMEDY)


def _rates(options: Ef01Options) -> dict[int, int]:
    """Every rate of the family in the order of trying, and how often each is tried."""
    named = [rate for rate in (options.raise_baud, options.baud) if rate is not None]
    rest = [*_USUAL_RATES, *(BAUD_STEP * number for number in BAUD_STEPS)]
    return dict.fromkeys([*named, *rest], 1) | dict.fromkeys(named, _TRIES)


def _repeated(work: Callable[[], T], tries: int) -> T:
    """What `work` gives, at its last try whatever it raises."""
    for _ in range(tries - 1):
        try:
            return work()
        except Disconnected:
            raise
        except (ProtocolError, TimedOut):
            continue
    return work()


def _refused(what: str, code: int) -> DeviceError:
    if code == Confirmation.PASSWORD_NEEDED:
        return Disconnected("the sensor lost its power meanwhile and asks for its password", remedy="Open it again.")
    return ProtocolError(f"the sensor refuses to {what} (confirmation {code:#04x})")
