"""Colours that a face sent back: told from other colours, from none, and from those that only lie over it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.biometrics.liveness.light import COLOURS, NEUTRAL, decode, lit
from agent.biometrics.liveness.reflection import BURNT, DIM, FLAT, OTHER, Reflection
from protocol.flashes import MOST_FLASHES, Hue, flash_row, flash_rows
from tests.agent.biometrics.liveness.acting import STRAIGHT as HEAD
from tests.agent.biometrics.liveness.lighting import ROW, Studio, judged

CANDLE = np.array([2.0, 1.0, 0.5])
"""Light with a quarter of blue for its red."""


@pytest.mark.parametrize("number", range(0, 480, 37))
def test_the_colours_that_were_shown_are_found(number: int) -> None:
    row = flash_row(number, 4)
    seen = Studio().look(row)
    assert seen.refusal(row) == ""
    assert seen.named == row
    assert seen.relief == pytest.approx(1.0, abs=0.2)


def test_no_other_row_passes_for_the_one_that_was_shown() -> None:
    """Whatever was recorded, be it but for one colour of four the same."""
    for shown, every in ((ROW, 1), (flash_row(7, 4), 7), (flash_row(301, 4), 7)):
        rows, windows = [flash_row(number, 4) for number in range(0, flash_rows(4), every)], Studio().windows(shown)
        passed = [drawn for drawn in rows if not judged(drawn, windows).refusal(drawn)]
        assert passed == [shown]


@pytest.mark.parametrize("count", [3, 5, MOST_FLASHES])
def test_rows_of_other_lengths_are_told_apart_too(count: int) -> None:
    rng = np.random.default_rng(2)
    rows = [flash_row(int(number), count) for number in rng.integers(0, flash_rows(count), 40)]
    seen = Studio().windows(rows[0])
    assert {drawn for drawn in rows if not judged(drawn, seen).refusal(drawn)} == {rows[0]}


def test_light_of_another_colour_in_the_room_does_not_matter() -> None:
    assert Studio(tint=CANDLE).refusal(ROW) == ""
    assert Studio(tint=CANDLE).refusal(ROW, flash_row(11, 4)) == OTHER


def test_exposure_and_white_balance_that_wander_fall_out_by_the_background() -> None:
    for seed in range(5):
        assert Studio(balance=0.2, seed=seed).refusal(ROW) == ""
        assert Studio(balance=0.2, seed=seed, walled=False).refusal(ROW) == OTHER


def test_a_drift_of_colour_falls_out_by_what_is_seen_before_and_after() -> None:
    assert Studio(drift=np.array([0.02, 0.0, -0.02])).refusal(ROW) == ""


def test_without_a_background_a_steady_camera_is_enough() -> None:
    assert Studio(walled=False).refusal(ROW) == ""


def test_a_room_so_bright_that_the_screen_does_nothing_is_told() -> None:
    assert Studio(screen=0.02).refusal(ROW) == DIM


def test_what_gives_its_own_light_sends_nothing_back() -> None:
    assert Studio(screen=0.0).refusal(ROW) == DIM


@pytest.mark.parametrize("veil", [0.02, 0.1, 0.3])
def test_a_mirror_image_over_a_face_is_told_from_light_on_it(veil: float) -> None:
    """It is as strong and has the right colours: only dark parts take as much of it as bright ones."""
    seen = Studio(screen=0.0, veil=veil).look(ROW)
    assert seen.named == ROW and seen.agreement > 0.95 and seen.strength > 0.02
    assert seen.refusal(ROW) == FLAT


def test_a_face_of_one_colour_all_over_has_no_relief_to_go_by() -> None:
    studio = Studio()
    studio._parts = np.ones_like(studio._parts)
    assert studio.refusal(ROW) == FLAT


def test_no_colour_is_a_saturated_red_or_brighter_than_white_paper() -> None:
    """WCAG 2.3.1 has a saturated red from 0.8 of the sum on."""
    for hue in Hue:
        red, green, blue = decode(COLOURS[hue])
        assert red / (red + green + blue) < 0.8
        assert max(red, green, blue) < 0.85
    assert len({*decode(NEUTRAL)}) == 1


def test_a_frame_gives_the_light_of_its_face_and_of_what_is_beside_it() -> None:
    picture = np.full((480, 640, 3), (120, 120, 120), np.uint8)
    picture[100:460, 230:410] = (200, 150, 120)
    seen = lit(picture, HEAD)
    assert seen.background is not None
    assert seen.background == pytest.approx(np.full(3, 0.188), abs=0.002)
    assert seen.face[16, 16] == pytest.approx([0.578, 0.305, 0.188], abs=0.01)
    assert seen.usable.all()


def test_what_is_burnt_out_is_left_out() -> None:
    picture = np.full((480, 640, 3), (120, 120, 120), np.uint8)
    picture[100:460, 230:320] = (255, 150, 120)
    seen = lit(picture, HEAD)
    assert not seen.usable[:, :14].any()
    assert seen.usable[:, 18:].all()


def test_a_face_half_burnt_out_is_judged_by_its_other_half() -> None:
    assert Studio(burnt=0.5).refusal(ROW) == ""
    assert Studio(burnt=0.5).refusal(ROW, flash_row(11, 4)) == OTHER
    assert Studio(burnt=0.5).refusal(ROW, flash_row(11, 4)) != BURNT


def test_of_a_face_that_is_mostly_burnt_out_that_is_said() -> None:
    assert Studio(burnt=0.98).refusal(ROW) == BURNT
    assert Studio(burnt=0.75).refusal(ROW, flash_row(11, 4)) == BURNT


@pytest.mark.parametrize("wall", [0, 255])
def test_a_wall_that_is_black_or_burnt_out_is_no_background(wall: int) -> None:
    picture = np.full((480, 640, 3), wall, np.uint8)
    picture[100:460, 230:410] = (200, 150, 120)
    assert lit(picture, HEAD).background is None


SOUND = Reflection(strength=0.1, agreement=0.98, named=ROW, relief=0.9)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (SOUND, ""),
        (replace(SOUND, strength=0.01), DIM),
        (replace(SOUND, named=(*ROW[:3], ROW[0])), OTHER),
        (replace(SOUND, agreement=0.8), OTHER),
        (replace(SOUND, agreement=-0.99), OTHER),
        (replace(SOUND, relief=0.1), FLAT),
        (replace(SOUND, relief=-3.0), FLAT),
    ],
)
def test_each_measure_alone_refuses(spoilt: Reflection, said: str) -> None:
    assert spoilt.refusal(ROW) == said
