"""Faults on a USB device's wire, played on whatever crosses it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.usb._descriptors import CONFIGURATION

PLAYABLE = frozenset(
    {
        Fault.UNPLUG,
        Fault.STALL,
        Fault.SHORT_READ,
        Fault.CORRUPT,
        Fault.BUSY,
        Fault.PERMISSION_DENIED,
        Fault.SLOW,
        Fault.WRONG_DESCRIPTOR,
    }
)
"""What a USB wire can have."""

Lie = Callable[[bytes], bytes]


class Crossing(NamedTuple):
    """What became of a message on the wire."""

    message: bytes
    seconds: float = 0.0
    stalled: bool = False
    gone: bool = False


class _InForce:
    """One order, how many messages it saw, and its own source of chance."""

    def __init__(self, order: FaultOrder) -> None:
        self.order = order
        self.random = np.random.default_rng(order.seed)
        self._seen = 0
        lasts = order.seconds if order.fault is not Fault.SLOW else 0.0
        self._until = time.monotonic() + lasts if lasts else float("inf")

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._until

    def hits(self) -> bool:
        """Whether the next message is hit; for `CORRUPT` whether its bytes may be."""
        self._seen += 1
        if self._seen <= self.order.after:
            return False
        return self.order.fault is Fault.CORRUPT or self.order.rate >= 1 or self.random.random() < self.order.rate


class WireFaults:
    """The faults in force on one device. Its owner holds the lock."""

    def __init__(self) -> None:
        self._all: list[_InForce] = []

    def add(self, order: FaultOrder) -> None:
        """Begin a fault."""
        self._all.append(_InForce(order))

    def clear(self) -> None:
        """End every fault."""
        self._all.clear()

    def plays(self, fault: Fault) -> FaultOrder | None:
        """The order by which `fault` is in force now, for those that hit no message but a whole device."""
        return next((one.order for one in self._current() if one.order.fault is fault), None)

    def cross(self, message: bytes, *, to_host: bool) -> Crossing:
        """Send `message` over the wire; what is spoiled is only what the device sends."""
        seconds, stalled, gone = 0.0, False, False
        for one in self._current():
            if not one.hits():
                continue
            match one.order.fault:
                case Fault.SLOW:
                    seconds += one.order.seconds
                case Fault.STALL:
                    stalled = True
                case Fault.UNPLUG:
                    gone = True
                case Fault.SHORT_READ if to_host:
                    message = message[: int(one.random.integers(0, max(1, len(message))))]
                case Fault.CORRUPT if to_host:
                    message = _spoiled(message, one.order.rate, one.random)
                case _:
                    pass
        return Crossing(message, seconds, stalled, gone)

    def _current(self) -> list[_InForce]:
        self._all = [one for one in self._all if not one.over]
        return self._all


def _spoiled(message: bytes, rate: float, random: np.random.Generator) -> bytes:
    """`message` with each byte altered by the chance `rate`."""
    values = np.frombuffer(message, np.uint8)
    hit = random.random(values.size) < rate
    return bytes(np.where(hit, values ^ random.integers(1, 256, values.size, np.uint8), values).tobytes())


def _with(at: int, value: int) -> Lie:
    return lambda raw: raw[:at] + bytes([value]) + raw[at + 1 :]


def _endpoints_moved(raw: bytes) -> bytes:
    """Every endpoint's number raised by eight."""
    moved, rest = b"", raw
    while len(rest) >= 2 and rest[0] >= 2:
        one, rest = rest[: rest[0]], rest[rest[0] :]
        moved += _with(2, one[2] | 8)(one) if one[1] == 5 else one
    return moved


LIES: tuple[tuple[str, Lie], ...] = (
    ("another interface class", lambda raw: raw[:14] + b"\x03\x01\x02" + raw[17:]),
    ("other endpoints", _endpoints_moved),
    ("no endpoints", lambda raw: _with(2, 18)(_with(13, 0)(raw))[:18]),
    ("more endpoints than there are", _with(13, 31)),
    ("a total length far too large", lambda raw: raw[:2] + b"\xff\xff" + raw[4:]),
    ("a total length that ends inside the interface", _with(2, 12)),
    ("an interface of length 0", _with(9, 0)),
    ("an interface of length 2", _with(9, 2)),
    ("no interface at all", lambda raw: _with(2, 9)(raw)[:9]),
    ("cut off inside an endpoint", lambda raw: raw[:-3]),
    ("cut off after three bytes", lambda raw: raw[:3]),
    ("nothing", lambda _raw: b""),
)
"""Ways in which a configuration descriptor can be untrue; the seed of an order chooses one."""


def lied(kind: int, raw: bytes, order: FaultOrder) -> bytes:
    """The descriptor `raw` of type `kind` as a device tells it that lies about its configuration."""
    return LIES[order.seed % len(LIES)][1](raw) if kind == CONFIGURATION else raw
