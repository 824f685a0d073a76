"""Faults on a USB device's wire, played on whatever crosses it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from simulators.devices.fault_orders import OrderInForce
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.usb._descriptors import CONFIGURATION

PLAYABLE = frozenset(
    {
        Fault.UNPLUG,
        Fault.STALL,
        Fault.REFUSE,
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


class Crossing:
    """What befalls one message on the wire."""

    def __init__(self, struck: Sequence[OrderInForce]) -> None:
        self._struck = struck

    @property
    def seconds(self) -> float:
        """How late it is; for ever, where the device is silent."""
        late = sum(one.order.seconds for one in self._struck if one.order.fault is Fault.SLOW)
        return math.inf if self.silent else late

    @property
    def silent(self) -> bool:
        """Whether the device neither takes nor sends it, and says nothing."""
        return self._plays(Fault.STALL)

    @property
    def refused(self) -> bool:
        """Whether the device answers it by a STALL handshake."""
        return self._plays(Fault.REFUSE)

    @property
    def gone(self) -> bool:
        """Whether the plug is pulled at it."""
        return self._plays(Fault.UNPLUG)

    def arriving(self, message: bytes) -> bytes:
        """What the host gets of `message`."""
        for one in self._struck:
            if one.order.fault is Fault.SHORT_READ:
                message = one.cut(message)
            elif one.order.fault is Fault.CORRUPT:
                message = one.spoiled(message)
        return message

    def _plays(self, fault: Fault) -> bool:
        return any(one.order.fault is fault for one in self._struck)


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
