"""Faults on a USB device's wire, played on whatever crosses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from simulators.devices.fault_orders import OrdersInForce
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


class WireFaults(OrdersInForce):
    """The faults in force on one device. Its owner holds the lock."""

    def cross(self, message: bytes, *, to_host: bool) -> Crossing:
        """Send `message` over the wire; what is spoiled is only what the device sends."""
        seconds, stalled, gone = 0.0, False, False
        for one in self.current():
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
                    message = one.cut(message)
                case Fault.CORRUPT if to_host:
                    message = one.spoiled(message)
                case _:
                    pass
        return Crossing(message, seconds, stalled, gone)


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
