"""Faults that a simulated device plays on demand: what goes wrong on a real wire, on purpose and repeatably."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Fault(StrEnum):
    """What can go wrong. A device plays those that its wire can have."""

    UNPLUG = "unplug"
    """It is gone, and comes back when it is mended."""

    STALL = "stall"
    """It stays connected and answers nothing."""

    REFUSE = "refuse"
    """It answers with a refusal: on USB a STALL handshake, after which an endpoint stays halted until it is cleared."""

    SHORT_READ = "short-read"
    """Messages end early."""

    CORRUPT = "corrupt"
    """Bytes arrive altered."""

    BUSY = "busy"
    """Another program holds it."""

    PERMISSION_DENIED = "permission-denied"
    SLOW = "slow"
    """Every answer is late."""

    WRONG_DESCRIPTOR = "wrong-descriptor"
    """It describes itself as something that it is not."""

    SERVER_DEATH = "server-death"
    """The server through which it is reached dies."""

    LOCKOUT = "lockout"
    """A TPM or token refuses authorisation after too many wrong tries."""

    RESET = "reset"
    """A TPM is power-cycled: its clock and reset counter move."""

    NV_FULL = "nv-full"
    """A TPM has no room for another index."""


@dataclass(frozen=True)
class FaultOrder:
    """One fault and how it is played; the same order and seed spoil the same bytes.

    `after` messages still pass unharmed; `rate` is the share of bytes (corrupt) or of messages (the others) that is
    hit, 0 to 1; `seconds` is the delay of `SLOW` and how long a passing fault lasts, 0 until it is mended.
    """

    fault: Fault
    after: int = 0
    rate: float = 1.0
    seconds: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1 or self.after < 0 or self.seconds < 0:
            raise ValueError(f"rate {self.rate}, after {self.after}, seconds {self.seconds}: out of range")


class Faulty(Protocol):
    """A simulated device on which faults can be played. Every method is thread safe."""

    @property
    def faults(self) -> frozenset[Fault]:
        """The faults that this device can play."""
        ...

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault, beside those in force; raises `ValueError` for one that is not in `faults`."""
        ...

    def mend(self) -> None:
        """End every fault; the device is usable as after power on."""
        ...


def require_playable(device: Faulty, order: FaultOrder) -> None:
    """Raise `ValueError` unless `device` can play `order`."""
    if order.fault not in device.faults:
        playable = ", ".join(sorted(device.faults))
        raise ValueError(f"{type(device).__name__} cannot play {order.fault.value!r}; it can play {playable}")
