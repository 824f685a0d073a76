"""A pyusb backend that reaches devices by USB/IP, protocol 1.1.1.

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
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

from usb.backend import IBackend
from usb.core import USBError, USBTimeoutError

from drivers import usbip_wire as wire
from drivers.usbip_wire import IN, OUT, Remote, Reply

_ANSWER_SECONDS = 2.0
"""How long a server may take to answer what needs no device: a list, an import, an unlink."""

_UNLINK_SECONDS = 0.01
"""How long a transfer that is late waits for the word that it was withdrawn; after that, a later one sees to it."""

_STANDARD_SECONDS = 1.0
_GOODBYE_SECONDS = 1.0


class _Stream:
    """A socket read in whole messages; a message that is late stays in the buffer until it is complete."""

    def __init__(self, address: tuple[str, int], seconds: float) -> None:
        with _socket_errors(), _silence_is_loss():
            self._socket = socket.create_connection(address, timeout=max(0.001, seconds))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._inbox = bytearray()

    def send(self, data: bytes, until: float) -> None:
        """Send all of `data`; a server that does not take them counts as lost."""
        with _socket_errors(), _silence_is_loss():
            self._socket.settimeout(max(0.001, min(_ANSWER_SECONDS, until - time.monotonic())))
            self._socket.sendall(data)

    def take(self, count: int, until: float) -> bytes:
        """The next `count` bytes; `TimeoutError` at `until` (monotonic seconds) takes none."""
        self._await_bytes(count, until)
        taken = bytes(self._inbox[:count])
        del self._inbox[:count]
        return taken

    def peek(self, count: int, until: float) -> bytes:
        """The next `count` bytes, which stay."""
        self._await_bytes(count, until)
        return bytes(self._inbox[:count])

    def _await_bytes(self, count: int, until: float) -> None:
        while len(self._inbox) < count:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            with _socket_errors():
                self._socket.settimeout(left if left < float("inf") else None)
                chunk = self._socket.recv(65536)
            if not chunk:
                raise USBError("the USB/IP server closed the connection", errno=errno.ENODEV)
            self._inbox += chunk

    def close(self, patience: float = 0.0) -> None:
        """Say goodbye; within `patience` seconds wait for the server's own, so that the device is free after it."""
        until = time.monotonic() + patience
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(65536):
                    break
        self._socket.close()


