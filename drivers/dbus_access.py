"""Talking to one service of a D-Bus message bus by deadlines, for every driver whose device another daemon holds.

The wire format is jeepney's; the socket is ours, because every wait must end. A service is addressed by the unique name
of the process that owns its well-known name: an answer or a signal of any other member of the bus is not the service's
word and is dropped. Source: D-Bus Specification 0.43.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from jeepney import DBusAddress, HeaderFields, Message, MessageFlag, MessageType, Parser, new_method_call
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.bus import get_connectable_addresses

from hal import Deadline, DeviceError, Disconnected, NotFound, PermissionDenied, ProtocolError, TimedOut, Unsupported

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
"""Where the system bus is, whatever the environment of this process says."""

_DAEMON = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
_LARGEST_MESSAGE = 1 << 20
_READ_BYTES = 4096
_MOST_SIGNALS = 256
"""Signals that may wait unread; a service that sends more is not sane."""

_ERRORS = "org.freedesktop.DBus.Error."
_MALFORMED = (ValueError, LookupError, TypeError, AssertionError, struct.error, RecursionError, RuntimeError)
"""What jeepney's parser raises at bytes that are no message."""

Arguments = tuple[str, tuple[Any, ...]]
"""A D-Bus signature and the values that go with it."""

NOTHING: Arguments = ("", ())


class ServiceError(DeviceError):
    """A service answered by an error: `name` is its D-Bus name. Drivers translate it into what it means for them."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Signal:
    """A signal of the service: where, which, and its values with their D-Bus signature."""

    path: str
    member: str
    signature: str
    body: tuple[Any, ...]

    def values(self, signature: str) -> tuple[Any, ...]:
        """The values, which must be of `signature`; raises `ProtocolError`."""
        if self.signature != signature:
            raise ProtocolError(f"signal {self.member} has the signature {self.signature!r}, not {signature!r}")
        return self.body


def bus_option(options: Mapping[str, Any]) -> str:
    """Option `bus`: the address of another bus than the system's, "unix:path=..."; raises `DeviceError`."""
    address = options.get("bus", SYSTEM_BUS)
    try:
        next(get_connectable_addresses(address))
    except (ValueError, AttributeError, RuntimeError, StopIteration):
        raise DeviceError(
            f"option 'bus' is {address!r}, not an address of a bus such as {SYSTEM_BUS!r}",
            remedy="Correct the option, or leave it out: the system bus needs none.",
        ) from None
    return str(address)


