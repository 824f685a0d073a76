"""Values shared by every kind of device."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from hal._errors import TimedOut


class DeviceKind(StrEnum):
    """What a device senses or does."""

    FINGERPRINT = "fingerprint"
    CAMERA = "camera"
    MICROPHONE = "microphone"
    ENCLAVE = "enclave"


class Transport(StrEnum):
    """How a device is attached; `VIRTUAL` is announced by every simulated device."""

    USB = "usb"
    UART = "uart"
    V4L2 = "v4l2"
    ALSA = "alsa"
    TPM = "tpm"
    FILE = "file"
    VIRTUAL = "virtual"


class Capability(StrEnum):
    """Something that a device may or may not be able to do."""

    IMAGE = "image"
    FINGER_DETECT = "finger-detect"
    RGB = "rgb"
    INFRARED = "infrared"
    FRAME_SEQUENCE = "frame-sequence"
    SEAL = "seal"
    ATTEST = "attest"
    ENDORSE = "endorse"
    CERTIFY = "certify"
    DECRYPT = "decrypt"


@dataclass(frozen=True)
class DeviceInfo:
    """Identity of one attached device, pinned at enrolment and carried in evidence.

    `port` is the stable place (USB port path, device node, PCM name), `driver_sha256` the hash of the driver's
    code as `DriverEntry` has it, where it is known.
    """

    kind: DeviceKind
    driver: str
    transport: Transport
    port: str
    vendor_id: str = ""
    product_id: str = ""
    serial: str = ""
    name: str = ""
    capabilities: frozenset[Capability] = field(default_factory=frozenset)
    driver_sha256: str = ""


class Clock(Protocol):
    """Time as it is passed in: monotonic nanoseconds and a way to wait."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        """Block this thread for `seconds`."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Deadline:
    """A point in monotonic time by which a blocking call must have answered."""

    at_ns: int
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock | None = None) -> Self:
        """A deadline `seconds` from now."""
        clock = clock or SystemClock()
        return cls(clock.monotonic_ns() + int(seconds * 1e9), clock)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, (self.at_ns - self.clock.monotonic_ns()) / 1e9)

    def check(self, what: str) -> None:
        """Raise `TimedOut` naming `what` when no time is left."""
        if self.remaining() <= 0:
            raise TimedOut(f"{what} did not finish before its deadline")

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and `seconds` from now."""
        return Deadline(min(self.at_ns, self.clock.monotonic_ns() + int(seconds * 1e9)), self.clock)


@runtime_checkable
class Device(Protocol):
    """A device that was opened and is held until it is closed; a context manager."""

    @property
    def info(self) -> DeviceInfo:
        """Who and where the device is."""
        ...

    def close(self) -> None:
        """Release the device; closing twice is allowed."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
