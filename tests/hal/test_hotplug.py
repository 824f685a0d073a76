"""Devices that go away and come back, in time that passes only as it is slept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import pytest

from hal import (
    Busy,
    Deadline,
    DeviceError,
    DeviceInfo,
    DeviceKind,
    Disconnected,
    NotFound,
    PermissionDenied,
    PlugEvent,
    ProtocolError,
    Reopening,
    TimedOut,
    Transport,
    watch,
)

READER = DeviceInfo(DeviceKind.FINGERPRINT, "uru4000", Transport.USB, "1-2", "05ba", "000a", "A1", name="reader")
OTHER = replace(READER, serial="B2")


@dataclass
class ManualClock:
    """Time moves by sleeping; what is due at a time happens then."""

    now: float = 0.0
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def monotonic_ns(self) -> int:
        return int(self.now * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1e-6)
        for entry in [entry for entry in self.due if entry[0] <= self.now]:
            self.due.remove(entry)
            entry[1]()


class FakeReader:
    """Works for as long as it is plugged in."""

    def __init__(self, port: Port, info: DeviceInfo) -> None:
        self._port, self._info = port, info
        self.closed = 0

    @property
    def info(self) -> DeviceInfo:
        if isinstance(self._port.troubled_info, Exception):
            raise self._port.troubled_info
        return self._info

    def capture(self) -> str:
        if self._port.attached is not self._info:
            raise Disconnected("the reader went away")
        return self._info.serial

    def close(self) -> None:
        self.closed += 1
        self._port.held = None
        if self._port.attached is not self._info:
            raise Disconnected("closing a reader that is gone")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Port:
    """A place for one reader: claims, and the errors of a device that settles."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.attached: DeviceInfo | None = READER
        self.held: FakeReader | None = None
        self.opened: list[FakeReader] = []
        self.troubles: list[DeviceError] = []
        self.troubled_info: Exception | None = None

    def open(self, deadline: Deadline) -> FakeReader:
        deadline.check("opening")
        if self.attached is None:
            raise NotFound("no reader")
        if self.troubles:
            raise self.troubles.pop(0)
        if self.held is not None:
            raise Busy("held")
        self.held = FakeReader(self, self.attached)
        self.opened.append(self.held)
        return self.held

    def unplug(self) -> None:
        self.attached = None

    def plug(self, info: DeviceInfo = READER) -> None:
        self.attached = info


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def port(clock: ManualClock) -> Port:
    return Port(clock)


@pytest.fixture
def held(port: Port, clock: ManualClock) -> Reopening[FakeReader]:
    return Reopening(port.open, clock)


def soon(clock: ManualClock, seconds: float = 10.0) -> Deadline:
    return Deadline.after(seconds, clock)


def unplugged_once(port: Port, comes_back: float | None, info: DeviceInfo = READER) -> Callable[[FakeReader], str]:
    """A capture during which the reader is pulled the first time, and plugged in again at a time."""
    runs: list[int] = []

    def work(reader: FakeReader) -> str:
        runs.append(1)
        if len(runs) == 1:
            port.unplug()
            if comes_back is not None:
                port.clock.due.append((comes_back, lambda: port.plug(info)))
        return f"{reader.capture()} in run {len(runs)}"

    return work


def test_it_is_opened_at_its_first_use_and_then_held(
    held: Reopening[FakeReader], port: Port, clock: ManualClock
) -> None:
    assert port.opened == []
    assert [held.run(FakeReader.capture, soon(clock)) for _ in range(3)] == ["A1"] * 3
    assert len(port.opened) == 1
    held.close()
    held.close()
    assert port.opened[0].closed == 1
    held.run(FakeReader.capture, soon(clock))
    assert len(port.opened) == 2


def test_work_begins_again_when_it_came_back(held: Reopening[FakeReader], port: Port, clock: ManualClock) -> None:
    assert held.run(unplugged_once(port, 3.0), soon(clock)) == "A1 in run 2"
    assert 3.0 <= clock.now < 3.5
    assert port.opened[0].closed == 1


def test_one_that_stays_away_is_lost_at_the_deadline(
    held: Reopening[FakeReader], port: Port, clock: ManualClock
) -> None:
    with pytest.raises(Disconnected, match="went away"):
        held.run(unplugged_once(port, None), soon(clock))
    assert clock.now == pytest.approx(10.0, abs=0.01)


def test_one_that_comes_back_too_late_is_lost_too(held: Reopening[FakeReader], port: Port, clock: ManualClock) -> None:
    with pytest.raises(Disconnected):
        held.run(unplugged_once(port, 11.0), soon(clock))
    port.plug()
    assert held.run(FakeReader.capture, soon(clock)) == "A1"


def test_one_that_was_never_there_is_not_waited_for(
    held: Reopening[FakeReader], port: Port, clock: ManualClock
) -> None:
    port.unplug()
    with pytest.raises(NotFound):
        held.run(FakeReader.capture, soon(clock))
    assert clock.now == 0


def test_another_one_in_its_place_is_refused_and_released(
    held: Reopening[FakeReader], port: Port, clock: ManualClock
) -> None:
    with pytest.raises(PermissionDenied, match="another fingerprint") as refusal:
        held.run(unplugged_once(port, 1.0, OTHER), soon(clock))
    assert "back" in refusal.value.remedy
    assert port.held is None
    port.plug()
    assert held.run(FakeReader.capture, soon(clock)) == "A1"


