"""One connection of a USB/IP client: the handshake, then transfers of the device it imported."""

from __future__ import annotations

import errno
import queue
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from simulators.devices.usb._model import Setup, UsbModel
from simulators.devices.usb._transfer import CompletionStatus, Stall, Transfer, Unplugged

_VERSION = 0x0111
_REQ_DEVLIST, _REP_DEVLIST, _REQ_IMPORT, _REP_IMPORT = 0x8005, 0x0005, 0x8003, 0x0003
_ST_OK, _ST_DEV_BUSY, _ST_NODEV = 0, 2, 4
_CMD_SUBMIT, _CMD_UNLINK, _RET_SUBMIT, _RET_UNLINK = 1, 2, 3, 4
_DIR_OUT, _DIR_IN = 0, 1
_FULL_SPEED = 2
_NOT_ISO = (0, 0xFFFFFFFF)

_HANDSHAKE = struct.Struct("!HHI")
_HEADER = struct.Struct("!IIIII")
_SUBMIT_BODY = struct.Struct("!IiIII8s")
_MAX_TRANSFER = 1 << 20
_HANDSHAKE_SECONDS = 5.0
_FLUSH_SECONDS = 2.0
"""How long the last replies may take to leave for a peer that does not read."""

_ERRNO = {CompletionStatus.DONE: 0, CompletionStatus.STALLED: -errno.EPIPE, CompletionStatus.GONE: -errno.ENODEV}


class _Garbage(Exception):
    """The peer does not speak USB/IP, or has gone: the connection ends."""


@dataclass(frozen=True)
class Exported:
    """A model under the bus identifier 1-`number`."""

    number: int
    model: UsbModel

    @property
    def bus_id(self) -> str:
        """The name under which a client imports it."""
        return f"1-{self.number}"

    def describe(self) -> bytes:
        """The 312-byte `usbip_usb_device` of a device list and of an import reply."""
        layout = self.model.layout
        path = f"/sys/devices/platform/simulated/usb1/{self.bus_id}".encode()
        ids = (layout.vendor_id, layout.product_id, layout.release)
        tail = struct.pack("!IIIHHHBBBBBB", 1, self.number + 1, _FULL_SPEED, *ids, 0, 0, 0, 1, 1, 1)
        return path.ljust(256, b"\0") + self.bus_id.encode().ljust(32, b"\0") + tail


