"""A pyusb backend that reaches devices by USB/IP, protocol 1.1.1 (Linux Documentation/usb/usbip_protocol.rst).

Unlike the published Python client it withdraws a transfer with CMD_UNLINK at its deadline instead of cutting the
connection two seconds later, reads the device's strings, and lets go of the device when it is closed.
USB/IP has no authentication: what is reached by it is reported as virtual.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace

from usb.backend import IBackend
from usb.core import USBError, USBTimeoutError

_VERSION = 0x0111
_REQ_DEVLIST, _REP_DEVLIST, _REQ_IMPORT, _REP_IMPORT = 0x8005, 0x0005, 0x8003, 0x0003
_IMPORT_ERRNO = {1: errno.EBUSY, 2: errno.EBUSY, 4: errno.ENODEV}
_CMD_SUBMIT, _CMD_UNLINK, _RET_SUBMIT, _RET_UNLINK = 1, 2, 3, 4
_OUT, _IN = 0, 1

_OPERATION = struct.Struct("!HHI")
_DEVICE = struct.Struct("!256s32sIIIHHHBBBBBB")
_HEADER = struct.Struct("!IIIII")
_RET_BODY = struct.Struct("!iI20x")
_MAX_DEVICES = 256
_ANSWER_SECONDS = 2.0
"""How long a server may take to answer what needs no device: a list, an import, an unlink."""


@dataclass
class _Remote:
    """A device of the server's list: its descriptor as far as the list tells, the real ones once it was imported."""

    bus_id: str
    device_id: int
    speed: int
    listed: bytes
    device: bytes = b""
    configuration: bytes = field(default=b"", repr=False)


