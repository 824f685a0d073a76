"""A screen as a light: what is visible gets the colour, nothing else is touched, and all of it comes back."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from drivers.framebuffer import FramebufferDisplay, FramebufferDriver
from drivers.framebuffer._layout import FIXED, VARIABLE, parse_layout
from hal import (
    Busy,
    Colour,
    Deadline,
    Device,
    DeviceError,
    DeviceKind,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
    Transport,
    Unsupported,
    available_drivers,
)
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.framebuffer import PALETTE, RGB565, RGB888, XRGB8888, Framebuffer, ScreenMode
from tests.drivers.system_bus import soon
from tests.leaks import leaked, open_descriptors

ORANGE = Colour(231, 120, 33)
MODES = [XRGB8888, RGB888, RGB565]


@pytest.fixture
def screen() -> Iterator[Framebuffer]:
    with Framebuffer() as screen:
        yield screen


def driver(screen: Framebuffer) -> FramebufferDriver:
    return FramebufferDriver(screen.devices, screen.devices, screen.ioctl)


def opened(screen: Framebuffer) -> FramebufferDisplay:
    return driver(screen).open({"device": str(screen.device)})


def test_a_screen_says_who_it_is(screen: Framebuffer) -> None:
    (listed,) = driver(screen).list({})
    with opened(screen) as display:
        assert isinstance(display, Device)
        assert display.info.same_device(listed)
        assert (display.info.kind, display.info.name) == (DeviceKind.DISPLAY, "simulated")
        assert display.info.transport is Transport.VIRTUAL


def test_the_driver_is_offered_by_its_name() -> None:
    assert available_drivers()["framebuffer"].module == "drivers.framebuffer"


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: str(mode.depth))
def test_what_is_visible_gets_the_colour_and_comes_back(mode: ScreenMode) -> None:
    with Framebuffer(mode) as screen:
        before, pattern = screen.memory, screen.shown()
        with opened(screen) as display:
            began = display.fill(ORANGE, soon())
            assert display.fill(ORANGE, soon()) >= began
            seen = screen.shown()
            assert np.abs(seen - np.array([231, 120, 33]) / 255).max() <= 0.5 / 31 + 1e-9
            assert (seen == seen[0, 0]).all()
            assert not (pattern == pattern[0, 0]).all()
            outside = np.frombuffer(before, np.uint8).reshape(-1, mode.pitch)[: mode.top]
            assert screen.memory[: outside.size] == outside.tobytes()
        assert screen.memory == before


def test_bytes_beside_the_visible_pixels_are_left_alone() -> None:
    with Framebuffer(RGB888) as screen, opened(screen) as display:
        before = np.frombuffer(screen.memory, np.uint8).reshape(-1, RGB888.pitch)
        display.fill(ORANGE, soon())
        after = np.frombuffer(screen.memory, np.uint8).reshape(-1, RGB888.pitch)
        assert (after[:, -RGB888.padding :] == before[:, -RGB888.padding :]).all()
        assert (after[:, : -RGB888.padding] != before[:, : -RGB888.padding]).any()


def test_what_was_shown_comes_back_after_a_failure(screen: Framebuffer) -> None:
    before = screen.memory
    with pytest.raises(RuntimeError), opened(screen) as display:
        display.fill(ORANGE, soon())
        assert screen.memory != before
        raise RuntimeError
    assert screen.memory == before


def test_a_fill_that_is_late_says_so_and_is_undone(screen: Framebuffer) -> None:
    before = screen.memory
    with opened(screen) as display, pytest.raises(TimedOut):
        display.fill(ORANGE, Deadline.after(0))
    assert screen.memory == before


def test_one_claimant_at_a_time(screen: Framebuffer) -> None:
    with opened(screen), pytest.raises(Busy, match="claiming"):
        opened(screen)
    opened(screen).close()


def test_closing_twice_is_allowed_and_a_closed_screen_shows_nothing(screen: Framebuffer) -> None:
    display = opened(screen)
    display.close()
    display.close()
    with pytest.raises(Disconnected):
        display.fill(ORANGE, soon())


def test_another_mode_than_at_the_opening_is_left_alone(screen: Framebuffer, caplog: pytest.LogCaptureFixture) -> None:
    display = opened(screen)
    screen.mode = replace(XRGB8888, width=32)
    before = screen.memory
    with pytest.raises(Disconnected, match="changed its mode"):
        display.fill(ORANGE, soon())
    display.close()
    assert screen.memory == before
    assert "does not show again" in caplog.text


def test_a_screen_that_goes_away(screen: Framebuffer) -> None:
    display = opened(screen)
    screen.inject(FaultOrder(Fault.UNPLUG))
    with pytest.raises(Disconnected):
        display.fill(ORANGE, soon())
    display.close()
    with pytest.raises(Disconnected):
        opened(screen)
    screen.mend()
    opened(screen).close()


def test_memory_that_ends_early_is_an_error(screen: Framebuffer) -> None:
    screen.inject(FaultOrder(Fault.SHORT_READ))
    with pytest.raises(Disconnected, match="before its last line"):
        opened(screen)


def test_a_screen_that_lies_about_its_memory_is_not_written(screen: Framebuffer) -> None:
    before = screen.memory
    screen.inject(FaultOrder(Fault.WRONG_DESCRIPTOR))
    with pytest.raises(ProtocolError, match="do not fit"):
        opened(screen)
    assert screen.memory == before


def test_a_palette_has_no_colours_of_its_own() -> None:
    with Framebuffer(PALETTE) as screen, pytest.raises(Unsupported, match="8 bits") as caught:
        opened(screen)
    assert "video=" in caught.value.remedy


def test_a_node_that_is_no_framebuffer_or_not_there(screen: Framebuffer) -> None:
    other = screen.devices / "other"
    other.write_bytes(b"\0" * 64)
    with pytest.raises(Unsupported) as caught:
        driver(screen).open({"device": str(other)})
    assert "/dev/fb0" in caught.value.remedy
    with pytest.raises(NotFound) as missing:
        driver(screen).open({"device": str(screen.devices / "fb9")})
    assert "[display]" in missing.value.remedy
    assert driver(screen).list({"device": str(screen.devices / "fb9")}) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_screen_that_may_not_be_used(screen: Framebuffer, number: int) -> None:
    def refusing(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with pytest.raises(PermissionDenied) as caught:
        FramebufferDriver(screen.devices, screen.devices, refusing).open({})
    assert "group video" in caught.value.remedy


@pytest.mark.parametrize("options", [{"screen": "x"}, {"device": "fb0"}, {"device": 3}, {"device": "/a\0"}])
def test_options_are_checked(screen: Framebuffer, options: dict[str, object]) -> None:
    with pytest.raises(DeviceError, match="option"):
        driver(screen).list(options)


def test_nothing_is_leaked(screen: Framebuffer) -> None:
    before = open_descriptors()
    for _ in range(20):
        with opened(screen) as display:
            display.fill(ORANGE, soon())
        screen.inject(FaultOrder(Fault.WRONG_DESCRIPTOR))
        with pytest.raises(ProtocolError):
            opened(screen)
        screen.mend()
    assert not leaked(before, 20)


def test_whatever_the_kernel_says_is_a_layout_or_an_error_of_ours() -> None:
    rng = np.random.default_rng(3)
    with Framebuffer() as screen:
        sound = bytearray(screen._variable()), bytearray(screen._fixed())
    outcomes = set()
    for _ in range(3000):
        variable, fixed = (bytearray(part) for part in sound)
        for part in (variable, fixed):
            at = int(rng.integers(0, len(part)))
            part[at] = int(rng.integers(0, 256))
        try:
            layout = parse_layout(bytes(variable), bytes(fixed))
            assert len(layout.pixel(ORANGE)) == layout.depth // 8
            assert layout.size <= 256 * 1024 * 1024
            outcomes.add("layout")
        except (Unsupported, ProtocolError) as error:
            outcomes.add(type(error).__name__)
    assert outcomes == {"layout", "Unsupported", "ProtocolError"}


def test_the_structures_are_as_long_as_the_kernel_has_them() -> None:
    assert (VARIABLE.size, FIXED.size) == (160, 80)
