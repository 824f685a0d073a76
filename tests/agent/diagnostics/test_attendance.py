"""Presence before a diagnosis: through the shipped drivers, on a logind of the tests' own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import PresenceSection
from agent.diagnostics import attendance
from agent.errors import NobodyPresent
from hal import available_drivers
from simulators.devices.dbus import PrivateBus
from simulators.devices.logind_service import LogindService, SeatSession
from tests.agent.diagnostics.test_host import config
from tests.agent.test_cli import assert_plain_error, keyvigil, write_config

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs apt-get install dbus")


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as bus:
        yield bus


@pytest.fixture
def logind(bus: PrivateBus) -> Iterator[LogindService]:
    with LogindService(bus) as logind:
        yield logind


def presence(bus: PrivateBus, more: str = "") -> str:
    return f"""
    [presence]
    driver = "logind-seat"
    sha256 = "{available_drivers()["logind-seat"].sha256}"
    options = {{ bus = "{bus.address}" }}
    {more}
    """


def test_somebody_at_the_seat_may_go_on(bus: PrivateBus, logind: LogindService, tmp_path: Path) -> None:
    logind.log_in(SeatSession("2"))
    attendance.require_person(config(tmp_path, presence(bus)))


@pytest.mark.parametrize("more", ["", "required = false"])
def test_nobody_is_refused_also_where_presentations_do_not_insist(
    bus: PrivateBus, logind: LogindService, tmp_path: Path, more: str
) -> None:
    with pytest.raises(NobodyPresent) as refusal:
        attendance.require_person(config(tmp_path, presence(bus, more)))
    assert refusal.value.remedy


def test_without_a_presence_sensor_the_seat_is_asked(
    bus: PrivateBus, logind: LogindService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat = attendance._default_sensor()
    assert (seat.driver, seat.sha256) == ("logind-seat", available_drivers()["logind-seat"].sha256)
    here = PresenceSection(driver=seat.driver, sha256=seat.sha256, options={"bus": bus.address})
    monkeypatch.setattr(attendance, "_default_sensor", lambda: here)
    for given in (None, config(tmp_path)):
        with pytest.raises(NobodyPresent):
            attendance.require_person(given)
    logind.log_in(SeatSession("2"))
    for given in (None, config(tmp_path)):
        attendance.require_person(given)


def test_a_missing_default_driver_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "available_drivers", dict)
    with pytest.raises(NobodyPresent, match="logind-seat"):
        attendance.require_person(None)


def test_the_command_goes_on_with_somebody_there_and_not_without(
    bus: PrivateBus, logind: LogindService, tmp_path: Path
) -> None:
    """The whole process: without a sensor to show, what ends it is that there is nothing to show."""
    arguments = ["diag", "--live", "--seconds", "1", "--config", str(write_config(tmp_path, more=presence(bus)))]
    assert_plain_error(keyvigil(*arguments), 1, "nobody is logged in")
    logind.log_in(SeatSession("2"))
    assert_plain_error(keyvigil(*arguments), 1, "neither a microphone nor a camera")
