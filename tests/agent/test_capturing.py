"""A sensor with a person before it, through the shipped reader driver and a model of the reader."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from agent.capturing import Booth
from agent.clocks import StoppableClock
from agent.extension import PersonAbsent
from agent.modalities.fingerprint import Fingerprint
from agent.prompting import Step
from drivers.uru4000 import Uru4000Driver
from hal import Deadline, Device, Disconnected, PermissionDenied
from protocol.messages import SensorIdentity
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import InProcessBackend
from tests.agent.people import QuietPrompter


@dataclass
class Desk:
    """One USB port with readers that can stand at it, and the opened ones counted."""

    backend: InProcessBackend
    opened: int = 0

    def open_sensor(self, name: str, deadline: Deadline) -> Device:
        reader = Uru4000Driver(backend=self.backend).open({}, deadline)
        self.opened += 1
        return reader

    def identity_of(self, name: str, device: Device) -> SensorIdentity:
        info = device.info
        return SensorIdentity(
            kind=info.kind, driver=info.driver, driver_sha256="", transport="usb", port=info.port, serial=info.serial
        )


@dataclass
class Acting(QuietPrompter):
    """Does something when told the first time to place the finger, and places it whenever told."""

    model: Uru4000Model | None = None
    first: Callable[[], None] = lambda: None
    told: list[str] = field(default_factory=list)

    def instruct(self, step: Step) -> bool:
        self.told.append(step.action)
        if self.told.count("place") == 1 and step.action == "place":
            self.first()
        elif step.action == "place":
            assert self.model is not None
            self.model.place(finger(), self.model.field.dpi)
        return super().instruct(step)


def finger() -> Any:
    return np.random.default_rng(3).integers(0, 256, (355, 390), np.uint8)


def booth(desk: Desk, prompter: QuietPrompter) -> Booth:
    clock = StoppableClock(threading.Event())
    return Booth("node-a", "alice", "challenge", desk, {"fingerprint": Fingerprint({})}, prompter, clock)  # type: ignore[arg-type]


def replug(model: Uru4000Model) -> Callable[[], None]:
    def pull_and_plug() -> None:
        threading.Timer(0.05, model.unplug).start()
        threading.Timer(0.4, model.plug).start()

    return pull_and_plug


def test_a_reader_replugged_in_the_middle_of_a_capture_gives_the_impression_all_the_same() -> None:
    model = Uru4000Model("A1")
    desk, prompter = Desk(InProcessBackend([model])), Acting(model=model, first=replug(model))
    here = booth(desk, prompter)
    with here.session("fingerprint", 3, Deadline.after(20)) as session:
        (image,) = session.take(1)
    assert image.pixels.dtype == np.uint8
    assert desk.opened == 2
    assert prompter.told == ["place", "place"]
    assert here.seen["fingerprint"].serial == "A1"


def test_a_reader_that_stays_away_is_lost_by_the_deadline() -> None:
    model = Uru4000Model("A1")
    desk, prompter = Desk(InProcessBackend([model])), Acting(first=model.unplug)
    deadline = Deadline.after(0.6)
    with booth(desk, prompter).session("fingerprint", 3, deadline) as session, pytest.raises(Disconnected):
        session.take(1)
    assert deadline.remaining() == 0
    assert desk.opened == 1


def test_another_reader_in_its_place_is_refused_now_and_at_the_next_try() -> None:
    """Its samples would stand in evidence under the first one's name."""
    first, second = Uru4000Model("A1"), Uru4000Model("B2")
    desk = Desk(InProcessBackend([first]))

    def exchange() -> None:
        first.unplug()
        desk.backend = InProcessBackend([second])

    here = booth(desk, Acting(model=second, first=exchange))
    for _ in range(2):
        with here.session("fingerprint", 3, Deadline.after(5)) as session, pytest.raises(PermissionDenied):
            session.take(1)
    assert here.seen["fingerprint"].serial == "A1"
    with booth(desk, Acting(model=second, told=["place"])).session("fingerprint", 3, Deadline.after(5)) as session:
        assert len(session.take(1)) == 1  # somebody who begins with it may use it


def test_the_reader_is_free_after_the_session_whatever_happened() -> None:
    model = Uru4000Model("A1")
    desk = Desk(InProcessBackend([model]))
    for prompter in (Acting(model=model, told=["place"]), QuietPrompter(declines={"fingerprint"})):
        with booth(desk, prompter).session("fingerprint", 3, Deadline.after(5)) as session:
            try:
                session.take(1)
            except PersonAbsent:
                assert prompter.declines
        desk.open_sensor("fingerprint", Deadline.after(1)).close()
