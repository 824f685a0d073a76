"""The screen as the agent has it: by the configuration, pinned, told to the authority, and claimed when it was used."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.config import ConfigError, parse_config
from agent.devices import Devices, configured_options
from agent.enclave import EnclaveGate
from agent.modalities.face import Face
from agent.state import StateDirectory
from hal import Colour, Deadline, Disconnected, Frame, NotFound, PermissionDenied, available_drivers
from protocol.codec import decode
from protocol.evidence import read_claims
from protocol.messages import BeginRequest, EvidenceSubmission, FlashClaim
from tests.agent.daemon_site import evidence, make_site, summons, until
from tests.agent.people import modalities
from tests.agent.scripted_authority import served
from tests.agent.test_config import COMPLETE
from tests.agent.test_presentation import GENUINE, Stage, stage

__all__ = ["stage"]

HUES = ["red", "green", "blue", "yellow"]


def section(driver: str = "framebuffer", sha256: str | None = None, options: str = "") -> str:
    pin = available_drivers()[driver].sha256 if sha256 is None else sha256
    return f'\n[display]\ndriver = "{driver}"\nsha256 = "{pin}"\noptions = {{ {options} }}\n'


def devices(text: str) -> Devices:
    return Devices(parse_config((COMPLETE + text).encode()), modalities())


def test_a_node_without_a_display_table_has_no_screen() -> None:
    assert devices("").display() is None
    with pytest.raises(NotFound, match="no screen is configured"):
        devices("").open_display(Deadline.after(1))


def test_a_screen_that_is_configured_and_missing_is_told() -> None:
    configured = devices(section(options='device = "/dev/no-such-screen"'))
    with pytest.raises(NotFound, match="is not there"):
        configured.display()
    with pytest.raises(NotFound) as caught:
        configured.open_display(Deadline.after(1))
    assert "[display]" in caught.value.remedy


def test_options_of_the_screen_are_shown_by_devices() -> None:
    config = parse_config((COMPLETE + section(options='device = "/dev/fb1"')).encode())
    assert configured_options(config)["framebuffer"] == {"device": "/dev/fb1"}


def test_another_package_than_the_pinned_one_is_not_used() -> None:
    with pytest.raises(PermissionDenied, match="pins"):
        devices(section(sha256="0" * 64)).display()


def test_a_driver_of_another_kind_is_no_screen() -> None:
    with pytest.raises(PermissionDenied) as caught:
        devices(section("logind-seat")).display()
    assert "kind display" in caught.value.remedy


def test_a_key_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="required"):
        parse_config((COMPLETE + section() + "required = true\n").encode())


class Lamp:
    """A screen that notes what it was asked for."""

    def __init__(self) -> None:
        self.colours: list[Colour] = []
        self.closed = 0

    def fill(self, colour: Colour, deadline: Deadline) -> int:
        self.colours.append(colour)
        return deadline.clock.monotonic_ns()

    def __enter__(self) -> Lamp:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1


class LitFace(Face):
    """Lights whoever shows their face, as often as there are colours."""

    failing = False

    def captures(self, sensor: Any) -> Generator[Sequence[Frame], None, None]:
        if sensor.flashes:
            with sensor.screen() as screen:
                for _ in sensor.flashes:
                    screen.fill(Colour(1, 2, 3), sensor.deadline)
                if self.failing:
                    raise Disconnected("the screen went away")
        yield from super().captures(sensor)


def presented(stage: Stage, lamp: Lamp | None, hues: list[str] | msgspec.UnsetType, failing: bool = False) -> Any:
    face = LitFace({"liveness": False})
    face.failing = failing
    senses = modalities() | {"face": face}
    answer = stage.present(GENUINE, modalities=senses, lamp=lamp, activation={"flashes": hues})
    assert answer.evidence is not None
    return read_claims(answer.evidence.token)


def test_evidence_says_that_the_face_was_judged_by_the_colours_and_what_showed_them(stage: Stage) -> None:
    lamp = Lamp()
    claims = presented(stage, lamp, HUES)
    assert claims.flashes == FlashClaim(count=4, driver="fake-screen", driver_sha256="0" * 64, transport="virtual")
    assert (len(lamp.colours), lamp.closed) == (4, 1)


def test_evidence_says_nothing_where_none_were_drawn(stage: Stage) -> None:
    lamp = Lamp()
    assert presented(stage, lamp, msgspec.UNSET).flashes is msgspec.UNSET
    assert lamp.colours == []


def test_a_face_whose_screen_failed_is_left_out_and_so_is_the_claim(stage: Stage) -> None:
    lamp = Lamp()
    claims = presented(stage, lamp, HUES, failing=True)
    assert [model.modality for model in claims.modalities] == ["fingerprint", "voice"]
    assert claims.flashes is msgspec.UNSET
    assert lamp.closed == 1


@pytest.mark.parametrize("screen", [True, False])
def test_the_daemon_says_that_it_has_a_screen_and_lights_the_face_with_it(
    tmp_path: Path, state: StateDirectory, gate: EnclaveGate, screen: bool
) -> None:
    """Colours that nobody asked for are not shown where there is no screen."""
    lamp = Lamp()
    with served(tmp_path) as authority:
        site = make_site(authority, state, gate)
        site.devices.lamp = lamp if screen else None  # type: ignore[assignment]
        site.hues = HUES if screen else msgspec.UNSET
        site.senses = modalities() | {"face": LitFace({"liveness": False})}
        site.authority.on_connect = [summons()]
        with site.running():
            until(lambda: evidence(site))
        begun = site.authority.seen("/v1/challenges/c1/begin")[0]
        claims = read_claims(decode(evidence(site)[0], EvidenceSubmission).token)
    assert decode(begun, BeginRequest).screen is (True if screen else msgspec.UNSET)
    assert (claims.flashes is not msgspec.UNSET) is screen
    assert len(lamp.colours) == (len(HUES) if screen else 0)
