"""A serial line to a simulated device: a pseudo-terminal, with a rate at each end and noise between them.

The host opens `link`, a symbolic link that stays the same through unplugging. When the rate that the host set is not
the device's, both hear garbage, as on a wire.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
import tty
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from hal import Clock, SystemClock
from simulators.devices.fault_orders import OrdersInForce
from simulators.devices.faults import Fault, FaultOrder, require_playable
from simulators.devices.serial_faults import played
from simulators.devices.serial_wire import LineNoise, Message

_TCGETS2 = 0x802C542A
_TERMIOS2 = struct.Struct("=4IB19B2I")
"""asm-generic/termbits.h: flags, line discipline, control characters, input and output speed."""

_PACE_SECONDS = 0.01
_BITS_PER_BYTE = 10


class SerialDevice(Protocol):
    """What hangs at the far end."""

    @property
    def speed(self) -> int:
        """Bits per second that it sends and understands."""
        ...

    def power_on(self) -> None:
        """Start as after power is applied."""
        ...

    def receive(self, data: bytes) -> Sequence[Message]:
        """Take bytes, and what it sends in return."""
        ...


class SerialLine:
    """The line, the plug, and the faults that can be played on it. Every method is thread safe.

    `paced` takes as long as the device's rate does; otherwise bytes arrive at once. `noise` spoils them both ways,
    faults are played on what the device sends.
    """

    def __init__(
        self, device: SerialDevice, link: Path, *, paced: bool = False, seed: int = 0, clock: Clock | None = None
    ) -> None:
        self.link = link
        self.noise = LineNoise()
        self._device = device
        self._paced = paced
        self._clock = clock or SystemClock()
        self._garbage = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self._orders = OrdersInForce(self._clock)
        self._end: _DeviceEnd | None = None
        self._replug: threading.Timer | None = None
        self.plug()

    @property
    def node(self) -> Path:
        """The pseudo-terminal behind `link`; raises `FileNotFoundError` while unplugged."""
        return self.link.resolve(strict=True)

    @property
    def plugged(self) -> bool:
        """Whether there is something at the end of the line."""
        return self._end is not None

    def plug(self) -> None:
        """Put the plug in, unless it is; the device starts as after power on."""
        with self._lock:
            if self._end is None:
                self._device.power_on()
                self._end = _DeviceEnd(self)

    def unplug(self) -> None:
        """Pull the plug: who has the port open loses it, and the link is gone."""
        with self._lock:
            end, self._end = self._end, None
        if end is not None:
            end.stop()

    def close(self) -> None:
        """Pull the plug for good; closing twice is allowed."""
        with self._lock:
            if self._replug is not None:
                self._replug.cancel()
        self.unplug()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Faults.

    @property
    def faults(self) -> frozenset[Fault]:
        """What this line can play. Permissions do not bind the superuser, on a pseudo-terminal as elsewhere."""
        return frozenset(
            {
                Fault.UNPLUG,
                Fault.STALL,
                Fault.SHORT_READ,
                Fault.CORRUPT,
                Fault.BUSY,
                Fault.PERMISSION_DENIED,
                Fault.SLOW,
            }
        )

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault, beside those in force; `BUSY` and `PERMISSION_DENIED` are there at once.

        Raises `ValueError` for one that cannot be played.
        """
        require_playable(self, order)
        with self._lock:
            self._orders.add(order)
            self._set_node()
        self._unplug_if_due()

    def mend(self) -> None:
        """End every fault; the device is usable as after power on."""
        with self._lock:
            self._orders.clear()
            if self._replug is not None:
                self._replug.cancel()
            self._device.power_on()
            if self._end is not None:
                self._end.forget()
            self._set_node()
        self.plug()

    # For the device's end.

    def _exchange(self, data: bytes, host_speed: int) -> list[Message]:
        """What the device sends in return for what the host sent, as the line carries it."""
        with self._lock:
            self._set_node()
            data = self.noise.spoil(data)
            if host_speed != self._device.speed:
                data = self._garbled(data, host_speed, self._device.speed)
            messages = list(self._device.receive(data))
            for one in self._orders.current():
                messages = played(one, messages)
        self._unplug_if_due()
        return messages

    def _carried(self, data: bytes, speed: int, host_speed: int) -> bytes:
        """What the host hears of `data` sent at `speed`."""
        with self._lock:
            data = self.noise.spoil(data)
            return data if speed == host_speed else self._garbled(data, speed, host_speed)

    def _garbled(self, data: bytes, sent: int, heard: int) -> bytes:
        return self._garbage.bytes(max(1, len(data) * heard // sent)) if data else b""

    def _set_node(self) -> None:
        if self._end is not None:
            taken, barred = self._orders.due(Fault.BUSY), self._orders.due(Fault.PERMISSION_DENIED)
            self._end.hold(taken=bool(taken), barred=bool(barred))

    def _unplug_if_due(self) -> None:
        with self._lock:
            due = [one.order for one in self._orders.due(Fault.UNPLUG)]
            for order in due:
                self._orders.end(order)
            seconds = max((order.seconds for order in due), default=0.0)
            if seconds:
                self._replug = threading.Timer(seconds, self.plug)
                self._replug.daemon = True
                self._replug.start()
        if due:
            self.unplug()


class _DeviceEnd:
    """The device's end while it is plugged in: the pseudo-terminal's master, and a thread that serves it.

    The other end is held open too, so that the terminal lives on while no host has it open.
    """

    def __init__(self, line: SerialLine) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._outgoing: deque[Message] = deque()
        self._due_ns = 0
        self._free_ns = 0
        self._stopping = False
        self._master, self._held = os.openpty()
        tty.setraw(self._held)
        os.set_blocking(self._master, False)
        self._woken, self._waker = os.pipe()
        self._node = Path(os.ttyname(self._held))
        self._mode = self._node.stat().st_mode & 0o777
        self._link()
        self._thread = threading.Thread(target=self._run, name="serial-line", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the link away and close both ends; from the serving thread itself, once that returns."""
        self._line.link.unlink(missing_ok=True)
        self._stopping = True
        os.write(self._waker, b"x")
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def hold(self, *, taken: bool, barred: bool) -> None:
        """Lock the port as another program does (`taken`), or take everybody's permission (`barred`)."""
        with suppress(OSError):
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB if taken else fcntl.LOCK_UN)
        with suppress(OSError):
            self._node.chmod(0 if barred else self._mode)

    def forget(self) -> None:
        """Send nothing of what is still to be sent."""
        with self._lock:
            self._outgoing.clear()

    def _link(self) -> None:
        fresh = self._line.link.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self._node)
        fresh.replace(self._line.link)

    def _run(self) -> None:
        try:
            poll = select.poll()
            poll.register(self._woken, select.POLLIN)
            while not self._stopping:
                wait_ms, writable = self._next_step()
                poll.register(self._master, select.POLLIN | (select.POLLOUT if writable else 0))
                ready = {number for number, events in poll.poll(wait_ms) if events}
                if self._master in ready:
                    self._read()
                self._write()
        finally:
            for number in (self._master, self._held, self._woken, self._waker):
                os.close(number)

    def _next_step(self) -> tuple[int | None, bool]:
        """How long to wait for the host, in milliseconds, and whether there is something to send."""
        with self._lock:
            if not self._outgoing:
                return None, False
            wait_ns = max(self._due_ns, self._free_ns) - self._line._clock.monotonic_ns()
        return (None, True) if wait_ns <= 0 else (max(1, wait_ns // 1_000_000), False)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        messages = self._line._exchange(data, self._host_speed())
        with self._lock:
            idle = not self._outgoing
            self._outgoing += (message for message in messages if message.data)
            if idle and self._outgoing:
                self._due_ns = self._line._clock.monotonic_ns() + int(self._outgoing[0].latency * 1e9)

    def _write(self) -> None:
        with self._lock:
            now = self._line._clock.monotonic_ns()
            if self._stopping or not self._outgoing or now < max(self._due_ns, self._free_ns):
                return
            data, speed = self._take(now)
        carried = self._line._carried(data, speed, self._host_speed())
        while carried and not self._stopping:
            carried = carried[self._write_some(carried) :]

    def _take(self, now: int) -> tuple[bytes, int]:
        """The messages that go out together: all up to the next that waits, or as much as the rate allows."""
        speed = self._outgoing[0].speed
        room = max(1, int(speed / _BITS_PER_BYTE * _PACE_SECONDS)) if self._line._paced else 1 << 20
        data = b""
        while self._outgoing and len(data) < room and self._outgoing[0].speed == speed:
            if data and self._outgoing[0].latency:
                break
            message = self._outgoing.popleft()
            data += message.data
        if len(data) > room:
            self._outgoing.appendleft(Message(data[room:], speed))
            data = data[:room]
        if self._line._paced:
            self._free_ns = max(now, self._free_ns) + int(len(data) * _BITS_PER_BYTE / speed * 1e9)
        if self._outgoing:
            self._due_ns = now + int(self._outgoing[0].latency * 1e9)
        return data, speed

    def _write_some(self, data: bytes) -> int:
        """Write what the terminal takes; what a host does not read holds it up until the plug is pulled."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.register(self._master, select.POLLOUT)
        poll.poll()
        with suppress(BlockingIOError):
            return 0 if self._stopping else os.write(self._master, data)
        return 0

    def _host_speed(self) -> int:
        """The rate that the host has set, any number of bits per second."""
        settings = bytearray(_TERMIOS2.size)
        try:
            fcntl.ioctl(self._master, _TCGETS2, settings)
        except OSError:
            return termios.B0
        return int(_TERMIOS2.unpack(settings)[-1])
