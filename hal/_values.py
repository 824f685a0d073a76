"""Values shared by every kind of device."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from hal._errors import TimedOut


class DeviceKind(StrEnum):
    """What a device senses or does; a driver for a further modality names a kind of its own, as plain text."""

    FINGERPRINT = "fingerprint"
    CAMERA = "camera"
    MICROPHONE = "microphone"
    ENCLAVE = "enclave"
    PRESENCE = "presence"
    """Tells whether somebody is at the machine, and not who."""
    DISPLAY = "display"
    """Lights whoever looks at it, and senses nothing."""


class Transport(StrEnum):
    """How a device is attached; `VIRTUAL` is announced by every simulated device.

    `SYSTEM` is a device that another daemon of this machine holds (fprintd, logind), `TOKEN` a PKCS#11 token,
    `SOFTWARE` no device at all.
    """

    USB = "usb"
    UART = "uart"
    V4L2 = "v4l2"
    ALSA = "alsa"
    EVDEV = "evdev"
    FBDEV = "fbdev"
    TPM = "tpm"
    FILE = "file"
    SYSTEM = "system"
    TOKEN = "token"  # noqa: S105
    SOFTWARE = "software"
    VIRTUAL = "virtual"


class Capability(StrEnum):
    """Something that a device may or may not be able to do; a third party's driver may name further ones, as text."""

    SHARED = "shared"
    """Several programs may hold it at once (a recording, a network stream, a sound server): it is not claimed."""

    IMAGE = "image"
    FINGER_DETECT = "finger-detect"
    MATCH_ONLY = "match-only"
    """Compares by itself and says yes or no: weak evidence, since nothing can be verified of it."""

    RGB = "rgb"
    INFRARED = "infrared"
    FRAME_SEQUENCE = "frame-sequence"
    """Frames carry the number that the device gave them: a gap tells how many were lost."""

    HARDWARE_CLOCK = "hardware-clock"
    """Frames carry the time of their exposure as the kernel's driver took it, not the time of their arrival."""

    SIGN = "sign"
    AGREE = "agree"
    SEAL = "seal"
    SEAL_APPROVED = "seal-approved"
    PCRS = "pcrs"
    ATTEST = "attest"
    ENDORSE = "endorse"
    CERTIFY = "certify"
    COUNTER = "counter"
    MEASURE = "measure"
    PIN = "pin"
    GUARD = "guard"
    """Makes signing keys that count wrong answers by themselves, and stay locked until somebody signs a reset."""

    OWNERSHIP = "ownership"
    """Can be given authorisations without which nobody defines or removes anything in it."""

    LOCKOUT = "lockout"
    CLOCK = "clock"
    REPORT = "report"


@dataclass(frozen=True)
class DeviceInfo:
    """Identity of one attached device, pinned at enrolment and carried in evidence.

    `kind` is a `DeviceKind` or the name of a further kind. `port` is the stable place (USB port path, device node, PCM
    name), `driver_sha256` the hash of the driver's
    code as `DriverEntry` has it, where it is known.
    """

    kind: str
    driver: str
    transport: Transport
    port: str
    vendor_id: str = ""
    product_id: str = ""
    serial: str = ""
    name: str = ""
    capabilities: frozenset[str] = field(default_factory=frozenset)
    driver_sha256: str = ""

    def same_device(self, other: DeviceInfo) -> bool:
        """Whether both describe one device at one place, whatever it is called or able to do."""
        mine, theirs = (
            (one.kind, one.driver, one.transport, one.port, one.vendor_id, one.product_id, one.serial)
            for one in (self, other)
        )
        return mine == theirs


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