def test_an_identity_that_is_known_before_binds_the_first_opening(port: Port, clock: ManualClock) -> None:
    held = Reopening(port.open, clock, expected=OTHER)
    with pytest.raises(PermissionDenied):
        held.run(FakeReader.capture, soon(clock))
    assert port.held is None


def test_a_name_or_a_capability_makes_no_other_device(port: Port, clock: ManualClock) -> None:
    held = Reopening(port.open, clock, expected=replace(READER, name="other name", capabilities=frozenset({"image"})))
    assert held.run(FakeReader.capture, soon(clock)) == "A1"


def test_a_device_may_settle_while_it_comes_back(held: Reopening[FakeReader], port: Port, clock: ManualClock) -> None:
    work = unplugged_once(port, 1.0)
    held.run(FakeReader.capture, soon(clock))
    port.troubles = [PermissionDenied("udev is not done"), Busy("probed"), Disconnected("bounced"), NotFound("bounced")]
    assert held.run(work, soon(clock)) == "A1 in run 2"
    assert port.troubles == []


def test_one_that_does_not_open_in_time_after_it_came_back_is_lost(port: Port, clock: ManualClock) -> None:
    held = Reopening(port.open, clock)
    held.run(FakeReader.capture, soon(clock))
    port.troubles = [TimedOut("does not answer")]
    with pytest.raises(Disconnected):
        held.run(unplugged_once(port, 1.0), soon(clock))


def test_one_that_comes_back_as_something_else_says_so(
    held: Reopening[FakeReader], port: Port, clock: ManualClock
) -> None:
    held.run(FakeReader.capture, soon(clock))
    port.troubles = [ProtocolError("other descriptors")]
    with pytest.raises(ProtocolError):
        held.run(unplugged_once(port, 1.0), soon(clock))


@pytest.mark.parametrize(
    "error", [TimedOut("no finger"), ProtocolError("noise"), ValueError("a defect"), KeyboardInterrupt()]
)
def test_other_trouble_passes_and_the_device_stays_held(
    held: Reopening[FakeReader], port: Port, clock: ManualClock, error: BaseException
) -> None:
    def fail(_reader: FakeReader) -> None:
        raise error

    with pytest.raises(type(error)):
        held.run(fail, soon(clock))
    assert port.held is port.opened[0]
    held.close()
    assert port.held is None


def test_a_loose_contact_ends_at_the_deadline(held: Reopening[FakeReader], port: Port, clock: ManualClock) -> None:
    """It opens each time and fails each time, with one error object as with new ones."""
    always = Disconnected("loose")

    def fail(_reader: FakeReader) -> None:
        raise always

    with pytest.raises(Disconnected):
        held.run(fail, soon(clock))
    assert clock.now == pytest.approx(10.0, abs=0.01)
    assert port.held is None
    assert 10 < len(port.opened) < 60


def test_a_device_that_cannot_say_who_it_is_is_released(
    held: Reopening[FakeReader], port: Port, clock: ManualClock
) -> None:
    port.troubled_info = ProtocolError("no descriptor")
    with pytest.raises(ProtocolError):
        held.run(FakeReader.capture, soon(clock))
    assert port.held is None


def test_leaving_the_block_releases(port: Port, clock: ManualClock) -> None:
    with Reopening(port.open, clock) as held:
        held.run(FakeReader.capture, soon(clock))
    assert port.held is None


class Bus:
    """A driver that lists what a script says, look by look; an exception is raised."""

    kind = DeviceKind.FINGERPRINT

    def __init__(self, *looks: Sequence[DeviceInfo] | Exception) -> None:
        self.looks = list(looks)

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        look = self.looks.pop(0)
        if isinstance(look, Exception):
            raise look
        return look

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Any:
        raise NotFound("watching opens nothing")

    def watched(self, clock: ManualClock) -> list[PlugEvent]:
        return list(watch(self, {}, lambda: not self.looks, clock))


def test_arrivals_and_departures_are_told_once_each(clock: ManualClock) -> None:
    bus = Bus([READER], [READER], [READER, OTHER], [OTHER], [], [READER])
    assert bus.watched(clock) == [
        PlugEvent(READER, arrived=True),
        PlugEvent(OTHER, arrived=True),
        PlugEvent(READER, arrived=False),
        PlugEvent(OTHER, arrived=False),
        PlugEvent(READER, arrived=True),
    ]
    assert clock.now == pytest.approx(6.0)


def test_a_device_exchanged_between_two_looks_is_two_events(clock: ManualClock) -> None:
    assert Bus([READER], [OTHER]).watched(clock)[1:] == [
        PlugEvent(READER, arrived=False),
        PlugEvent(OTHER, arrived=True),
    ]


def test_a_device_that_goes_while_it_is_looked_at_does_not_end_the_watch(clock: ManualClock) -> None:
    bus = Bus([READER], Disconnected("while listing"), NotFound("while listing"), [])
    assert [event.arrived for event in bus.watched(clock)] == [True, False]


@pytest.mark.parametrize("error", [NotFound("nothing answers there"), Disconnected("nothing answers there")])
def test_a_place_that_is_gone_has_taken_its_devices_and_may_come_back(clock: ManualClock, error: DeviceError) -> None:
    bus = Bus([READER, OTHER], error, error, error, [READER], error, [READER])
    assert bus.watched(clock)[2:] == [
        PlugEvent(READER, arrived=False),
        PlugEvent(OTHER, arrived=False),
        PlugEvent(READER, arrived=True),
    ]


def test_a_bus_that_cannot_be_listed_ends_the_watch(clock: ManualClock) -> None:
    with pytest.raises(PermissionDenied):
        Bus([READER], PermissionDenied("no rights")).watched(clock)
