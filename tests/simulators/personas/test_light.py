"""The light of a screen on a rendered face: more of it where it is near and faces the screen, none without one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from simulators.attacks import FaceAttack, face_attack
from simulators.personas import Light, Room, Shown, shipped_personas
from simulators.personas._face import AnimatedFace
from simulators.personas._light import linear

RED = Light(Room(follows=0.0), (Shown((231, 97, 97), 0.0),))


@pytest.fixture(scope="module")
def face() -> AnimatedFace:
    return shipped_personas()[1].face  # type: ignore[attr-defined, no-any-return]


def seen(face: AnimatedFace, light: Light | None, seconds: float = 1.0) -> np.ndarray:
    return np.asarray(face.perform(seconds, (), 0, light=light), np.float64)


def test_without_light_every_picture_is_as_it_was(face: AnimatedFace) -> None:
    assert (seen(face, None) == face.perform(1.0, (), 0)).all()
    assert (seen(face, Light(Room())) == seen(face, None)).all()


def test_red_light_makes_the_face_redder_than_the_wall(face: AnimatedFace) -> None:
    before, after = (cv2.GaussianBlur(seen(face, light), (0, 0), 5) for light in (None, RED))
    share = (after + 1) / (before + 1)
    cheek, wall = share[300, 320], share[60, 60]
    assert cheek[2] > cheek[0] + 0.04
    assert abs(wall[2] - wall[0]) < 0.03


def test_light_comes_after_the_screen_was_filled(face: AnimatedFace) -> None:
    late = Light(Room(), (Shown((231, 97, 97), 0.97),))
    assert (seen(face, late) == seen(face, None)).all()
    assert (seen(face, late, 1.1) != seen(face, None, 1.1)).any()


def test_a_camera_follows_and_the_colour_fades() -> None:
    light = Light(Room(follows=0.7, follows_s=1.0), (Shown((231, 97, 97), 0.0),))
    early, late = light.gains(0.2), light.gains(5.0)
    assert late[2] < early[2] < 1.0
    assert late[2] < late[0]


def test_coloured_light_of_the_room_makes_the_screen_count_otherwise() -> None:
    lamp = Light(Room(tint=(2.0, 1.0, 0.5)), (Shown((160, 160, 160), 0.0),))
    blue, green, red = lamp.added(1.0)
    assert blue == pytest.approx(2 * green) == pytest.approx(4 * red)


def test_linear_light_is_that_of_the_standard() -> None:
    assert linear((0, 188, 255)) == pytest.approx([0.0, 0.5, 1.0], abs=0.005)


def test_a_picture_on_a_screen_has_its_own_light_and_mirrors_as_much_in_its_dark_parts(face: AnimatedFace) -> None:
    scene = face_attack("displayed-video", FaceAttack(face, face, (), 1))
    dark, lit = (scene.picture(1.0, (), light) for light in (Light(RED.room), RED))
    assert dark is not None and lit is not None
    added = (linear_of(lit) - linear_of(dark))[100:400, 200:440, 2].reshape(-1)
    bright = linear_of(dark)[100:400, 200:440, 2].reshape(-1)
    low, high = np.quantile(bright, [0.1, 0.7])
    assert added[bright < low].mean() > 0.8 * added[bright > high].mean() > 0.005
    on_skin = (linear_of(seen(face, RED)) - linear_of(seen(face, None)))[100:400, 200:440, 2].reshape(-1)
    assert on_skin[bright < low].mean() < 0.5 * on_skin[bright > high].mean()


def test_a_print_takes_the_light_as_skin_does_all_over(face: AnimatedFace) -> None:
    scene = face_attack("still-photo", FaceAttack(face, face, (), 1))
    dark, lit = (scene.picture(1.0, (), light) for light in (Light(RED.room), RED))
    assert dark is not None and lit is not None
    share = (linear_of(lit) + 1e-3) / (linear_of(dark) + 1e-3)
    assert np.median(share[:100, :, 2]) == pytest.approx(np.median(share[200:400, :, 2]), rel=0.03)


def linear_of(picture: np.ndarray) -> np.ndarray:
    return np.asarray(linear(np.asarray(picture, np.uint8)), np.float64)
