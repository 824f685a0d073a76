"""Where alert records go: a file, a local syslog socket, UDP, or TCP with octet counting."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
from pathlib import Path
from typing import Protocol

TIMEOUT_S = 5.0
_MODE = 0o600


class SinkError(Exception):
    """A record was not taken; it is tried again later."""


class MessageRefused(SinkError):
    """A record was not taken for what it is, by a receiver that takes others: the same would be refused again."""


def too_long(name: str, error: OSError) -> SinkError:
    """What a system's refusal of a datagram is of: the message where it is too long, else the receiver."""
    refused = MessageRefused if error.errno == errno.EMSGSIZE else SinkError
    return refused(f"{name}: {error.strerror or error}")


class AlertSink(Protocol):
    """Takes one record at a time. `name` is stable: what was sent is remembered under it."""

    @property
    def name(self) -> str:
        """Name of this sink among the others."""

    def send(self, record: bytes, key: str = "", /) -> None:
        """Hand over one record, named `key` at every try; raises `SinkError`, `MessageRefused` for what it is."""

    def close(self) -> None:
        """Let go of the connection."""


class FileSink:
    """One record a line, appended to a file of mode 0600; a record is written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f"file:{path}"

    def send(self, record: bytes, _key: str = "", /) -> None:
        """Append and fsync; the file is opened anew each time, so that it may be rotated away."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, _MODE)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from None
        try:
            _append(descriptor, record + b"\n")
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from None
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing is held open."""


def _append(descriptor: int, line: bytes) -> None:
    before = os.fstat(descriptor).st_size
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, before)
        raise


class UnixSink:
    """A local syslog daemon's socket: datagrams, or newline-framed records where the socket is a stream."""

    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._path, self._timeout_s = path, timeout_s
        self._socket: socket.socket | None = None
        self.name = f"unix:{path}"

    def send(self, record: bytes, _key: str = "", /) -> None:
        """Send one record, connecting first where needed."""
        try:
            connected = self._connected()
            stream = connected.type == socket.SOCK_STREAM
            connected.sendall(record + b"\n" if stream else record)
        except OSError as error:
            self.close()
            raise too_long(self.name, error) from None

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            try:
                self._socket = self._open(socket.SOCK_DGRAM)
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:
                    raise
                self._socket = self._open(socket.SOCK_STREAM)
        return self._socket

    def _open(self, kind: socket.SocketKind) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, kind)
        made.settimeout(self._timeout_s)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            raise
        return made


class UdpSink:
    """One datagram per record (RFC 5426); nobody says whether it arrived."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self.name = f"udp:{host}:{port}"

    def send(self, record: bytes, _key: str = "", /) -> None:
        """Send one datagram."""
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind, protocol) as sender:
                sender.sendto(record, address)
        except OSError as error:
            raise too_long(self.name, error) from None

    def close(self) -> None:
        """Nothing is held open."""


class TcpSink:
    """A stream with octet counting (RFC 6587 §3.4.1); delivered means taken by the kernel, TCP syslog has no reply."""

    def __init__(self, host: str, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self._address, self._timeout_s = (host, port), timeout_s
        self._socket: socket.socket | None = None
        self.name = f"tcp:{host}:{port}"

    def send(self, record: bytes, _key: str = "", /) -> None:
        """Send one counted record, connecting first where needed."""
        try:
            if self._socket is not None and hung_up(self._socket):
                self.close()
            if self._socket is None:
                self._socket = socket.create_connection(self._address, self._timeout_s)
            self._socket.sendall(f"{len(record)} ".encode() + record)
        except OSError as error:
            self.close()
            raise SinkError(f"{self.name}: {error}") from None

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def hung_up(connected: socket.socket) -> bool:
    """Whether the receiver has closed: a write into such a connection would succeed and be lost."""
    connected.setblocking(False)
    secured = isinstance(connected, ssl.SSLSocket)
    try:
        return (connected.recv(4096) if secured else connected.recv(4096, socket.MSG_PEEK)) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        connected.settimeout(TIMEOUT_S)
