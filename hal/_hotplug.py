"""Devices that come and go: opened again when they come back, and watched while they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from hal._errors import Busy, DeviceError, Disconnected, NotFound, PermissionDenied, TimedOut
from hal._registry import Driver
from hal._values import Clock, Deadline, Device, DeviceInfo, SystemClock

D = TypeVar("D", bound=Device)
Result = TypeVar("Result")

RETRY_SECONDS = 0.2
"""Between two tries to open a device that went away."""

WATCH_SECONDS = 1.0
"""Between two looks at what is attached."""

_NOT_BACK_YET = (NotFound, Busy, Disconnected, PermissionDenied)
"""What opening says until a device that was replugged has settled: udev sets its permissions last."""


class Reopening(Generic[D]):
    """Holds a device through unplugging: opened at first use, and again when it comes back.

    Only the same device at the same place counts as come back (`DeviceInfo.same_device`); another one in its place
    raises `PermissionDenied`. Not thread safe: one claimant at a time.
    """

    def __init__(
        self, opener: Callable[[Deadline], D], clock: Clock | None = None, expected: DeviceInfo | None = None
    ) -> None:
        """`opener` opens the device by a deadline; `expected` is the identity it must have, if it is known already."""
        self._opener = opener
        self._clock = clock or SystemClock()
        self._expected = expected
        self._device: D | None = None

    def run(self, work: Callable[[D], Result], deadline: Deadline) -> Result:
        """`work` on the device, from its start again whenever the device went away meanwhile and came back.

        Raises what opening raises when the device was never there, `Disconnected` when it went away and did not come
        back by the deadline, and whatever else `work` raises.
        """
        lost: Disconnected | None = None
        while True:
            device = self._held(deadline, lost)
            try:
                return work(device)
            except Disconnected as error:
                lost = error
                self.close()
                self._clock.sleep(min(RETRY_SECONDS, deadline.remaining()))

    def close(self) -> None:
        """Release the device; the next `run` opens it again. Closing twice is allowed."""
        device, self._device = self._device, None
        if device is not None:
            with suppress(DeviceError):
                device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _held(self, deadline: Deadline, lost: Disconnected | None) -> D:
        if self._device is None:
            self._device = self._opener(deadline) if lost is None else self._await_return(deadline, lost)
            try:
                self._check_identity(self._device.info)
            except BaseException:
                self.close()
                raise
        return self._device

    def _await_return(self, deadline: Deadline, lost: Disconnected) -> D:
        while True:
            if deadline.remaining() <= 0:
                raise lost
            try:
                return self._opener(deadline)
            except _NOT_BACK_YET:
                self._clock.sleep(min(RETRY_SECONDS, deadline.remaining()))
            except TimedOut:
                raise lost from None

    def _check_identity(self, info: DeviceInfo) -> None:
        if self._expected is None:
            self._expected = info
        if not self._expected.same_device(info):
            raise PermissionDenied(
                f"another {info.kind} stands at {info.port} than before",
                remedy="Put the enrolled device back, or have the new one approved by enrolling again.",
            )


@dataclass(frozen=True)
class PlugEvent:
    """A device that was attached (`arrived`) or removed."""

    device: DeviceInfo
    arrived: bool


def watch(
    driver: Driver, options: Mapping[str, Any], stop: Callable[[], bool], clock: Clock | None = None
) -> Iterator[PlugEvent]:
    """Arrivals and departures of a driver's devices, beginning with those that are there; ends when `stop` says so.

    A device may go away while it is looked at, and then the next look tells. A place that is gone for two looks (a
    USB/IP server that ended) has taken its devices with it. Raises whatever else listing raises.
    """
    clock = clock or SystemClock()
    known: list[DeviceInfo] = []
    gone = False
    while not stop():
        try:
            present, gone = list(driver.list(options)), False
        except (NotFound, Disconnected):
            present, gone = [] if gone else known, True
        for device in _missing(known, present):
            yield PlugEvent(device, arrived=False)
        for device in _missing(present, known):
            yield PlugEvent(device, arrived=True)
        known = present
        clock.sleep(WATCH_SECONDS)


def _missing(some: Sequence[DeviceInfo], others: Sequence[DeviceInfo]) -> list[DeviceInfo]:
    """Those of `some` that are not among `others`."""
    return [one for one in some if not any(one.same_device(other) for other in others)]
