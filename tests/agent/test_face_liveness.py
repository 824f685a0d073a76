"""The face at a challenge, from rendered people to the verdict: who answers passes, and no attack does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from agent.biometrics import liveness
from agent.biometrics.liveness import LiveFrames, trial
from agent.biometrics.liveness.continuity import FROZEN
from agent.errors import ConfigError
from agent.extension import Effort
from agent.modalities import _liveness
from agent.modalities.face import Face
from hal import Frame, TimedOut
from simulators.attacks import FACE_SPECIES, FaceAttack, FaceStage, LiveFace, face_attack
from simulators.personas import shipped_personas
from simulators.personas._face import AnimatedFace

ROW = ("turn-left", "blink", "tilt-right")
RECORDED = ("blink", "turn-right", "tilt-left")


@pytest.fixture(scope="module")
def face() -> Face:
    return Face({})


@pytest.fixture(scope="module")
def people() -> list[AnimatedFace]:
    return [persona.face for persona in shipped_personas()]  # type: ignore[attr-defined]


def answered(face: Face, stage: FaceStage) -> LiveFrames:
    frames = next(face.captures(stage))
    assert isinstance(frames, LiveFrames)
    return frames


@pytest.mark.parametrize("person", [0, 3])
def test_somebody_who_answers_passes_and_is_recognised_throughout(
    face: Face, people: list[AnimatedFace], person: int
) -> None:
    stage = FaceStage(LiveFace(people[person], take=1), ROW)
    frames = answered(face, stage)
    assert frames.refusal == ""
    assert stage.told == ["look", *ROW]
    assert all(sentence.endswith(".") for sentence in stage.sentences)
    assert [prompt.gesture for prompt in stage.asked] == list(ROW)
    assert len(frames) == len(ROW) + 1
    assert frames[0].captured_ns <= stage.asked[0].at * 1e9 + 1
    assert frames[-1].captured_ns == stage.monotonic_ns()
    assert stage.now < 15
    examined = face.pipeline().examine(frames, "challenge")
    assert examined.features is not None, examined.reason


@pytest.mark.parametrize("species", sorted(FACE_SPECIES))
def test_no_attack_passes(face: Face, people: list[AnimatedFace], species: str) -> None:
    stage = FaceStage(face_attack(species, FaceAttack(people[0], people[1], RECORDED, 5)), ROW)
    try:
        frames = answered(face, stage)
    except TimedOut:
        assert species == "dropped-frames"
        return
    assert frames.refusal.endswith(".")
    assert face.pipeline().examine(frames, "challenge").reason == frames.refusal


def test_a_recorded_answer_to_the_same_row_passes_as_its_person_would(face: Face, people: list[AnimatedFace]) -> None:
    """So the attack above fails by its row, and what may not repeat is the row: see docs/biometrics/liveness.md."""
    stage = FaceStage(face_attack("recorded-answer", FaceAttack(people[0], people[1], ROW, 5)), ROW)
    assert answered(face, stage).refusal == ""


def test_an_answer_that_was_recorded_is_known_again_when_its_row_comes_again(
    face: Face, people: list[AnimatedFace]
) -> None:
    """Gestures alone let it pass; another answer of the person to the row is new."""
    pipeline: Any = face.pipeline()
    given = FaceStage(LiveFace(people[0], take=1), ROW, fps=8)
    kept = [pipeline.digest(pipeline.examine(answered(face, given), "challenge").features)]
    again = FaceAttack(people[0], people[1], ROW, 1, tuple(given.asked))
    for scene, copy in ((face_attack("injected-with-noise", again), True), (LiveFace(people[0], take=2), False)):
        frames = answered(face, FaceStage(scene, ROW, fps=8))
        assert frames.refusal == ""
        assert pipeline.replayed(kept, pipeline.examine(frames, "challenge").features) is copy


def test_a_swap_is_found_by_the_face_alone(
    face: Face, people: list[AnimatedFace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the comparison of faces the swap gets through: two personas share a background and a place."""
    swapped = FaceAttack(people[1], people[3], (), 5)
    monkeypatch.setattr("agent.biometrics.parameters.LIVENESS_STEADY", -1.0)
    assert answered(face, FaceStage(face_attack("swapped-person", swapped), ROW)).refusal == liveness.watch.OTHER_FACE
    monkeypatch.setattr("agent.biometrics.parameters.LIVENESS_STRAIGHT_DISTANCE", 9.0)
    monkeypatch.setattr("agent.biometrics.parameters.LIVENESS_GESTURE_DISTANCE", 9.0)
    assert answered(face, FaceStage(face_attack("swapped-person", swapped), ROW)).refusal == ""


def test_a_frozen_buffer_is_told_as_such(face: Face, people: list[AnimatedFace]) -> None:
    stage = FaceStage(face_attack("frozen-frames", FaceAttack(people[0], people[1], (), 5)), ROW)
    assert answered(face, stage).refusal == FROZEN


