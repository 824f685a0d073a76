"""A screen that sends out less light: the share that was asked for, of the same hue, and given back as it was."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from agent.biometrics.liveness.light import COLOURS, NEUTRAL, decode
from agent.config import ConfigError, parse_config
from agent.dimming import Dimmed, dimmed
from hal import Colour, Device
from simulators.devices.framebuffer import Framebuffer
from tests.agent.test_config import COMPLETE
from tests.agent.test_display import devices, section
from tests.drivers.system_bus import soon
from tests.drivers.test_framebuffer import driver, opened

STEP = 0.5 / 255
"""Of an sRGB part: what rounding may change."""


@pytest.fixture
def screen() -> Iterator[Framebuffer]:
    with Framebuffer() as screen:
        yield screen


@pytest.mark.parametrize("brightness", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("colour", [*COLOURS.values(), NEUTRAL], ids=str)
def test_the_light_of_every_part_is_that_share(colour: Colour, brightness: float) -> None:
    got = decode(dimmed(colour, brightness))
    steepest = 2.4 / 1.055
    np.testing.assert_allclose(got, brightness * decode(colour), atol=steepest * STEP)
    assert brightness < 1 or dimmed(colour, brightness) == colour


def test_a_dimmed_screen_shows_the_dimmed_colour_and_is_given_back(screen: Framebuffer) -> None:
    before = screen.memory
    with Dimmed(opened(screen), 0.25) as display:
        assert isinstance(display, Device)
        display.fill(NEUTRAL, soon())
        assert dimmed(NEUTRAL, 0.25).red < NEUTRAL.red
        np.testing.assert_allclose(screen.shown(), dimmed(NEUTRAL, 0.25).red / 255)
    assert screen.memory == before


@pytest.mark.parametrize(("written", "share"), [("", 1.0), ("brightness = 0.25\n", 0.25)])
def test_the_configuration_says_how_bright(
    written: str, share: float, screen: Framebuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.devices._display_driver", lambda _section: driver(screen))
    options = f'device = "{screen.device}"'
    with devices(section(options=options) + written).open_display(soon()) as display:
        display.fill(NEUTRAL, soon())
        np.testing.assert_allclose(screen.shown(), dimmed(NEUTRAL, share).red / 255)


@pytest.mark.parametrize("brightness", ["0", "0.04", "1.01", "-1", "nan", '"half"'])
def test_another_brightness_is_refused_by_name(brightness: str) -> None:
    with pytest.raises(ConfigError, match="brightness"):
        parse_config((COMPLETE + section() + f"brightness = {brightness}\n").encode())