class _Session:
    """An imported device: one transfer at a time."""

    def __init__(self, stream: _Stream, remote: Remote) -> None:
        self._stream = stream
        self._remote = remote
        self._sequence = 0
        self._broken = False
        self._rooms: dict[int, int] = {}
        self._withdrawn: dict[int, int] = {}
        self._unlinks: dict[int, tuple[int, float]] = {}
        self._kept: defaultdict[int, deque[bytes]] = defaultdict(deque)

    def control(self, setup: tuple[int, int, int, int], data: bytes, length: int, timeout: int) -> bytes:
        """A control transfer; `length` bytes wanted or sent."""
        direction = IN if setup[0] & 0x80 else OUT
        return self.submit(direction, 0, data, length, timeout, struct.pack("<BBHHH", *setup, length))

    def submit(
        self, direction: int, endpoint: int, data: bytes, length: int, timeout: int, setup: bytes = bytes(8)
    ) -> bytes:
        """One transfer; what was read, empty for OUT. `timeout` in milliseconds, 0 waits for ever."""
        if self._broken:
            raise USBError("the USB/IP session has ended", errno=errno.ENODEV)
        if direction == IN and self._kept[endpoint]:
            return self._in_order(endpoint, b"", length)
        until = time.monotonic() + timeout / 1000 if timeout else float("inf")
        try:
            body = struct.pack("!IiIII", 0, length, 0, 0, 0) + setup
            sequence = self._send(wire.CMD_SUBMIT, direction, endpoint, body + data, until)
            self._rooms[sequence] = length if direction == IN else 0
            got = self._outcome(sequence, endpoint, until)
        except USBTimeoutError:
            raise
        except BaseException as error:
            self._broken = not (isinstance(error, USBError) and error.backend_error_code)
            raise
        return self._in_order(endpoint, got, length) if direction == IN and endpoint else got

    def close(self) -> None:
        """Give the device back; a server that has fallen silent is not waited for."""
        self._stream.close(0.0 if self._broken or self._unlinks else _GOODBYE_SECONDS)

    def _send(self, command: int, direction: int, endpoint: int, body: bytes, until: float) -> int:
        self._sequence += 1
        header = wire.HEADER.pack(command, self._sequence, self._remote.device_id, direction, endpoint & 0x0F)
        self._stream.send(header + body, until)
        return self._sequence

    def _outcome(self, sequence: int, endpoint: int, until: float) -> bytes:
        try:
            while not _answers((got := self._next(until))[0], sequence):
                self._late_reply(*got)
        except TimeoutError:
            return self._withdraw(sequence, endpoint)
        self._rooms.pop(sequence)
        return wire.checked(got[0].status, got[1])

    def _withdraw(self, sequence: int, endpoint: int) -> bytes:
        """Unlink a transfer that is late; if it ended in the meantime, its data count.

        The word that it is withdrawn is awaited for a moment only: the caller's deadline has come.
        """
        now = time.monotonic()
        unlink = self._send(wire.CMD_UNLINK, OUT, 0, struct.pack("!I24x", sequence), now + _UNLINK_SECONDS)
        self._unlinks[unlink] = (sequence, now)
        self._withdrawn[sequence] = endpoint
        with suppress(TimeoutError):
            while unlink in self._unlinks:
                got = self._next(now + _UNLINK_SECONDS)
                if _answers(got[0], sequence):
                    self._rooms.pop(sequence)
                    self._withdrawn.pop(sequence)
                    return wire.checked(got[0].status, got[1])
                self._late_reply(*got)
        if endpoint & 0x80 and self._kept[endpoint]:
            return b""
        raise USBTimeoutError("Operation timed out", errno=errno.ETIMEDOUT)

    def _late_reply(self, reply: Reply, data: bytes) -> None:
        """Take note of what became of an earlier transfer; what an IN endpoint still delivered is the next read's."""
        if reply.command == wire.RET_UNLINK:
            victim, _sent = self._unlinks.pop(reply.sequence, (0, 0.0))
            if not victim:
                raise USBError("the USB/IP server answered another question", errno=errno.EPROTO)
            if reply.status:
                self._withdrawn.pop(victim, None)
                self._rooms.pop(victim, None)
            return
        if reply.sequence not in self._withdrawn:
            raise USBError("the USB/IP server answered another question", errno=errno.EPROTO)
        endpoint = self._withdrawn.pop(reply.sequence)
        self._rooms.pop(reply.sequence)
        if endpoint & 0x80 and not reply.status:
            self._kept[endpoint].append(data)

    def _in_order(self, endpoint: int, got: bytes, length: int) -> bytes:
        """What came first of an IN endpoint, at most `length` bytes."""
        kept = self._kept[endpoint]
        if not kept:
            return got
        if got:
            kept.append(got)
        first = kept.popleft()
        if len(first) > length:
            kept.appendleft(first[length:])
        return first[:length]

    def _next(self, until: float) -> tuple[Reply, bytes]:
        """The next reply with its data; `TimeoutError` at `until`."""
        oldest = min((sent for _victim, sent in self._unlinks.values()), default=float("inf"))
        limit = min(until, oldest + _ANSWER_SECONDS)
        try:
            reply = wire.reply_head(self._stream.peek(wire.REPLY_BYTES, limit), self._rooms)
            return reply, self._stream.take(wire.REPLY_BYTES + reply.size, limit)[wire.REPLY_BYTES :]
        except TimeoutError:
            if limit < until:
                raise _silent() from None
            raise