class _Stream:
    """A socket read in whole messages; a message that is late stays in the buffer until it is complete."""

    def __init__(self, host: str, port: int) -> None:
        with _socket_errors(), _silence_is_loss():
            self._socket = socket.create_connection((host, port), timeout=_ANSWER_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._inbox = bytearray()

    def send(self, data: bytes) -> None:
        with _socket_errors(), _silence_is_loss():
            self._socket.settimeout(_ANSWER_SECONDS)
            self._socket.sendall(data)

    def take(self, count: int, until: float) -> bytes:
        """The next `count` bytes; `TimeoutError` at `until` (monotonic seconds) takes none."""
        self.await_bytes(count, until)
        taken = bytes(self._inbox[:count])
        del self._inbox[:count]
        return taken

    def peek(self, count: int, until: float) -> bytes:
        self.await_bytes(count, until)
        return bytes(self._inbox[:count])

    def await_bytes(self, count: int, until: float) -> None:
        while len(self._inbox) < count:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            with _socket_errors():
                self._socket.settimeout(left)
                chunk = self._socket.recv(65536)
            if not chunk:
                raise USBError("the USB/IP server closed the connection", errno=errno.ENODEV)
            self._inbox += chunk

    def close(self) -> None:
        """Say goodbye and wait for the server's own, so that the device is free when this returns."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(_ANSWER_SECONDS / 2)
            while self._socket.recv(65536):
                pass
        self._socket.close()


class _Session:
    """An imported device: one transfer at a time."""

    def __init__(self, stream: _Stream, remote: _Remote) -> None:
        self._stream = stream
        self._remote = remote
        self._sequence = 0
        self._broken = False

    def control(self, setup: tuple[int, int, int, int], data: bytes, length: int, timeout: int) -> bytes:
        """A control transfer; `length` bytes wanted or sent."""
        direction = _IN if setup[0] & 0x80 else _OUT
        return self.submit(direction, 0, data, length, timeout, struct.pack("<BBHHH", *setup, length))

    def submit(
        self, direction: int, endpoint: int, data: bytes, length: int, timeout: int, setup: bytes = bytes(8)
    ) -> bytes:
        """One transfer; what was read, empty for OUT. `timeout` in milliseconds, 0 waits for ever."""
        if self._broken:
            raise USBError("the USB/IP session has ended", errno=errno.ENODEV)
        until = time.monotonic() + timeout / 1000 if timeout else float("inf")
        try:
            body = struct.pack("!IiIII", 0, length, 0, 0, 0) + setup
            sequence = self._send(_CMD_SUBMIT, direction, endpoint, body, data)
            return self._outcome(sequence, length if direction == _IN else 0, until)
        except USBTimeoutError:
            raise
        except BaseException as error:
            self._broken = not (isinstance(error, USBError) and error.backend_error_code)
            raise

    def close(self) -> None:
        self._stream.close()

    def _send(self, command: int, direction: int, endpoint: int, body: bytes, data: bytes = b"") -> int:
        self._sequence += 1
        header = _HEADER.pack(command, self._sequence, self._remote.device_id, direction, endpoint & 0x0F)
        self._stream.send(header + body + data)
        return self._sequence

    def _outcome(self, sequence: int, room: int, until: float) -> bytes:
        try:
            return _checked(*self._reply(_RET_SUBMIT, sequence, room, until))
        except TimeoutError:
            return self._withdraw(sequence, room)

    def _withdraw(self, sequence: int, room: int) -> bytes:
        """Unlink a transfer that is late; if it ended in the meantime, its data count."""
        unlink = self._send(_CMD_UNLINK, _OUT, 0, struct.pack("!I24x", sequence))
        until = time.monotonic() + _ANSWER_SECONDS
        late: tuple[int, bytes] | None = None
        try:
            while (kind := self._next(room, until))[:2] != (_RET_UNLINK, unlink):
                if kind[:2] == (_RET_SUBMIT, sequence):
                    late = kind[2:]
        except TimeoutError:
            raise _silent() from None
        if late is None:
            raise USBTimeoutError("Operation timed out", errno=errno.ETIMEDOUT)
        return _checked(*late)

    def _reply(self, command: int, sequence: int, room: int, until: float) -> tuple[int, bytes]:
        got = self._next(room, until)
        if got[:2] != (command, sequence):
            raise USBError("the USB/IP server answered another question", errno=errno.EPROTO)
        return got[2:]

    def _next(self, room: int, until: float) -> tuple[int, int, int, bytes]:
        """The next message: command, sequence number, status, data of at most `room` bytes."""
        size = _HEADER.size + _RET_BODY.size
        head = self._stream.peek(size, until)
        command, sequence = _HEADER.unpack_from(head)[:2]
        status, actual = _RET_BODY.unpack_from(head, _HEADER.size)
        count = actual if command == _RET_SUBMIT and room else 0
        if command not in (_RET_SUBMIT, _RET_UNLINK) or count > room:
            raise USBError("the USB/IP server sent what the protocol does not allow", errno=errno.EPROTO)
        return command, sequence, status, self._stream.take(size + count, until)[size:]


class UsbipBackend(IBackend):  # type: ignore[misc]  # pyusb is untyped
    """What `usb.core.find(backend=...)` wants, over the devices of one server whose identifiers are `wanted`."""

    virtual = True

    def __init__(self, host: str, port: int, wanted: frozenset[tuple[int, int]]) -> None:
        self._address = (host, port)
        self._wanted = wanted

    def enumerate_devices(self) -> list[_Remote]:
        """The server's devices; raises `USBError` with ECONNREFUSED when there is no server."""
        stream = _Stream(*self._address)
        try:
            until = _request(stream, _REQ_DEVLIST, _REP_DEVLIST)
            (count,) = struct.unpack("!I", stream.take(4, until))
            if count > _MAX_DEVICES:
                raise USBError("the USB/IP server lists too many devices", errno=errno.EPROTO)
            listed = [_listed(stream, until) for _ in range(count)]
        except TimeoutError:
            raise _silent() from None
        finally:
            stream.close()
        return [remote for identifiers, remote in listed if identifiers in self._wanted]

    def get_device_descriptor(self, remote: _Remote) -> SimpleNamespace:
        """The fields of the device descriptor; of a device that another client holds, those the list told."""
        if not remote.device:
            with suppress(USBError):
                self.close_device(self.open_device(remote))
        names = (
            "bLength bDescriptorType bcdUSB bDeviceClass bDeviceSubClass bDeviceProtocol bMaxPacketSize0 idVendor "
            "idProduct bcdDevice iManufacturer iProduct iSerialNumber bNumConfigurations"
        )
        fields = _fields(names, "<BBHBBBBHHHBBBB", remote.device or remote.listed)
        bus, _, path = remote.bus_id.partition("-")
        numbers = tuple(int(part) for part in path.split(".") if part.isdecimal())
        fields.bus, fields.address = int(bus) if bus.isdecimal() else 0, remote.device_id & 0xFFFF
        fields.port_number, fields.port_numbers = numbers[-1] if numbers else None, numbers or None
        fields.speed = remote.speed
        return fields

    def get_configuration_descriptor(self, remote: _Remote, index: int) -> SimpleNamespace:
        """The fields of the configuration descriptor."""
        names = "bLength bDescriptorType wTotalLength bNumInterfaces bConfigurationValue iConfiguration bmAttributes"
        return _fields(f"{names} bMaxPower", "<BBHBBBBB", _descriptors(remote, 2)[index][0])

    def get_interface_descriptor(self, remote: _Remote, interface: int, setting: int, _config: int) -> SimpleNamespace:
        """The fields of an interface descriptor; `IndexError` past the last."""
        names = "bLength bDescriptorType bInterfaceNumber bAlternateSetting bNumEndpoints bInterfaceClass"
        names += " bInterfaceSubClass bInterfaceProtocol iInterface"
        return _fields(names, "<BBBBBBBBB", _setting(remote, interface, setting)[0])

    def get_endpoint_descriptor(
        self, remote: _Remote, endpoint: int, interface: int, setting: int, _config: int
    ) -> SimpleNamespace:
        """The fields of an endpoint descriptor; `IndexError` past the last."""
        names = "bLength bDescriptorType bEndpointAddress bmAttributes wMaxPacketSize bInterval"
        fields = _fields(names, "<BBBBHB", _setting(remote, interface, setting)[1:][endpoint])
        fields.bRefresh = fields.bSynchAddress = 0
        return fields

    def open_device(self, remote: _Remote) -> _Session:
        """Import the device; EBUSY when another client has it, ENODEV when it is gone."""
        stream = _Stream(*self._address)
        try:
            until = _request(stream, _REQ_IMPORT, _REP_IMPORT, remote.bus_id.encode()[:31].ljust(32, b"\0"))
            stream.take(_DEVICE.size, until)
            session = _Session(stream, remote)
            remote.device = _descriptor(session, 1, 18)
            total = struct.unpack_from("<H", _descriptor(session, 2, 9), 2)[0]
            remote.configuration = _descriptor(session, 2, total)
        except BaseException as error:
            stream.close()
            if isinstance(error, TimeoutError):
                raise _silent() from None
            raise
        return session

    def close_device(self, session: _Session) -> None:
        """Give the device back to the server."""
        session.close()

    def get_configuration(self, session: _Session) -> int:
        """The value of the active configuration."""
        reply = session.control((0x80, 8, 0, 0), b"", 1, 1000)
        return reply[0] if reply else 0

    def set_configuration(self, session: _Session, value: int) -> None:
        """Activate a configuration."""
        session.control((0x00, 9, value, 0), b"", 0, 1000)

    def claim_interface(self, _session: _Session, _interface: int) -> None:
        """Nothing to do: an import is exclusive."""

    def release_interface(self, _session: _Session, _interface: int) -> None:
        """Nothing to do: closing gives the device back."""

    def is_kernel_driver_active(self, _session: _Session, _interface: int) -> bool:
        """The server took the device from its own kernel."""
        return False

    def ctrl_transfer(
        self, session: _Session, request_type: int, request: int, value: int, index: int, data: array[int], timeout: int
    ) -> int:
        """A control transfer; `data` is what to send, or the buffer to fill."""
        setup = (request_type, request, value, index)
        reply = session.control(setup, b"" if request_type & 0x80 else data.tobytes(), len(data), timeout)
        if not request_type & 0x80:
            return len(data)
        data[: len(reply)] = array("B", reply)
        return len(reply)

    def bulk_write(self, session: _Session, endpoint: int, _interface: int, data: array[int], timeout: int) -> int:
        """Send to an OUT endpoint."""
        session.submit(_OUT, endpoint, data.tobytes(), len(data), timeout)
        return len(data)

    def bulk_read(self, session: _Session, endpoint: int, _interface: int, buffer: array[int], timeout: int) -> int:
        """Read from an IN endpoint for at most `timeout` milliseconds."""
        reply = session.submit(_IN, endpoint, b"", len(buffer), timeout)
        buffer[: len(reply)] = array("B", reply)
        return len(reply)

    intr_read = bulk_read
    intr_write = bulk_write


def _request(stream: _Stream, code: int, answer: int, body: bytes = b"") -> float:
    """Ask and check the answer's head; until when the rest may come."""
    until = time.monotonic() + _ANSWER_SECONDS
    stream.send(_OPERATION.pack(_VERSION, code, 0) + body)
    version, got, status = _OPERATION.unpack(stream.take(_OPERATION.size, until))
    if version != _VERSION or got != answer:
        raise USBError("there is no USB/IP 1.1.1 server", errno=errno.EPROTO)
    if status:
        raise USBError("the USB/IP server refused", errno=_IMPORT_ERRNO.get(status, errno.EIO))
    return until


def _listed(stream: _Stream, until: float) -> tuple[tuple[int, int], _Remote]:
    entry = _DEVICE.unpack(stream.take(_DEVICE.size, until))
    bus_id, bus, number, speed, vendor, product, release = entry[1:8]
    stream.take(4 * entry[13], until)
    ids = (vendor, product, release)
    known = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0200, *entry[8:11], 64, *ids, 0, 0, 0, entry[12])
    name = bus_id.split(b"\0", 1)[0].decode("ascii", "replace")
    return (vendor, product), _Remote(name, (bus & 0xFFFF) << 16 | number & 0xFFFF, speed, known)


