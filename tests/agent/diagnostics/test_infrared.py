"""What is said of an infrared camera: that it is one, how its emitter's light is, or that it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agent.config import parse_config
from agent.devices import DeviceReport
from agent.diagnostics import Finding, Severity, infrared
from agent.diagnostics.inventory import Inventory
from agent.diagnostics.targets import WITHOUT_INFRARED, configured_targets
from hal import Busy, Capability, DeviceInfo, DeviceKind, Frame, NotFound, Transport, available_drivers
from tests.agent.test_config import COMPLETE

DARK, LIT = 30, 120


def pictures(*levels: int) -> Iterator[Frame]:
    noise = np.random.default_rng(1)
    for number, level in enumerate(levels):
        grey = np.clip(level + noise.integers(-40, 40, (480, 640, 1)), 0, 255).astype(np.uint8)
        yield Frame(np.repeat(grey, 3, axis=2), number, number * 33_000_000)


def camera(ability: Capability = Capability.INFRARED) -> Any:
    info = DeviceInfo(DeviceKind.CAMERA, "opencv", Transport.V4L2, "video2", capabilities=frozenset({ability}))
    return SimpleNamespace(info=info)


def found(*levels: int, strobe: bool = True, ability: Capability = Capability.INFRARED) -> dict[str, Finding]:
    said = infrared.examine(camera(ability), pictures(*levels), "infrared (opencv)", strobe=strobe)
    return {finding.id: finding for finding in said}


@pytest.mark.parametrize("levels", [(DARK, LIT) * 5, (LIT, DARK, DARK) * 3 + (DARK,)])
def test_an_emitter_that_comes_and_goes_is_well_and_judged_by_its_light(levels: tuple[int, ...]) -> None:
    """The last picture is a dark one, and no reason to make light."""
    said = found(*levels)
    assert said["infrared.strobe"].severity is Severity.OK
    assert said["infrared.strobe"].facts["light"] > 80
    assert "camera.light" not in said
    assert found(DARK)["camera.light"].severity is Severity.WARNING


@pytest.mark.parametrize("level", [DARK, LIT])
def test_an_emitter_that_is_off_or_always_on_is_told_with_its_remedy(level: int) -> None:
    finding = found(*[level] * 10)["infrared.strobe"]
    assert finding.severity is Severity.WARNING
    assert "strobe = false" in finding.remedy
    assert found(*[level] * 10, strobe=False)["infrared.strobe"].severity is Severity.OK


def test_a_light_that_nobody_looks_at_is_told() -> None:
    finding = found(DARK, LIT, DARK, LIT, strobe=False)["infrared.strobe"]
    assert (finding.severity, "strobe = true" in finding.remedy) == (Severity.INFO, True)


def test_a_camera_that_sees_colour_is_an_error_and_not_measured() -> None:
    said = found(DARK, LIT, ability=Capability.RGB)
    assert [*said] == ["infrared.kind"]
    assert said["infrared.kind"].severity is Severity.ERROR


def test_what_a_missing_one_means_is_said_and_a_busy_one_is_not_missing() -> None:
    assert infrared.remedy_of(NotFound("no such node", remedy="Plug it in.")) == f"Plug it in. {WITHOUT_INFRARED}"
    assert infrared.remedy_of(Busy("in use", remedy="Close it.")) == "Close it."


SECTION = f'\n[infrared]\ndriver = "opencv"\nsha256 = "{available_drivers()["opencv"].sha256}"\nstrobe = false\n'


@pytest.mark.parametrize(("abilities", "wrong"), [([Capability.RGB], 1), ([Capability.RGB, Capability.INFRARED], 0)])
def test_the_inventory_misses_it_where_no_attached_camera_is_one(abilities: list[Capability], wrong: int) -> None:
    config = parse_config((COMPLETE + SECTION).encode())
    report = DeviceReport("opencv", available_drivers()["opencv"].sha256, tuple(camera(one).info for one in abilities))
    said = [one for one in Inventory.of(config, [report], [], []).findings if one.subject == "infrared"]
    assert [one.id for one in said] == ["device.attached"] * wrong
    assert all(one.remedy == WITHOUT_INFRARED for one in said)


def test_it_is_a_device_of_its_own_with_what_the_configuration_says_of_it() -> None:
    targets = {target.name: target.strobe for target in configured_targets(parse_config((COMPLETE + SECTION).encode()))}
    assert targets["infrared"] is False
    assert {strobe for name, strobe in targets.items() if name != "infrared"} == {None}