class UsbipBackend(IBackend):  # type: ignore[misc]  # pyusb is untyped
    """What `usb.core.find(backend=...)` wants, over the devices of one server whose identifiers are `wanted`.

    `left` tells how many seconds finding and opening may still take; transfers bring their own limit.
    """

    virtual = True

    def __init__(
        self, host: str, port: int, wanted: frozenset[tuple[int, int]], left: Callable[[], float] = lambda: float("inf")
    ) -> None:
        self._address = (host, port)
        self._wanted = wanted
        self._left = left

    def enumerate_devices(self) -> list[Remote]:
        """The server's devices; raises `USBError` with ECONNREFUSED when there is no server."""
        with self._asked(wire.REQ_DEVLIST, wire.REP_DEVLIST) as (stream, until):
            listed = []
            for _ in range(wire.device_count(stream.take(4, until))):
                listed.append(wire.device_entry(stream.take(wire.DEVICE.size, until)))
                stream.take(4 * listed[-1].interfaces, until)
            stream.close(min(_GOODBYE_SECONDS, self._left()))
        return [remote for remote in listed if remote.ids in self._wanted]

    def get_device_descriptor(self, remote: Remote) -> SimpleNamespace:
        """The fields of the device descriptor; of a device that another client holds, those the list told."""
        if not remote.device:
            with suppress(USBError):
                self.close_device(self.open_device(remote))
        fields = wire.device_fields(remote.device or remote.listed)
        bus, _, path = remote.bus_id.partition("-")
        numbers = tuple(int(part) for part in path.split(".") if part.isdecimal())
        fields.bus, fields.address = int(bus) if bus.isdecimal() else 0, remote.device_id & 0xFFFF
        fields.port_number, fields.port_numbers = numbers[-1] if numbers else None, numbers or None
        fields.speed = remote.speed
        return fields

    def get_configuration_descriptor(self, remote: Remote, index: int) -> SimpleNamespace:
        """The fields of the configuration descriptor."""
        if index:
            raise IndexError("one configuration only")
        return wire.configuration_fields(remote.configuration)

    def get_interface_descriptor(self, remote: Remote, interface: int, setting: int, _config: int) -> SimpleNamespace:
        """The fields of an interface descriptor; `IndexError` past the last."""
        return wire.interface_fields(wire.settings(remote.configuration)[interface][setting].interface)

    def get_endpoint_descriptor(
        self, remote: Remote, endpoint: int, interface: int, setting: int, _config: int
    ) -> SimpleNamespace:
        """The fields of an endpoint descriptor; `IndexError` past the last."""
        return wire.endpoint_fields(wire.settings(remote.configuration)[interface][setting].endpoints[endpoint])

    def open_device(self, remote: Remote) -> _Session:
        """Import the device; EBUSY when another client has it, ENODEV when it is gone."""
        name = remote.bus_id.encode("ascii", "replace")[:31].ljust(32, b"\0")
        with self._asked(wire.REQ_IMPORT, wire.REP_IMPORT, name) as (stream, until):
            stream.take(wire.DEVICE.size, until)
            session = _Session(stream, remote)
            remote.device = self._descriptor(session, 1, 18)
            remote.configuration = self._descriptor(session, 2, wire.total_length(self._descriptor(session, 2, 9)))
        return session

    def close_device(self, session: _Session) -> None:
        """Give the device back to the server."""
        session.close()

    def get_configuration(self, session: _Session) -> int:
        """The value of the active configuration."""
        reply = session.control((0x80, 8, 0, 0), b"", 1, self._milliseconds(_STANDARD_SECONDS))
        return reply[0] if reply else 0

    def set_configuration(self, session: _Session, value: int) -> None:
        """Activate a configuration."""
        session.control((0x00, 9, value, 0), b"", 0, self._milliseconds(_STANDARD_SECONDS))

    def clear_halt(self, session: _Session, endpoint: int) -> None:
        """Let a halted endpoint go on."""
        session.control((0x02, 1, 0, endpoint), b"", 0, 20)

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
        session.submit(OUT, endpoint, data.tobytes(), len(data), timeout)
        return len(data)

    def bulk_read(self, session: _Session, endpoint: int, _interface: int, buffer: array[int], timeout: int) -> int:
        """Read from an IN endpoint for at most `timeout` milliseconds."""
        reply = session.submit(IN, endpoint, b"", len(buffer), timeout)
        buffer[: len(reply)] = array("B", reply)
        return len(reply)

    intr_read = bulk_read
    intr_write = bulk_write

    @contextmanager
    def _asked(self, code: int, answer: int, body: bytes = b"") -> Iterator[tuple[_Stream, float]]:
        """A connection that was asked something and agreed, and until when the rest may come; cut on every error."""
        until = time.monotonic() + min(_ANSWER_SECONDS, self._left())
        stream = _Stream(self._address, until - time.monotonic())
        try:
            stream.send(wire.OPERATION.pack(wire.VERSION, code, 0) + body, until)
            wire.check_operation(stream.take(wire.OPERATION.size, until), answer)
            yield stream, until
        except BaseException as error:
            late = isinstance(error, TimeoutError | USBTimeoutError)
            stream.close(0.0 if late else min(_GOODBYE_SECONDS, self._left()))
            if isinstance(error, TimeoutError) and self._left() > 0:
                raise _silent() from None
            if isinstance(error, TimeoutError):
                raise USBTimeoutError("Operation timed out", errno=errno.ETIMEDOUT) from None
            raise

    def _descriptor(self, session: _Session, kind: int, length: int) -> bytes:
        reply = session.control((0x80, 6, kind << 8, 0), b"", length, self._milliseconds(_ANSWER_SECONDS))
        if len(reply) != length:
            raise USBError("a descriptor is cut short", errno=errno.EPROTO)
        return reply

    def _milliseconds(self, most: float) -> int:
        return max(1, int(1000 * min(most, self._left())))


def _answers(reply: Reply, sequence: int) -> bool:
    return reply.command == wire.RET_SUBMIT and reply.sequence == sequence


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
    except (OSError, UnicodeError) as error:
        refused = isinstance(error, ConnectionRefusedError | socket.gaierror | UnicodeError)
        code = errno.ECONNREFUSED if refused else errno.ENODEV
        raise USBError("the USB/IP server cannot be reached", errno=code) from None
