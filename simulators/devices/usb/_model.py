"""The device side of a USB cable: endpoint 0, claims, parked IN transfers, pulling the plug."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from simulators.devices.usb._descriptors import CONFIGURATION, DEVICE, STRING, UsbLayout

_GET_STATUS, _CLEAR_FEATURE, _GET_DESCRIPTOR = 0x00, 0x01, 0x06
_GET_CONFIGURATION, _SET_CONFIGURATION, _SET_INTERFACE = 0x08, 0x09, 0x0B
_TYPE_MASK, _STANDARD = 0x60, 0x00


class CompletionStatus(IntEnum):
    """How an IN transfer ended."""

    DONE = 0
    STALLED = 1
    GONE = 2


class Stall(Exception):
    """The device refuses the request: a STALL handshake on the wire."""


class Unplugged(Exception):
    """There is no device at the end of the cable."""


@dataclass(frozen=True)
class Setup:
    """The SETUP packet of a control transfer (USB 2.0, table 9-2)."""

    request_type: int
    request: int
    value: int
    index: int
    length: int


Done = Callable[[CompletionStatus, bytes], None]
"""Called once when an IN transfer ends, on the thread that ended it; must not block."""


class Transfer:
    """One IN transfer that the host has asked for, of up to `length` bytes."""

    def __init__(self, length: int, done: Done) -> None:
        self.length = length
        self.done = done


class _InPipe:
    """An IN endpoint: what the device has ready, and which transfers wait for it. Its owner holds the lock."""

    def __init__(self) -> None:
        self._ready: deque[bytes] = deque()
        self._waiting: deque[Transfer] = deque()

    def push(self, message: bytes) -> None:
        self._ready.append(message)
        self._serve()

    def submit(self, transfer: Transfer) -> None:
        self._waiting.append(transfer)
        self._serve()

    def cancel(self, transfer: Transfer) -> bool:
        if transfer not in self._waiting:
            return False
        self._waiting.remove(transfer)
        return True

    def flush(self) -> None:
        self._ready.clear()

    def fail(self, status: CompletionStatus) -> None:
        while self._waiting:
            self._waiting.popleft().done(status, b"")

    def _serve(self) -> None:
        while self._ready and self._waiting:
            transfer, message = self._waiting.popleft(), self._ready.popleft()
            if len(message) > transfer.length:
                self._ready.appendleft(message[transfer.length :])
            transfer.done(CompletionStatus.DONE, message[: transfer.length])


class UsbModel(ABC):
    """A USB device of one interface, as its firmware sees the bus. Every method is thread safe.

    `fault` stands between the firmware and the wire: it is given the endpoint address and each message that the
    device sends and returns what arrives, so that a test can cut or spoil traffic. With `instant` the device needs
    no time for anything; without it, it answers about as late as the real one.
    """

    def __init__(self, layout: UsbLayout, *, instant: bool = True) -> None:
        self.layout = layout
        self.fault: Callable[[int, bytes], bytes] = lambda _endpoint, message: message
        self._instant = instant
        self._lock = threading.RLock()
        self._pipes = {point.address: _InPipe() for point in layout.endpoints if point.address & 0x80}
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

    def claim(self, owner: object) -> bool:
        """Give the interface to `owner`, unless another one holds it."""
        with self._lock:
            self._require_plugged()
            if self._owner is not None and self._owner is not owner:
                return False
            self._owner = owner
            return True

    def release(self, owner: object) -> None:
        """Take the interface back from `owner` and end its waiting transfers; what the device had ready stays."""
        with self._lock:
            if self._owner is owner:
                self._owner = None
                for pipe in self._pipes.values():
                    pipe.fail(CompletionStatus.GONE)

    def control(self, setup: Setup, data: bytes) -> bytes:
        """A control transfer: the data stage of an IN request, empty for OUT; raises `Stall`, `Unplugged`."""
        with self._lock:
            self._require_plugged()
            standard = setup.request_type & _TYPE_MASK == _STANDARD
            reply = self._standard_request(setup) if standard else self.vendor_request(setup, data)
            return self.fault(0, reply)[: setup.length]

    def submit(self, endpoint: int, transfer: Transfer) -> None:
        """Ask for data on the IN `endpoint`; the transfer waits until there is some. Raises `Stall`, `Unplugged`."""
        with self._lock:
            self._require_plugged()
            self._pipe(endpoint).submit(transfer)

    def cancel(self, endpoint: int, transfer: Transfer) -> bool:
        """Withdraw a waiting transfer; false if it had ended before."""
        with self._lock:
            return self._pipe(endpoint).cancel(transfer)

    def write(self, endpoint: int, data: bytes) -> int:
        """Send `data` to the OUT `endpoint`; the count taken. Raises `Stall`, `Unplugged`."""
        with self._lock:
            self._require_plugged()
            self.received(endpoint, data)
            return len(data)

    # The hand at the plug.

    def unplug(self) -> None:
        """Pull the plug: every waiting transfer fails, every later one too."""
        with self._lock:
            self._plugged = False
            self._owner = None
            self._epoch += 1
            for pipe in self._pipes.values():
                pipe.flush()
                pipe.fail(CompletionStatus.GONE)
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

    # For the firmware.

    def _send(self, endpoint: int, message: bytes) -> None:
        """Have `message` ready on the IN `endpoint`; a host's read ends with it."""
        self._pipe(endpoint).push(self.fault(endpoint, message))

    def _flush(self, endpoint: int) -> None:
        self._pipe(endpoint).flush()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do `action` after the time the real device needs, unless the plug is pulled before."""
        if self._instant:
            action()
            return
        timer = threading.Timer(seconds, self._if_same_power, (self._epoch, action))
        timer.daemon = True
        timer.start()

    def _if_same_power(self, epoch: int, action: Callable[[], None]) -> None:
        with self._lock:
            if self._epoch == epoch:
                action()

    def _require_plugged(self) -> None:
        if not self._plugged:
            raise Unplugged

    def _pipe(self, endpoint: int) -> _InPipe:
        pipe = self._pipes.get(endpoint)
        if pipe is None:
            raise Stall(f"no IN endpoint {endpoint:#04x}")
        return pipe

    def _standard_request(self, setup: Setup) -> bytes:
        if setup.request == _GET_DESCRIPTOR:
            return self._descriptor(setup.value >> 8, setup.value & 0xFF)
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
        return found