def serve_connection(sock: socket.socket, exported: Sequence[Exported]) -> None:
    """Serve one client until it leaves, breaks the protocol, or the device it imported is unplugged."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(_Garbage, OSError):
        device = _handshake(sock, exported)
        if device is not None:
            _Session(sock, *device).run()


def _handshake(sock: socket.socket, exported: Sequence[Exported]) -> tuple[UsbModel, int] | None:
    """Answer one request; the model that was imported by it, already claimed for `sock`, and the epoch of that."""
    sock.settimeout(_HANDSHAKE_SECONDS)
    version, code, _status = _HANDSHAKE.unpack(_receive(sock, _HANDSHAKE.size))
    if version != _VERSION or code not in (_REQ_DEVLIST, _REQ_IMPORT):
        raise _Garbage
    if code == _REQ_DEVLIST:
        sock.sendall(_device_list(exported))
        return None
    bus_id = _receive(sock, 32).split(b"\0", 1)[0].decode("ascii", "replace")
    return _import(sock, next((one for one in exported if one.bus_id == bus_id), None))


def _device_list(exported: Sequence[Exported]) -> bytes:
    plugged = [one for one in exported if one.model.plugged]
    interfaces = (bytes([*one.model.layout.interface_class, 0]) for one in plugged)
    entries = (one.describe() + interface for one, interface in zip(plugged, interfaces, strict=True))
    return _HANDSHAKE.pack(_VERSION, _REP_DEVLIST, _ST_OK) + struct.pack("!I", len(plugged)) + b"".join(entries)


def _import(sock: socket.socket, device: Exported | None) -> tuple[UsbModel, int] | None:
    status = _ST_NODEV
    epoch = device.model.epoch if device else 0
    if device is not None:
        with suppress(Unplugged):
            status = _ST_OK if device.model.claim(sock) else _ST_DEV_BUSY
    reply = _HANDSHAKE.pack(_VERSION, _REP_IMPORT, status)
    if device is None or status != _ST_OK:
        sock.sendall(reply)
        return None
    sock.sendall(reply + device.describe())
    sock.settimeout(None)
    return device.model, epoch


class _Session:
    """The transfers of an imported device. Replies leave through a queue, so that no device thread waits for a peer."""

    def __init__(self, sock: socket.socket, model: UsbModel, epoch: int) -> None:
        self._sock = sock
        self._model = model
        self._epoch = epoch
        self._forbidden = model.forbidden
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pending: dict[int, tuple[int, Transfer]] = {}

    def run(self) -> None:
        """Serve until the peer leaves or the plug is pulled."""
        writer = threading.Thread(target=self._write, daemon=True)
        writer.start()
        self._model.watch_unplug(self._hang_up)
        try:
            while self._model.epoch == self._epoch:
                self._serve_one()
        finally:
            self._model.unwatch_unplug(self._hang_up)
            self._model.release(self._sock)
            self._outbox.put(None)
            writer.join(_FLUSH_SECONDS)
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def _hang_up(self) -> None:
        self._outbox.put(None)

    def _write(self) -> None:
        with suppress(OSError):
            while (reply := self._outbox.get()) is not None:
                self._sock.sendall(reply)
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _serve_one(self) -> None:
        command, sequence, _device, direction, endpoint = _HEADER.unpack(_receive(self._sock, _HEADER.size))
        body = _SUBMIT_BODY.unpack(_receive(self._sock, _SUBMIT_BODY.size))
        if command == _CMD_UNLINK:
            self._unlink(sequence, victim=body[0])
        elif command == _CMD_SUBMIT and direction in (_DIR_OUT, _DIR_IN) and endpoint < 16 and body[3] in _NOT_ISO:
            self._submit(sequence, direction, endpoint, length=body[1], setup=body[5])
        else:
            raise _Garbage

    def _submit(self, sequence: int, direction: int, endpoint: int, *, length: int, setup: bytes) -> None:
        if not 0 <= length <= _MAX_TRANSFER:
            raise _Garbage
        payload = _receive(self._sock, length) if direction == _DIR_OUT else b""
        if self._forbidden:
            self._reply(sequence, -errno.EACCES)
            return
        point = endpoint | 0x80 if endpoint and direction == _DIR_IN else endpoint
        transfer = Transfer(length, partial(self._ended, sequence, len(payload)))
        with self._lock:
            if sequence in self._pending:
                raise _Garbage
            self._pending[sequence] = (point, transfer)
        try:
            with self._model.in_epoch(self._epoch):
                if endpoint == 0:
                    self._model.request(Setup(*struct.unpack("<BBHHH", setup)), payload, transfer)
                elif direction == _DIR_OUT:
                    self._model.submit_out(endpoint, payload, transfer)
                else:
                    self._model.submit(point, transfer)
        except Stall:
            self._ended(sequence, 0, CompletionStatus.STALLED, b"")
        except Unplugged:
            self._ended(sequence, 0, CompletionStatus.GONE, b"")

    def _ended(self, sequence: int, sent: int, status: CompletionStatus, data: bytes) -> None:
        """Answer for a transfer, out of which `sent` bytes went or `data` came, of no more than was asked for."""
        with self._lock:
            _endpoint, transfer = self._pending.pop(sequence, (0, None))
        data = data[: transfer.length] if transfer else b""
        self._reply(sequence, _ERRNO[status], data, sent or len(data))

    def _unlink(self, sequence: int, victim: int) -> None:
        with self._lock:
            endpoint, transfer = self._pending.get(victim, (0, None))
        withdrawn = transfer is not None and self._model.cancel(endpoint, transfer)
        if withdrawn:
            with self._lock:
                self._pending.pop(victim, None)
        status = -errno.ECONNRESET if withdrawn else 0
        self._outbox.put(_HEADER.pack(_RET_UNLINK, sequence, 0, 0, 0) + struct.pack("!i24x", status))

    def _reply(self, sequence: int, status: int, data: bytes = b"", actual: int = 0) -> None:
        header = _HEADER.pack(_RET_SUBMIT, sequence, 0, 0, 0)
        self._outbox.put(header + struct.pack("!iIIII8x", status, actual, 0, 0xFFFFFFFF, 0) + data)


def _receive(sock: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes; raises `_Garbage` when the peer leaves before."""
    received = bytearray()
    while len(received) < count:
        chunk = sock.recv(count - len(received))
        if not chunk:
            raise _Garbage
        received += chunk
    return bytes(received)