class ServiceLink:
    """A connection to the bus, and on it to the one process that owns `service`. Not thread safe."""

    def __init__(self, address: str, service: str, deadline: Deadline, *, missing: str) -> None:
        """Connect, and start the service if the bus can; `missing` is the remedy when it is not there.

        Raises `NotFound`, `PermissionDenied`, `TimedOut`, `ProtocolError`.
        """
        self.service = service
        self._missing = missing
        self._serials = count(1)
        self._awaited: set[int] = set()
        self._replies: dict[int, Message] = {}
        self._signals: deque[Signal] = deque()
        self._parser = Parser()
        self.owner = ""
        self._lost = ""
        self._socket: socket.socket | None = _connect(address, deadline)
        try:
            self._ask_daemon("Hello", NOTHING, deadline)
            self._watch("type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'", service, deadline)
            self.owner = self._find_owner(deadline)
        except BaseException:
            self.close()
            raise

    def call(
        self, path: str, interface: str, member: str, arguments: Arguments, returns: str, deadline: Deadline
    ) -> tuple[Any, ...]:
        """Call a method; the values of its answer, which have the signature `returns`.

        Raises `ServiceError` for an error of the service, `Disconnected` when it went away, `TimedOut`,
        `ProtocolError`.
        """
        return self.reply(self.send(path, interface, member, arguments, deadline), member, returns, deadline)

    def send(self, path: str, interface: str, member: str, arguments: Arguments, deadline: Deadline) -> int:
        """Call a method without waiting; the number by which `reply` fetches the answer."""
        return self._send(DBusAddress(path, self.owner, interface), member, arguments, deadline)

    def reply(self, serial: int, member: str, returns: str, deadline: Deadline) -> tuple[Any, ...]:
        """The answer to the call `serial`; an answer that came in time is given even after the service left."""
        while serial not in self._replies:
            self._require_owner()
            self._receive(f"{self.service}: {member}", deadline)
        return self._unwrapped(self._replies.pop(serial), member, returns)

    def properties(self, path: str, interface: str, deadline: Deadline) -> dict[str, tuple[str, Any]]:
        """All properties of an interface: name to signature and value."""
        arguments = ("s", (interface,))
        (found,) = self.call(path, "org.freedesktop.DBus.Properties", "GetAll", arguments, "a{sv}", deadline)
        return dict(found)

    def subscribe(self, path: str, interface: str, deadline: Deadline) -> None:
        """Receive the signals of one interface of one object."""
        rule = f"type='signal',sender='{self.owner}',path='{path}',interface='{interface}'"
        self._ask_daemon("AddMatch", ("s", (rule,)), deadline)

    def forget_signals(self) -> None:
        """Drop the signals that wait: they belong to what went before."""
        self._signals.clear()

    def next_signal(self, what: str, deadline: Deadline) -> Signal:
        """The next signal of the service; raises `Disconnected` when it went away, `TimedOut` naming `what`."""
        while not self._signals:
            self._require_owner()
            self._receive(what, deadline)
        return self._signals.popleft()

    def close(self) -> None:
        """Leave the bus; closing twice is allowed."""
        held, self._socket = self._socket, None
        if held is not None:
            held.close()

    def _find_owner(self, deadline: Deadline) -> str:
        # Where nothing can start the service it may run all the same.
        with suppress(NotFound), self._translated():
            self._ask_daemon("StartServiceByName", ("su", (self.service, 0)), deadline, "u")
        with self._translated():
            (owner,) = self._ask_daemon("GetNameOwner", ("s", (self.service,)), deadline, "s")
        self._lost = ""
        return str(owner)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ServiceError as error:
            if error.name == f"{_ERRORS}AccessDenied":
                raise PermissionDenied(f"the bus refuses access to {self.service}: {error}") from None
            if error.name in {f"{_ERRORS}TimedOut", f"{_ERRORS}NoReply"}:
                raise TimedOut(f"{self.service} did not start in time") from None
            raise NotFound(f"the service {self.service} is not there: {error}", remedy=self._missing) from None

    def _watch(self, rule: str, name: str, deadline: Deadline) -> None:
        self._ask_daemon("AddMatch", ("s", (f"{rule},arg0='{name}'",)), deadline)

    def _ask_daemon(self, member: str, arguments: Arguments, deadline: Deadline, returns: str = "") -> tuple[Any, ...]:
        serial = self._send(_DAEMON, member, arguments, deadline)
        while serial not in self._replies:
            self._receive(f"the message bus: {member}", deadline)
        return self._unwrapped(self._replies.pop(serial), member, "s" if member == "Hello" else returns)

    def _require_owner(self) -> None:
        if self._lost:
            raise Disconnected(f"{self.service} {self._lost}", remedy=f"{self._missing} Then try again.")

    def _send(self, to: DBusAddress, member: str, arguments: Arguments, deadline: Deadline) -> int:
        signature, values = arguments
        message = new_method_call(to, member, signature or None, values)
        message.header.flags |= MessageFlag.no_auto_start if to is not _DAEMON else MessageFlag(0)
        serial = next(self._serials)
        try:
            data = message.serialise(serial=serial)
        except _MALFORMED as error:
            raise Unsupported(f"{member} cannot carry {values!r}: {error}") from None
        with _socket_errors(f"{self.service}: {member}"):
            held = self._held(member, deadline)
            self._awaited.add(serial)
            held.sendall(data)
        return serial

    def _receive(self, what: str, deadline: Deadline) -> None:
        """Take in whatever comes next; returns after one message or a part of one."""
        message = self._parsed()
        while message is None:
            with _socket_errors(what):
                data = self._held(what, deadline).recv(_READ_BYTES)
                if not data:
                    raise ConnectionResetError
            self._parser.add_data(data)
            message = self._parsed()
        self._sort(message)

    def _parsed(self) -> Message | None:
        try:
            message = self._parser.get_next_message()
        except _MALFORMED as error:
            self.close()
            raise ProtocolError(f"the bus sent what is no message ({type(error).__name__})") from None
        if message is None and (self._parser.next_msg_size or 0) > _LARGEST_MESSAGE:
            self.close()
            raise ProtocolError(f"a message of the bus is longer than {_LARGEST_MESSAGE} bytes")
        return message

    def _sort(self, message: Message) -> None:
        fields = message.header.fields
        sender = fields.get(HeaderFields.sender, "")
        if not sender or sender not in {self.owner, _DAEMON.bus_name}:
            return
        if message.header.message_type in {MessageType.method_return, MessageType.error}:
            self._take(fields.get(HeaderFields.reply_serial, 0), message)
        elif message.header.message_type is not MessageType.signal:
            return
        elif sender == _DAEMON.bus_name:
            self._note_owner(fields.get(HeaderFields.member, ""), message.body)
        else:
            self._keep(message)

    def _take(self, serial: int, message: Message) -> None:
        """Keep the first answer to a call of ours, and no other."""
        if serial in self._awaited:
            self._awaited.remove(serial)
            self._replies[serial] = message

    def _keep(self, message: Message) -> None:
        fields = message.header.fields
        if len(self._signals) >= _MOST_SIGNALS:
            raise ProtocolError(f"{self.service} sends signals without end")
        path, member = fields.get(HeaderFields.path, ""), fields.get(HeaderFields.member, "")
        self._signals.append(Signal(path, member, fields.get(HeaderFields.signature, ""), message.body))

    def _note_owner(self, member: str, body: tuple[Any, ...]) -> None:
        if member == "NameOwnerChanged" and body[:1] == (self.service,) and body[2:3] != (self.owner,):
            self._lost = "was restarted or replaced" if body[2:3] != ("",) else "has ended"

    def _unwrapped(self, message: Message, member: str, returns: str) -> tuple[Any, ...]:
        fields = message.header.fields
        if message.header.message_type is MessageType.error:
            text = next((part for part in message.body[:1] if isinstance(part, str)), "")
            name = fields.get(HeaderFields.error_name, "")
            raise ServiceError(text[:200] or name or "an error without a name", name)
        signature = fields.get(HeaderFields.signature, "")
        if signature != returns:
            raise ProtocolError(f"{self.service} answered {member} by the signature {signature!r}, not {returns!r}")
        return tuple(message.body)

    def _held(self, what: str, deadline: Deadline) -> socket.socket:
        if self._socket is None:
            raise Disconnected(f"{what}: the connection to the bus is closed")
        return _timed(self._socket, what, deadline)