def test_an_empty_room_is_nobody(face: Face) -> None:
    class Room:
        def picture(self, seconds: float, asked: Any) -> Any:
            return np.full((480, 640, 3), round(seconds * 10), np.uint8)

    assert answered(face, FaceStage(Room(), ROW)).refusal == trial.NO_FACE


def test_whoever_failed_gets_no_second_try_at_the_same_row(face: Face, people: list[AnimatedFace]) -> None:
    captures = face.captures(FaceStage(face_attack("still-photo", FaceAttack(people[0], people[1], (), 5)), ROW))
    assert next(captures).refusal == trial.TOO_LATE  # type: ignore[attr-defined]
    assert next(captures, None) is None


@pytest.mark.parametrize("drawn", [(), ("left", "blink"), ("blink", "turn-left", "somersault")])
def test_a_row_that_the_node_does_not_know_is_refused_before_anything_is_asked(
    face: Face, people: list[AnimatedFace], drawn: tuple[str, ...]
) -> None:
    stage = FaceStage(LiveFace(people[0], 1), drawn)
    assert "Bring authority and node to one version" in answered(face, stage).refusal
    assert stage.told == []


class BesidePhotograph:
    """Somebody who answers for themself, beside a large photograph of another, leaned so that it is not followed."""

    def __init__(self, person: AnimatedFace, other: AnimatedFace) -> None:
        self._live = LiveFace(person, 1)
        photograph = cv2.resize(LiveFace(other, 1).picture(0.5, []), None, fx=1.7, fy=1.7)
        height, width = photograph.shape[:2]
        leaned = cv2.getRotationMatrix2D((width / 2, height / 2), 27.0, 1.0)
        self._photograph = cv2.warpAffine(photograph, leaned, (width, height), borderMode=cv2.BORDER_REPLICATE)

    def picture(self, seconds: float, asked: Any) -> Any:
        live = self._live.picture(seconds, asked)
        below = np.full((len(self._photograph) - len(live), live.shape[1], 3), 90, np.uint8)
        return np.hstack([np.vstack([live, below]), self._photograph])


def test_a_photograph_beside_the_face_that_answered_is_not_recognised(face: Face, people: list[AnimatedFace]) -> None:
    """The larger face is the one that recognition takes by itself: only the place of the one that answered tells."""
    frames = answered(face, FaceStage(BesidePhotograph(people[0], people[1]), ROW))
    assert frames.refusal == ""
    assert face.pipeline().examine(frames, "challenge").reason == "Only one person may be in the picture."
    inner = face.pipeline().inner
    portrait = inner.extract([Frame(LiveFace(people[1], 1).picture(0.5, []), 0, 0)]).features
    elsewhere = inner.extract(list(frames)).features
    assert inner.compare((portrait.vector,), (elsewhere.vector,)) > inner.threshold.accept


def test_frames_without_a_verdict_are_not_compared(face: Face, people: list[AnimatedFace]) -> None:
    frames = [FaceStage(LiveFace(people[0], 1), ROW).read(FaceStage(LiveFace(people[0], 1), ROW).deadline)]
    assert face.pipeline().examine(frames, "challenge").reason
    assert face.pipeline().examine(LiveFrames.of(()), "challenge").reason
    assert face.pipeline().examine(frames, "enrolment").features is not None


def test_a_camera_that_went_away_in_the_middle_ends_it(face: Face, people: list[AnimatedFace]) -> None:
    class Reopened(FaceStage):
        def use(self, work: Callable[[Any], Any], on_return: Callable[[], None] | None = None) -> Any:
            with pytest.raises(TimedOut):
                work(replace_deadline(self))
            return work(self)

    stage = Reopened(LiveFace(people[0], 1), ROW)
    assert answered(face, stage).refusal == _liveness._WENT_AWAY


def replace_deadline(stage: FaceStage) -> FaceStage:
    """The same camera, which gives no picture after the first prompt."""

    class Leaving(FaceStage):
        def read(self, deadline: Any) -> Any:
            if stage.asked:
                raise TimedOut("gone")
            return stage.read(deadline)

    return Leaving(stage.scene, stage.gestures)


def test_an_enrolment_asks_for_no_gesture(face: Face, people: list[AnimatedFace]) -> None:
    stage = FaceStage(LiveFace(people[0], 1), (), purpose="enrolment")
    captures = face.captures(stage)
    assert [len(next(captures)) for _ in range(3)] == [1, 1, 1]
    assert stage.told == ["look"]
    assert face.effort == Effort(5, timed=True, pause_s=0.4)


def test_liveness_can_be_turned_off(people: list[AnimatedFace]) -> None:
    plain = Face({"liveness": False})
    stage = FaceStage(LiveFace(people[0], 1), ROW)
    frames = next(plain.captures(stage))
    assert len(frames) == 3
    assert stage.told == ["look"]
    assert plain.pipeline().examine(frames, "challenge").features is not None


def test_the_time_for_a_gesture_has_a_limit() -> None:
    assert Face({"step_s": 15.0}).alone
    with pytest.raises(ConfigError, match="step_s"):
        Face({"step_s": 15.1})
