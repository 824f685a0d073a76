"""Presence as the agent asks for it: through pinned drivers, before anything begins."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.config import Config, parse_config
from agent.devices import configured_options
from agent.enclave import EnclaveGate
from agent.errors import NobodyPresent
from agent.presence import check_presence_driver, presence_identity, require_presence
from agent.state import StateDirectory
from hal import Deadline, NotFound, PermissionDenied, available_drivers
from protocol.codec import decode
from protocol.evidence import EvidenceClaims, read_claims
from protocol.messages import EvidenceSubmission, PresenceClaim
from simulators.devices.dbus import PrivateBus
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.logind_service import LogindService, SeatSession
from tests.agent.daemon_site import Site, evidence, make_site, summons, until
from tests.agent.scripted_authority import served
from tests.agent.test_cli import assert_plain_error, keyvigil, write_config
from tests.agent.test_config import COMPLETE
from tests.drivers.test_evdev_button import run_with_keyboard

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs apt-get install dbus")
CONSOLE = SeatSession("2")
TICKET = "kvt1." + "0" * 16 + "." + "A" * 43


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as bus:
        yield bus


@pytest.fixture
def logind(bus: PrivateBus) -> Iterator[LogindService]:
    with LogindService(bus) as logind:
        yield logind


def section(driver: str, options: str, more: str = "") -> str:
    return f"""
    [presence]
    driver = "{driver}"
    sha256 = "{available_drivers()[driver].sha256}"
    options = {{ {options} }}
    {more}
    """


def seat_section(bus: PrivateBus, more: str = "") -> str:
    return section("logind-seat", f'bus = "{bus.address}"', more)


def configured(text: str = "") -> Config:
    return parse_config((COMPLETE + text).encode())


def soon() -> Deadline:
    return Deadline.after(20.0)


def test_without_a_section_nothing_is_asked() -> None:
    config = configured()
    assert require_presence(config, Deadline.after(0)) is None
    check_presence_driver(config)


def test_somebody_at_the_seat_is_present(bus: PrivateBus, logind: LogindService) -> None:
    logind.log_in(CONSOLE)
    found = require_presence(configured(seat_section(bus)), soon())
    assert found is not None
    assert found.kind == "seat"
    pin = available_drivers()["logind-seat"].sha256
    assert found.claim == PresenceClaim(kind="seat", driver="logind-seat", driver_sha256=pin, transport="virtual")


def test_the_sensor_is_named_when_joining(bus: PrivateBus, logind: LogindService) -> None:
    found = presence_identity(configured(seat_section(bus)))
    assert found is not None
    assert (found.kind, found.driver, found.transport) == ("presence", "logind-seat", "virtual")
    assert found.driver_sha256 == available_drivers()["logind-seat"].sha256
    assert presence_identity(configured()) is None


def test_a_node_does_not_join_without_the_sensor_that_its_configuration_names(bus: PrivateBus) -> None:
    with pytest.raises(NotFound) as caught:
        presence_identity(configured(seat_section(bus)))
    assert caught.value.remedy


def test_nobody_is_refused_with_a_remedy(bus: PrivateBus, logind: LogindService) -> None:
    with pytest.raises(NobodyPresent, match="nobody is logged in") as caught:
        require_presence(configured(seat_section(bus)), soon())
    assert "screen and keyboard" in caught.value.remedy


def test_nobody_is_only_noted_where_presence_is_not_required(bus: PrivateBus, logind: LogindService) -> None:
    config = configured(seat_section(bus, "required = false"))
    assert require_presence(config, soon()) is None
    logind.log_in(CONSOLE)
    assert require_presence(config, soon()) is not None


def test_a_sensor_that_cannot_tell_is_nobody(bus: PrivateBus) -> None:
    with pytest.raises(NobodyPresent, match="cannot be told") as caught:
        require_presence(configured(seat_section(bus)), soon())
    assert "systemd-logind" in caught.value.remedy


def test_a_sensor_that_stalls_is_nobody_in_time(bus: PrivateBus, logind: LogindService) -> None:
    logind.log_in(CONSOLE)
    logind.inject(FaultOrder(Fault.STALL))
    for text, deadline in (("", Deadline.after(0.3)), ("timeout_s = 0.3", soon())):
        started = time.monotonic()
        with pytest.raises(NobodyPresent):
            require_presence(configured(seat_section(bus, text)), deadline)
        assert time.monotonic() - started < 5


def test_a_driver_that_is_not_the_pinned_one_is_not_asked(bus: PrivateBus, logind: LogindService) -> None:
    logind.log_in(CONSOLE)
    text = seat_section(bus).replace(available_drivers()["logind-seat"].sha256, "f" * 64)
    with pytest.raises(NobodyPresent, match="pins"):
        require_presence(configured(text), soon())
    with pytest.raises(PermissionDenied, match="pins"):
        check_presence_driver(configured(text))


def test_a_driver_of_another_kind_is_refused() -> None:
    config = configured(section("fprintd", ""))
    with pytest.raises(NobodyPresent, match="fingerprint"):
        require_presence(config, soon())
    with pytest.raises(PermissionDenied):
        check_presence_driver(config)


def test_a_driver_that_is_not_installed_is_named() -> None:
    config = configured(section("fprintd", "").replace("fprintd", "badge"))
    with pytest.raises(NotFound, match="badge"):
        check_presence_driver(config)


def test_the_options_of_the_sensor_are_used_for_the_survey(bus: PrivateBus) -> None:
    assert configured_options(configured(seat_section(bus)))["logind-seat"] == {"bus": bus.address}


def test_the_driver_of_a_button_is_asked_through_its_pin() -> None:
    """The button itself is tested with its driver: here there is no input device, which is nobody."""
    config = configured(section("evdev-button", 'device = "/dev/input/by-path/none", key = 148'))
    with pytest.raises(NobodyPresent, match="cannot be told"):
        require_presence(config, soon(), lambda: pytest.fail("nobody can be asked to press it"))


@pytest.fixture
def site(tmp_path: Path, state: StateDirectory, gate: EnclaveGate, bus: PrivateBus) -> Iterator[Site]:
    """A joined node that insists on somebody at its seat."""
    with served(tmp_path) as authority:
        site = make_site(authority, state, gate)
        site.config = msgspec.structs.replace(site.config, presence=configured(seat_section(bus)).presence)
        yield site


def test_a_presentation_waits_for_somebody_at_the_machine(site: Site, logind: LogindService) -> None:
    site.authority.on_connect = [summons()]
    with site.running():
        until(lambda: any(note.outcome == "not-ready" for note in site.prompter.results))
        assert site.authority.seen("/v1/challenges/c1/begin") == []
        assert "screen and keyboard" in site.prompter.results[0].reason
        logind.log_in(CONSOLE)
        until(lambda: evidence(site))
    assert len(site.authority.seen("/v1/challenges/c1/begin")) == 1


def test_a_presentation_begins_at_once_with_somebody_there(site: Site, logind: LogindService) -> None:
    """The negative control of the one that waits."""
    logind.log_in(CONSOLE)
    site.authority.on_connect = [summons()]
    with site.running():
        until(lambda: evidence(site))
    assert "not-ready" not in {note.outcome for note in site.prompter.results}


def sent(site: Site) -> EvidenceClaims:
    """The claims of the evidence that the daemon sends."""
    site.authority.on_connect = [summons()]
    with site.running():
        until(lambda: evidence(site))
    return read_claims(decode(evidence(site)[0], EvidenceSubmission).token)


def test_evidence_says_how_somebody_was_seen_to_be_there(site: Site, logind: LogindService) -> None:
    logind.log_in(CONSOLE)
    claim = sent(site).presence
    assert isinstance(claim, PresenceClaim)
    assert (claim.kind, claim.driver, claim.transport) == ("seat", "logind-seat", "virtual")


def test_evidence_says_nothing_where_nobody_was_there_or_nothing_was_asked(
    site: Site, bus: PrivateBus, logind: LogindService
) -> None:
    lenient = configured(seat_section(bus, "required = false")).presence
    site.config = msgspec.structs.replace(site.config, presence=lenient)
    assert sent(site).presence is msgspec.UNSET


def test_evidence_of_a_node_without_a_sensor_says_nothing(site: Site) -> None:
    site.config = msgspec.structs.replace(site.config, presence=None)
    assert sent(site).presence is msgspec.UNSET


def test_enrolling_is_refused_with_nobody_there(tmp_path: Path, bus: PrivateBus, logind: LogindService) -> None:
    config = str(write_config(tmp_path, more=seat_section(bus)))
    (tmp_path / "ticket").write_text(TICKET)
    arguments = ["enroll", "--config", config, "--admin", "alice", "--ticket-file", str(tmp_path / "ticket")]
    assert_plain_error(keyvigil(*arguments), 1, "nobody is logged in")
    assert_plain_error(keyvigil(*arguments, "--unattended"), 1, "keyvigil join")
    logind.log_in(CONSOLE)
    assert_plain_error(keyvigil(*arguments), 1, "keyvigil join")


def test_the_environment_is_no_presence(
    bus: PrivateBus, logind: LogindService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bus of one's own, with a logind that says yes, does not count unless the configuration names it."""
    logind.log_in(SeatSession("2", user="conjured-up"))
    for name, value in {"DBUS_SYSTEM_BUS_ADDRESS": bus.address, "XDG_SEAT": "seat0", "XDG_SESSION_ID": "2"}.items():
        monkeypatch.setenv(name, value)
    try:
        found = require_presence(configured(section("logind-seat", "")), soon())
    except NobodyPresent:
        found = None
    assert "conjured-up" not in str(found)
    assert "conjured-up" in str(require_presence(configured(seat_section(bus)), soon()))


PRESSING = """
from pathlib import Path
from agent.config import parse_config
from agent.presence import require_presence
from hal import Deadline
config = parse_config(Path("agent.toml").read_bytes())
print(require_presence(config, Deadline.after(5), lambda: print("press it")).kind)
"""


@pytest.mark.skipif(shutil.which("umockdev-run") is None, reason="needs apt-get install umockdev")
def test_a_button_is_asked_for_and_pressed(tmp_path: Path) -> None:
    text = section("evdev-button", 'device = "/dev/input/event5", key = 28')
    (tmp_path / "agent.toml").write_text(COMPLETE + text)
    done = run_with_keyboard(tmp_path, PRESSING)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-3:-1] == ["press it", "button"]