def _connect(address: str, deadline: Deadline) -> socket.socket:
    """A socket on which the bus has authenticated us by our credentials."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _socket_errors("connecting to the message bus"):
            _timed(connection, "connecting to the message bus", deadline).connect(
                next(get_connectable_addresses(address))
            )
            _authenticate(connection, deadline)
    except FileNotFoundError:
        connection.close()
        raise NotFound("there is no message bus", remedy="Install and start it: apt-get install dbus.") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _authenticate(connection: socket.socket, deadline: Deadline) -> None:
    what = "authenticating to the message bus"
    dialogue = Authenticator(inc_null_byte=True)
    try:
        for line in dialogue:
            _timed(connection, what, deadline).sendall(line)
            data = _timed(connection, what, deadline).recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError
            dialogue.feed(data)
    except AuthenticationError:
        raise PermissionDenied("the message bus refuses this user") from None
    connection.sendall(BEGIN)


def _timed(connection: socket.socket, what: str, deadline: Deadline) -> socket.socket:
    deadline.check(what)
    connection.settimeout(max(deadline.remaining(), 0.001))
    return connection


@contextmanager
def _socket_errors(what: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise TimedOut(f"{what} did not finish before its deadline") from None
    except FileNotFoundError:
        raise
    except PermissionError:
        raise PermissionDenied(f"{what}: the bus refuses this user") from None
    except ConnectionRefusedError:
        raise NotFound("no message bus answers", remedy="Start it: systemctl start dbus.") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "it closed the connection"
        raise Disconnected(
            f"{what}: the message bus has gone: {reason}", remedy="Start it: systemctl start dbus."
        ) from None
