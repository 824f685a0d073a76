"""A button as the kernel's evdev gives it: a device node that yields `struct input_event`, and its place in sysfs.

The node is a pseudo terminal, since a process cannot make an input device without /dev/uinput; what a reader sees of it
is a character device with the same stream. Source: Documentation/input/input.rst of the Linux kernel.
"""

from __future__ import annotations

import os
import pty
import struct
import tempfile
import threading
import time
import tty
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from simulators.devices.fault_orders import OrdersInForce
from simulators.devices.faults import Fault, FaultOrder, require_playable

KEY = 148
"""KEY_PROG1, a key without a fixed meaning."""

_EVENT = struct.Struct("llHHi")
_EV_SYN, _EV_KEY = 0, 1
_UP, _DOWN, _REPEAT = 0, 1, 2
_WORD = 64
_BUS_VIRTUAL = 6


class EvdevButton:
    """A button with one key at `device`, described below `sysfs`. Every method is thread safe.

    A press bounces: the key reports down and up again within `bounce` seconds, unless it is `instant`.
    """

    faults: ClassVar[frozenset[Fault]] = frozenset(
        {Fault.UNPLUG, Fault.STALL, Fault.SHORT_READ, Fault.CORRUPT, Fault.SLOW}
    )

    def __init__(self, key: int = KEY, *, instant: bool = False, bounce: float = 0.02) -> None:
        self._key = key
        self._bounce = 0.0 if instant else bounce
        self._folder = tempfile.TemporaryDirectory(prefix="button-")
        self._lock = threading.Lock()
        self._orders = OrdersInForce()
        self._held = -1
        self._plug()

    @property
    def device(self) -> Path:
        """The node, by a name that stays when the button is unplugged and comes back."""
        return self.devices / "event0"

    @property
    def devices(self) -> Path:
        """The folder of all nodes."""
        return Path(self._folder.name) / "dev"

    @property
    def sysfs(self) -> Path:
        """The root of the sysfs that describes it."""
        return Path(self._folder.name) / "sys"

    def press(self, key: int | None = None) -> None:
        """Press a key and let it go; that of the button without an argument."""
        self.hold(key)
        time.sleep(self._bounce)
        self.release(key)

    def hold(self, key: int | None = None) -> None:
        """Press a key and keep it down."""
        self._report(key, _DOWN)

    def repeat(self, key: int | None = None) -> None:
        """What a key that is kept down reports by itself."""
        self._report(key, _REPEAT)

    def release(self, key: int | None = None) -> None:
        """Let a key go."""
        self._report(key, _UP)

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault; see `Faulty`. A message is one change of a key."""
        require_playable(self, order)
        if order.fault is Fault.UNPLUG:
            self._unplug()
        else:
            self._orders.add(order)

    def mend(self) -> None:
        """End every fault and plug the button in afresh."""
        self._orders.clear()
        self._unplug()
        self._plug()

    def close(self) -> None:
        """Take the button away for good; closing twice is allowed."""
        self._orders.clear()
        self._unplug()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _plug(self) -> None:
        held, node = pty.openpty()
        tty.setraw(node)
        status = os.fstat(node)
        self.devices.mkdir(exist_ok=True)
        self.device.symlink_to(os.ttyname(node))
        os.close(node)
        os.set_blocking(held, False)
        place = self.sysfs / f"dev/char/{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}/device"
        _describe(place, self._key)
        with self._lock:
            self._held = held

    def _unplug(self) -> None:
        with self._lock:
            held, self._held = self._held, -1
        if held >= 0:
            os.close(held)
            self.device.unlink(missing_ok=True)

    def _report(self, key: int | None, value: int) -> None:
        slow = self._orders.strikes(Fault.SLOW)
        if slow is not None:
            self._orders.delay(slow.order.seconds)
        if self._orders.strikes(Fault.STALL):
            return
        data = self._spoilt(_event(_EV_KEY, self._key if key is None else key, value) + _event(_EV_SYN, 0, 0))
        with self._lock:
            if self._held >= 0:
                os.write(self._held, data)

    def _spoilt(self, data: bytes) -> bytes:
        damaged = self._orders.corrupted(data)
        data = data if damaged is None else damaged
        return data[: _EVENT.size // 2] if self._orders.strikes(Fault.SHORT_READ) else data


def _event(kind: int, code: int, value: int) -> bytes:
    now = time.time_ns()
    return _EVENT.pack(now // 10**9, now % 10**9 // 1000, kind, code, value)


def _describe(place: Path, key: int) -> None:
    """The attributes of an input device, as the kernel's input core writes them."""
    words = [0] * (key // _WORD + 1)
    words[key // _WORD] |= 1 << key % _WORD
    attributes = {
        "name": "Keyvigil simulated button",
        "phys": "keyvigil/button0",
        "uniq": "B1",
        "id/bustype": f"{_BUS_VIRTUAL:04x}",
        "id/vendor": "6b76",
        "id/product": "0001",
        "capabilities/key": " ".join(f"{word:x}" for word in reversed(words)),
    }
    for name, value in attributes.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n", encoding="utf-8")