def _descriptor(session: _Session, kind: int, length: int) -> bytes:
    reply = session.control((0x80, 6, kind << 8, 0), b"", length, int(_ANSWER_SECONDS * 1000))
    if len(reply) != length:
        raise USBError("a descriptor is cut short", errno=errno.EPROTO)
    return reply


def _descriptors(remote: _Remote, kind: int) -> list[list[bytes]]:
    """The configuration cut into groups, each a descriptor of `kind` with its endpoints behind it."""
    groups: list[list[bytes]] = []
    raw = remote.configuration
    while len(raw) >= 2 and 2 <= raw[0] <= len(raw):
        if raw[1] == kind:
            groups.append([raw[: raw[0]]])
        elif raw[1] == 5 and groups:
            groups[-1].append(raw[: raw[0]])
        raw = raw[raw[0] :]
    return groups


def _setting(remote: _Remote, interface: int, setting: int) -> list[bytes]:
    numbers = sorted({group[0][2] for group in _descriptors(remote, 4)})
    return [group for group in _descriptors(remote, 4) if group[0][2] == numbers[interface]][setting]


def _fields(names: str, layout: str, raw: bytes) -> SimpleNamespace:
    values = struct.unpack_from(layout, raw)
    return SimpleNamespace(**dict(zip(names.split(), values, strict=True)), extra_descriptors=[])


def _checked(status: int, data: bytes) -> bytes:
    """`data` of a transfer that went well; the error code tells that the device, not the server, refused it."""
    if status:
        raise USBError("the USB transfer failed", error_code=status, errno=abs(status))
    return data


def _silent() -> USBError:
    return USBError("the USB/IP server fell silent", errno=errno.ENODEV)


@contextmanager
def _silence_is_loss() -> Iterator[None]:
    """Where no device is waited for, a server that does not answer has gone."""
    try:
        yield
    except TimeoutError:
        raise _silent() from None


@contextmanager
def _socket_errors() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, USBError):
        raise
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError | socket.gaierror)
        code = errno.ECONNREFUSED if refused else errno.ENODEV
        raise USBError("the USB/IP server cannot be reached", errno=code) from None
