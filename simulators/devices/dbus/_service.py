"""A member of the bus that owns a name, answers calls in a thread of its own, and can fail to."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageFlag,
    MessageType,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.io.blocking import DBusConnection

from hal import DeviceError
from simulators.devices.dbus._bus import PrivateBus, ask_bus
from simulators.devices.fault_orders import OrdersInForce
from simulators.devices.faults import Fault, FaultOrder, require_playable

_UNKNOWN = "org.freedesktop.DBus.Error.UnknownMethod"
_ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
_PRIMARY_OWNER = 1
_DO_NOT_QUEUE = 4


@dataclass(frozen=True)
class Reply:
    """Values and their D-Bus signature."""

    signature: str = ""
    body: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Call:
    """A call as it came: object, interface, method, values, and the unique name of the caller."""

    path: str
    interface: str
    member: str
    body: tuple[Any, ...]
    sender: str


class Refusal(Exception):
    """Raised by a service to answer by the D-Bus error `name`."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class BusService:
    """Owns `name` on a bus; a subclass answers its calls. Every public method is thread safe."""

    faults: ClassVar[frozenset[Fault]] = frozenset(
        {Fault.STALL, Fault.SLOW, Fault.CORRUPT, Fault.PERMISSION_DENIED, Fault.SERVER_DEATH}
    )

    def __init__(self, bus: PrivateBus, name: str) -> None:
        """Come to the bus; raises `DeviceError` when another member owns the name."""
        self.name = name
        self._bus = bus
        self._orders = OrdersInForce()
        self._sending = threading.Lock()
        self._connection: DBusConnection | None = None
        self._thread: threading.Thread | None = None
        self._come()

    def answer(self, call: Call) -> Reply:
        """The answer to one call; raises `Refusal`. Called in the service's thread, outside of every lock."""
        raise Refusal(_UNKNOWN, f"{call.interface} has no {call.member} at {call.path}")

    def emit(self, path: str, interface: str, member: str, reply: Reply, destination: str | None = None) -> None:
        """Send a signal to everybody who listens, or to one member whether it listens or not."""
        signal = new_signal(DBusAddress(path, interface=interface), member, reply.signature or None, reply.body)
        if destination is not None:
            signal.header.fields[HeaderFields.destination] = destination
        self._send(signal)

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault; see `Faulty`."""
        require_playable(self, order)
        if order.fault is Fault.SERVER_DEATH:
            self._leave()
        else:
            self._orders.add(order)

    def mend(self) -> None:
        """End every fault and come back to the bus."""
        self._orders.clear()
        if self._connection is None:
            self._come()

    def close(self) -> None:
        """Leave the bus; closing twice is allowed."""
        self._orders.clear()
        self._leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _come(self) -> None:
        connection = self._bus.connect()
        if ask_bus(connection, "RequestName", "su", (self.name, _DO_NOT_QUEUE)).body != (_PRIMARY_OWNER,):
            connection.close()
            raise DeviceError(f"another member of the bus owns {self.name}")
        self._connection = connection
        self._thread = threading.Thread(target=self._serve, args=(connection,), name=self.name, daemon=True)
        self._thread.start()

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        thread, self._thread = self._thread, None
        if connection is None or thread is None:
            return
        with suppress(OSError):
            connection.sock.shutdown(2)
        if thread is not threading.current_thread():
            thread.join()
        connection.close()

    def _serve(self, connection: DBusConnection) -> None:
        """Answer until the connection ends, which is how `_leave` stops it."""
        with suppress(OSError):
            while True:
                message = connection.receive()
                if message.header.message_type is MessageType.method_call:
                    self._handle(message)

    def _handle(self, call: Message) -> None:
        slow = self._orders.strikes(Fault.SLOW)
        if slow is not None:
            self._orders.delay(slow.order.seconds)
        if self._orders.strikes(Fault.STALL) or call.header.flags & MessageFlag.no_reply_expected:
            return
        self._send(self._answered(call))

    def _answered(self, message: Message) -> Message:
        fields = message.header.fields
        if self._orders.strikes(Fault.PERMISSION_DENIED):
            return new_error(message, _ACCESS_DENIED, "s", ("refused by order",))
        if self._orders.strikes(Fault.CORRUPT, whole=True):
            return new_method_return(message, "ayd", (b"\xff\x00\xfe", 0.5))
        path, interface, member, sender = (
            fields.get(key, "")
            for key in (HeaderFields.path, HeaderFields.interface, HeaderFields.member, HeaderFields.sender)
        )
        try:
            reply = self.answer(Call(path, interface, member, tuple(message.body), sender))
        except Refusal as refusal:
            return new_error(message, refusal.name, "s", (str(refusal),))
        return new_method_return(message, reply.signature or None, reply.body)

    def _send(self, message: Message) -> None:
        connection = self._connection
        if connection is not None:
            with self._sending, suppress(OSError):
                connection.send(message)
