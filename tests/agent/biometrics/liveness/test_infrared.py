"""A second camera: the same head, moved alike, lit by the emitter as something near is and what is behind it is not."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from agent.biometrics._dlib import Box
from agent.biometrics.liveness.continuity import FROZEN
from agent.biometrics.liveness.infrared import APART, BESIDE, UNLIT, UNSEEN, Pair, Witness, read_pair
from hal import Frame
from protocol.gestures import Gesture
from tests.agent.biometrics.liveness.acting import SHOWN, STRAIGHT

TURNED, TILTED = SHOWN[Gesture.TURN_LEFT], SHOWN[Gesture.TILT_LEFT]


class Finder:
    """Finds one head where it is told to, or none."""

    def __init__(self) -> None:
        self.head = STRAIGHT
        self.seen = True

    def detect_straight(self, rgb: np.ndarray) -> list[Box]:
        assert rgb.dtype == np.uint8 and rgb.shape[2] == 3
        return [Box(260, 180, 380, 330, 1.0)] if self.seen else []

    def points(self, rgb: np.ndarray, box: Box) -> np.ndarray:
        """The five points of which `Landmarks` make that head again."""
        head, angle = self.head, np.radians(self.head.roll)
        along = np.array([np.cos(angle), np.sin(angle)])
        down = np.array([-along[1], along[0]])
        middle = np.array([head.x, head.y])
        left, right = middle - along * head.size / 2, middle + along * head.size / 2
        nose = middle + head.size * (head.yaw * along + head.height * down)
        corner = 0.15 * head.size * along
        return np.array([left - corner, left + corner, right + corner, right - corner, nose])


def pair(face: float = 90.0, beside: float = 15.0, dark: float = 20.0) -> Pair:
    """A lit face before a room, and both in the dark."""
    light = np.full((480, 640), beside)
    light[160:340, 230:410] = face
    return Pair(frame_of(dark + light), frame_of(np.full((480, 640), dark)))


NUMBERS = count()


def frame_of(grey: np.ndarray) -> Frame:
    """A frame like no other: its number is in its first pixels."""
    number, picture = next(NUMBERS), np.clip(grey, 0, 255).astype(np.uint8)
    picture[0, :2] = number % 256, number // 256
    return Frame(np.repeat(picture[:, :, np.newaxis], 3, axis=2), number, number, infrared=True)


@pytest.fixture
def finder() -> Finder:
    return Finder()


def after(finder: Finder, colour: object, infrared: object) -> str:
    """What is said of both heads, once both were straight."""
    witness = Witness(finder)
    finder.head = replace(STRAIGHT, x=300.0, size=56.0, yaw=STRAIGHT.yaw + 0.03)
    assert witness.straight(STRAIGHT, pair()) == ""
    finder.head = infrared  # type: ignore[assignment]
    return witness.moving(colour, pair())  # type: ignore[arg-type]


def test_the_same_head_seen_from_aside_is_believed(finder: Finder) -> None:
    aside = {"x": 300.0, "size": 56.0}
    assert after(finder, STRAIGHT, replace(STRAIGHT, **aside)) == ""
    assert after(finder, TURNED, replace(TURNED, **aside)) == ""
    assert after(finder, TILTED, replace(TILTED, **aside)) == ""


@pytest.mark.parametrize(
    ("colour", "infrared"),
    [
        (TURNED, STRAIGHT),
        (STRAIGHT, TURNED),
        (TILTED, STRAIGHT),
        (TURNED, SHOWN[Gesture.TURN_RIGHT]),
        (STRAIGHT, replace(STRAIGHT, x=420.0)),
        (STRAIGHT, replace(STRAIGHT, x=300.0, size=100.0)),
        (replace(STRAIGHT, y=330.0), STRAIGHT),
    ],
)
def test_a_head_that_moves_for_one_camera_alone_is_not(finder: Finder, colour: object, infrared: object) -> None:
    assert after(finder, colour, infrared) == APART


def test_no_face_in_infrared_is_told(finder: Finder) -> None:
    finder.seen = False
    assert Witness(finder).straight(STRAIGHT, pair()) == UNSEEN
    assert Witness(finder).moving(STRAIGHT, pair()) == UNSEEN


@pytest.mark.parametrize(("face", "beside", "said"), [(90, 15, ""), (8, 1, UNLIT), (90, 90, BESIDE), (90, 60, BESIDE)])
def test_the_emitter_must_light_the_face_and_not_what_is_beside_it(
    finder: Finder, face: float, beside: float, said: str
) -> None:
    assert Witness(finder).straight(STRAIGHT, pair(face, beside)) == said
    assert Witness(finder, strobe=False).straight(STRAIGHT, pair(face, beside)) == ""


def test_a_head_so_near_that_nothing_is_beside_it_is_told(finder: Finder) -> None:
    finder.head = replace(STRAIGHT, size=200.0)
    assert Witness(finder).straight(finder.head, pair()) == BESIDE


def test_an_infrared_camera_that_repeats_its_pictures_is_told(finder: Finder) -> None:
    witness, same = Witness(finder), pair()
    assert witness.straight(STRAIGHT, same) == ""
    assert witness.straight(STRAIGHT, same) == FROZEN
    assert witness.straight(STRAIGHT, pair()) == ""


def frames(levels: list[float]) -> list[Frame]:
    return [Frame(np.full((48, 64, 3), level, np.uint8), number, number) for number, level in enumerate(levels)]


def read_of(levels: list[float]) -> tuple[Pair, int]:
    left, taken = iter(frames(levels)), count()

    def read() -> Frame:
        next(taken)
        return next(left)

    return read_pair(read), next(taken)


@pytest.mark.parametrize("levels", [[30, 90, 30], [90, 30, 90], [30, 30, 90], [30, 30, 31, 90]])
def test_a_pair_is_the_lit_and_the_dark_one_of_few_frames(levels: list[float]) -> None:
    found, taken = read_of([*levels, 0, 0, 0, 0, 0])
    assert (found.lit.bgr.max(), found.dark.bgr.min()) == (90, 30)
    assert found.light.mean() == 60
    assert taken == len(levels)


def test_an_emitter_that_is_off_is_not_waited_for_without_end() -> None:
    found, taken = read_of([30, 31] * 20)
    assert taken == 8
    assert found.light.mean() == 1


def test_no_more_frames_are_read_than_there_is_time_for() -> None:
    left = iter(frames([30] * 9))
    read_pair(lambda: next(left), most=3)
    assert next(left).sequence == 3


def test_without_a_strobe_one_frame_is_enough() -> None:
    left = iter(frames([50, 60]))
    found = read_pair(lambda: next(left), strobe=False)
    assert found.lit is found.dark
    assert next(left).sequence == 1
