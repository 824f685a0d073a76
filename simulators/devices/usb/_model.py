"""The device side of a USB cable: endpoint 0, claims, parked IN transfers, pulling the plug."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from simulators.devices.fault_orders import OrdersInForce
from simulators.devices.faults import Fault, FaultOrder, require_playable
from simulators.devices.usb._descriptors import CONFIGURATION, DEVICE, STRING, UsbLayout
from simulators.devices.usb._faults import PLAYABLE, Crossing, lied
from simulators.devices.usb._transfer import CompletionStatus, InPipe, Stall, Transfer, Unplugged

_GET_STATUS, _CLEAR_FEATURE, _GET_DESCRIPTOR = 0x00, 0x01, 0x06
_GET_CONFIGURATION, _SET_CONFIGURATION, _SET_INTERFACE = 0x08, 0x09, 0x0B
_TYPE_MASK, _STANDARD = 0x60, 0x00
_OF_ENDPOINT = 0x02
_FRAME_SECONDS = 0.001
_BYTES_PER_SECOND = 1_216_000
"""A full-speed bus: a request is answered in the next frame, and a frame carries nineteen bulk packets of 64 bytes."""


@dataclass(frozen=True)
class Setup:
    """The SETUP packet of a control transfer (USB 2.0, table 9-2)."""

    request_type: int
    request: int
    value: int
    index: int
    length: int


class UsbModel(ABC):
    """A USB device of one interface, as its firmware sees the bus. Every method is thread safe.

    `fault` stands between the firmware and the wire: it is given the endpoint address and each message that the
    device sends and returns what arrives, so that a test can cut one message in particular; `inject` plays the faults
    of `simulators.devices.faults`. `STALL` is silence: a transfer has no end until the host withdraws it. `REFUSE` is
    what USB calls STALL: the request is refused, and an endpoint stays halted until the host clears it. `SLOW` makes
    each message late by that many seconds after the one before it. `WRONG_DESCRIPTOR` tells the lie `seed` of `LIES`.

    With `instant` the device needs no time for anything; without it, it answers about as late as the real one.
    """

    faults = PLAYABLE

    def __init__(self, layout: UsbLayout, *, instant: bool = True) -> None:
        self.layout = layout
        self.fault: Callable[[int, bytes], bytes] = lambda _endpoint, message: message
        self._instant = instant
        self._lock = threading.RLock()
        in_points = [point.address for point in layout.endpoints if point.address & 0x80]
        self._pipes = {address: InPipe(partial(self._serve_later, address)) for address in in_points}
        self._halted_out: set[int] = set()
        self._late: dict[Transfer, threading.Timer | None] = {}
        self._wire = OrdersInForce()
        self._owner: object | None = None
        self._plugged = True
        self._epoch = 0
        self._unplug_watchers: list[Callable[[], None]] = []

    @abstractmethod
    def power_on(self) -> None:
        """Bring registers and memory to their state after power is applied."""

    @abstractmethod
    def vendor_request(self, setup: Setup, data: bytes) -> bytes:
        """Answer a vendor or class request on endpoint 0; raises `Stall`."""

    def received(self, endpoint: int, data: bytes) -> None:
        """Take `data` that the host sent to the OUT `endpoint`; raises `Stall`."""
        raise Stall(f"endpoint {endpoint:#04x} takes nothing of {len(data)} bytes")

    # The host's end of the cable.

    @property
    def plugged(self) -> bool:
        """Whether the device hangs on the bus."""
        return self._plugged

    @property
    def epoch(self) -> int:
        """Which time of being plugged in this is; a host's handle is worth nothing in the next one."""
        return self._epoch

    @contextmanager
    def in_epoch(self, epoch: int) -> Iterator[None]:
        """Let the plug alone meanwhile; raises `Unplugged` when it was pulled since `epoch`, even if it is back in."""
        with self._lock:
            if self._epoch != epoch:
                raise Unplugged
            yield

    @property
    def forbidden(self) -> bool:
        """Whether the operating system refuses the device to whoever opens it."""
        with self._lock:
            return self._wire.plays(Fault.PERMISSION_DENIED) is not None

    def claim(self, owner: object) -> bool:
        """Give the interface to `owner`, unless another one holds it."""
        with self._lock:
            self._require_plugged()
            if self._owner is owner:
                return True
            if self._owner is not None or self._wire.plays(Fault.BUSY):
                return False
            self._owner = owner
            return True

    def release(self, owner: object) -> None:
        """Take the interface back from `owner` and end its waiting transfers; what the device had ready stays."""
        with self._lock:
            if self._owner is owner:
                self._owner = None
                self._fail_transfers()

    def control(self, setup: Setup, data: bytes) -> bytes:
        """A control transfer as when the device was attached, of no duration and answered by a silent one too.

        The data stage of an IN request; raises `Stall`, `Unplugged`.
        """
        with self._lock:
            return self._answer_request(setup, data, self._cross())

    def request(self, setup: Setup, data: bytes, transfer: Transfer) -> None:
        """A control transfer that ends when the device has answered. Raises `Stall`, `Unplugged`."""
        with self._lock:
            crossing = self._cross()
            reply = b"" if crossing.silent else self._answer_request(setup, data, crossing)
            self._end_after(crossing.seconds + self._travel_seconds(len(reply) + len(data)), transfer, reply)

    def submit(self, endpoint: int, transfer: Transfer) -> None:
        """Ask for data on the IN `endpoint`; the transfer waits until there is some. Raises `Stall`, `Unplugged`."""
        with self._lock:
            self._require_plugged()
            self._pipe(endpoint).submit(transfer)

    def cancel(self, endpoint: int, transfer: Transfer) -> bool:
        """Withdraw a transfer that has not ended; false if it has."""
        with self._lock:
            if transfer in self._late:
                self._forget_late(transfer)
                return True
            return endpoint in self._pipes and self._pipes[endpoint].cancel(transfer)

    def write(self, endpoint: int, data: bytes) -> int:
        """Send `data` to the OUT `endpoint`, in no time; the count taken. Raises `Stall`, `Unplugged`."""
        with self._lock:
            self._take(endpoint, data)
            return len(data)

    def submit_out(self, endpoint: int, data: bytes, transfer: Transfer) -> None:
        """Send `data` to the OUT `endpoint`; the transfer ends when they are taken. Raises `Stall`, `Unplugged`."""
        with self._lock:
            self._end_after(self._take(endpoint, data), transfer, b"")

    # The hand at the plug.

    def unplug(self) -> None:
        """Pull the plug: every waiting transfer fails, every later one too."""
        with self._lock:
            self._plugged = False
            self._owner = None
            self._epoch += 1
            self._forget_wire()
            self._fail_transfers()
            watchers, self._unplug_watchers = self._unplug_watchers, []
        for watcher in watchers:
            watcher()

    def plug(self) -> None:
        """Put the plug back in; the device starts as after power on."""
        with self._lock:
            self._plugged = True
            self.power_on()

    def watch_unplug(self, watcher: Callable[[], None]) -> None:
        """Have `watcher` called once when the plug is pulled."""
        with self._lock:
            self._unplug_watchers.append(watcher)

    def unwatch_unplug(self, watcher: Callable[[], None]) -> None:
        """Withdraw a watcher, if it still waits."""
        with self._lock:
            if watcher in self._unplug_watchers:
                self._unplug_watchers.remove(watcher)

    # What goes wrong.

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault. A plug that is pulled for some seconds is put back in after them."""
        require_playable(self, order)
        with self._lock:
            if order.fault is not Fault.UNPLUG or order.after:
                self._wire.add(order)
                if order.fault is Fault.STALL and not order.after and order.rate == 1:
                    self._flush_all()
                return
        self._pull(order.seconds)

    def mend(self) -> None:
        """End every fault, and put the plug back in if it was pulled."""
        with self._lock:
            self._wire.clear()
            self._forget_wire()
            if not self._plugged:
                self.plug()

    # For the firmware.

    def _send(self, endpoint: int, message: bytes) -> None:
        """Have `message` ready on the IN `endpoint`; a host's read ends with it."""
        message = self.fault(endpoint, message)
        crossing = Crossing(self._wire.struck())
        if crossing.gone:
            self._pull()
        elif crossing.refused:
            self._pipe(endpoint).halt()
        elif not crossing.silent:
            seconds = crossing.seconds + self._travel_seconds(len(message))
            self._pipe(endpoint).push(crossing.arriving(message), seconds)

    def _flush(self, endpoint: int) -> None:
        self._pipe(endpoint).flush()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do `action` after the time the real device needs, unless the plug is pulled before."""
        if self._instant:
            action()
        else:
            self._start_timer(seconds, action)

    def _cross(self) -> Crossing:
        """What befalls the next message between host and device; raises `Unplugged`."""
        self._require_plugged()
        crossing = Crossing(self._wire.struck())
        if crossing.gone:
            self._pull()
            raise Unplugged
        return crossing

    def _answer_request(self, setup: Setup, data: bytes, crossing: Crossing) -> bytes:
        """The reply to a request, as it arrives."""
        if crossing.refused:
            raise Stall("on order")
        standard = setup.request_type & _TYPE_MASK == _STANDARD
        reply = self._standard_request(setup) if standard else self.vendor_request(setup, data)
        return crossing.arriving(self.fault(0, reply))[: setup.length]

    def _take(self, endpoint: int, data: bytes) -> float:
        """Let the firmware have what the host sent; after how many seconds the host learns so."""
        crossing = self._cross()
        if crossing.refused:
            self._halted_out.add(endpoint)
        if crossing.silent:
            return math.inf
        if endpoint in self._halted_out:
            raise Stall(f"endpoint {endpoint:#04x} is halted")
        self.received(endpoint, data)
        return crossing.seconds + self._travel_seconds(len(data))

    def _end_after(self, seconds: float, transfer: Transfer, data: bytes) -> None:
        if not seconds:
            transfer.done(CompletionStatus.DONE, data)
            return
        endless = math.isinf(seconds)
        ending = partial(self._end_late, transfer, data)
        self._late[transfer] = None if endless else self._start_timer(seconds, ending)

    def _end_late(self, transfer: Transfer, data: bytes) -> None:
        if transfer in self._late:
            del self._late[transfer]
            transfer.done(CompletionStatus.DONE, data)

    def _forget_late(self, transfer: Transfer) -> None:
        timer = self._late.pop(transfer)
        if timer is not None:
            timer.cancel()

    def _serve_later(self, endpoint: int, seconds: float) -> threading.Timer:
        return self._start_timer(seconds, self._pipes[endpoint].serve)

    def _travel_seconds(self, count: int) -> float:
        return 0.0 if self._instant else _FRAME_SECONDS + count / _BYTES_PER_SECOND

    def _pull(self, seconds: float = 0.0) -> None:
        self.unplug()
        if seconds:
            self._start_timer(seconds, self.plug)

    def _forget_wire(self) -> None:
        """What is on its way, and what is halted."""
        self._halted_out.clear()
        self._flush_all()
        for pipe in self._pipes.values():
            pipe.resume()

    def _flush_all(self) -> None:
        for pipe in self._pipes.values():
            pipe.flush()

    def _fail_transfers(self) -> None:
        for pipe in self._pipes.values():
            pipe.fail(CompletionStatus.GONE)
        for transfer in list(self._late):
            self._forget_late(transfer)
            transfer.done(CompletionStatus.GONE, b"")

    def _start_timer(self, seconds: float, action: Callable[[], None]) -> threading.Timer:
        """Do `action` after `seconds`, unless the plug is pulled before."""
        timer = threading.Timer(seconds, self._if_same_power, (self._epoch, action))
        timer.daemon = True
        timer.start()
        return timer

    def _if_same_power(self, epoch: int, action: Callable[[], None]) -> None:
        with self._lock:
            if self._epoch == epoch:
                action()

    def _require_plugged(self) -> None:
        if not self._plugged:
            raise Unplugged

    def _pipe(self, endpoint: int) -> InPipe:
        pipe = self._pipes.get(endpoint)
        if pipe is None:
            raise Stall(f"no IN endpoint {endpoint:#04x}")
        return pipe

    def _standard_request(self, setup: Setup) -> bytes:
        if setup.request == _GET_DESCRIPTOR:
            return self._descriptor(setup.value >> 8, setup.value & 0xFF)
        if setup.request == _CLEAR_FEATURE and setup.request_type & 0x1F == _OF_ENDPOINT:
            self._clear_halt(setup.index & 0xFF)
        fixed = {
            _GET_STATUS: b"\0\0",
            _GET_CONFIGURATION: b"\1",
            _CLEAR_FEATURE: b"",
            _SET_CONFIGURATION: b"",
            _SET_INTERFACE: b"",
        }
        if setup.request not in fixed:
            raise Stall(f"standard request {setup.request:#04x}")
        return fixed[setup.request]

    def _descriptor(self, kind: int, index: int) -> bytes:
        found: bytes | None = None
        if kind == DEVICE:
            found = self.layout.device_descriptor()
        elif kind == CONFIGURATION and index == 0:
            found = self.layout.configuration_descriptor()
        elif kind == STRING:
            found = self.layout.string_descriptor(index)
        if found is None:
            raise Stall(f"descriptor {kind}, {index}")
        order = self._wire.plays(Fault.WRONG_DESCRIPTOR)
        return lied(kind, found, order) if order else found

    def _clear_halt(self, endpoint: int) -> None:
        self._halted_out.discard(endpoint)
        if endpoint in self._pipes:
            self._pipes[endpoint].resume()
