"""Cues of rendered people: what each movement does to them, and what a picture without a face gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from agent.biometrics import BiometricError
from agent.biometrics._dlib import DlibEngine
from agent.biometrics.liveness import Cue, FaceTracker, Head
from hal import Frame
from simulators.personas._face import AnimatedFace
from simulators.personas._pose import Pose

QUIET = [Pose(yaw=0.4 * step, shift=(step, 0.0)) for step in range(6)]


@pytest.fixture(scope="module")
def engine() -> DlibEngine:
    return DlibEngine()


@pytest.fixture(scope="module", params=["persona-a", "persona-b"])
def face(request: pytest.FixtureRequest) -> AnimatedFace:
    from simulators.personas import shipped_personas

    return next(one.face for one in shipped_personas() if one.name == request.param)  # type: ignore[attr-defined]


def cues(engine: DlibEngine, face: AnimatedFace, poses: Sequence[Pose]) -> list[Cue]:
    tracker = FaceTracker(engine)
    return [
        tracker.see(Frame(face.render(pose, 1.0, number), number, number * 100_000_000))
        for number, pose in enumerate([*QUIET, *poses])
    ][len(QUIET) - 1 :]


def head(cue: Cue) -> Head:
    assert cue.head is not None
    return cue.head


def test_a_turned_head_moves_its_nose_to_where_it_looks(engine: DlibEngine, face: AnimatedFace) -> None:
    straight, left, right = cues(engine, face, [Pose(yaw=24), Pose(yaw=-24)])
    assert head(left).yaw - head(straight).yaw > 0.08
    assert head(right).yaw - head(straight).yaw < -0.08


def test_a_head_tilted_to_the_left_leans_to_the_right_of_the_picture(engine: DlibEngine, face: AnimatedFace) -> None:
    straight, left, right = cues(engine, face, [Pose(roll=-18), Pose(roll=18)])
    assert head(left).roll - head(straight).roll > 14
    assert head(right).roll - head(straight).roll < -14
    assert abs(head(left).yaw - head(straight).yaw) < 0.06


def test_closed_eyes_are_told_from_open_ones_and_from_turned_ones(engine: DlibEngine, face: AnimatedFace) -> None:
    openness = [head(cue).openness or 0.0 for cue in cues(engine, face, [Pose(closed=1.0), Pose(), Pose(roll=15)])[1:]]
    assert openness[0] < 0.75
    assert min(openness[1:]) > 0.9


def test_the_own_eyes_are_not_known_before_they_were_seen(engine: DlibEngine, face: AnimatedFace) -> None:
    first = FaceTracker(engine).see(Frame(face.render(Pose()), 1, 1))
    assert head(first).openness is None
    assert head(first).steady is None


def test_the_same_bytes_are_known_again_and_new_noise_is_another_picture(
    engine: DlibEngine, face: AnimatedFace
) -> None:
    tracker = FaceTracker(engine)
    pictures = [face.render(Pose(), 1.0, instant) for instant in (1, 2, 1)]
    assert [tracker.see(Frame(one, n, n)).repeated for n, one in enumerate(pictures)] == [False, False, True]


def test_a_picture_without_a_face_has_no_head(engine: DlibEngine) -> None:
    assert FaceTracker(engine).see(Frame(np.full((480, 640, 3), 90, np.uint8), 1, 1)).head is None


@pytest.mark.parametrize(
    "picture", [np.zeros((480, 640), np.uint8), np.zeros((480, 640, 3)), np.zeros((9, 9, 3), "u1")]
)
def test_what_is_no_picture_is_refused(engine: DlibEngine, picture: np.ndarray) -> None:
    with pytest.raises(BiometricError):
        FaceTracker(engine).see(Frame(picture, 1, 1))
