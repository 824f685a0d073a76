"""The face before two cameras, from rendered people to the verdict: both must see the same living head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.biometrics import parameters
from agent.biometrics.liveness import LiveFrames
from agent.biometrics.liveness.infrared import APART, BESIDE, UNLIT, UNSEEN
from agent.modalities.face import Face
from hal import NotFound
from simulators.attacks import FaceAttack, FaceStage, LiveFace, face_attack, infrared_attack, live_infrared
from simulators.personas import shipped_personas
from simulators.personas._face import AnimatedFace

ROW = ("turn-left", "blink")


@pytest.fixture(scope="module")
def face() -> Face:
    return Face({})


@pytest.fixture(scope="module")
def people() -> list[AnimatedFace]:
    return [persona.face for persona in shipped_personas()]  # type: ignore[attr-defined]


def answered(face: Face, stage: FaceStage) -> str:
    frames = next(face.captures(stage))
    assert isinstance(frames, LiveFrames)
    return frames.refusal


def attacked(people: list[AnimatedFace], species: str, print_of: str = "ink", infrared: bool = True) -> FaceStage:
    means = FaceAttack(people[1], people[2], ROW, 5)
    beside = infrared_attack(species, means, print_of) if infrared else None
    return FaceStage(face_attack(species, means), ROW, 6.0, patience_s=60.0, beside=beside)


def test_somebody_before_both_cameras_passes(face: Face, people: list[AnimatedFace]) -> None:
    """A look at each prompt and one at the end are the least that evidence can say."""
    live = LiveFace(people[1], 1)
    stage = FaceStage(live, ROW, 6.0, patience_s=60.0, beside=live_infrared(live))
    assert answered(face, stage) == ""
    assert stage.looks > len(ROW)


@pytest.mark.parametrize("species", ["displayed-video", "still-photo"])
def test_a_screen_and_a_print_of_ink_show_no_face(face: Face, people: list[AnimatedFace], species: str) -> None:
    stage = attacked(people, species)
    assert answered(face, stage) == UNSEEN
    assert stage.looks == 0


def test_a_print_of_toner_is_lit_all_over(
    face: Face, people: list[AnimatedFace], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = attacked(people, "still-photo", "toner")
    assert answered(face, stage) == BESIDE
    assert stage.now < 3
    monkeypatch.setattr(parameters, "INFRARED_BESIDE", 9.0)
    assert answered(face, attacked(people, "still-photo", "toner")) != BESIDE


def test_who_feeds_in_a_recording_and_acts_before_the_other_camera_is_told(
    face: Face, people: list[AnimatedFace]
) -> None:
    assert answered(face, attacked(people, "injected-with-noise")) == APART


@pytest.mark.slow
def test_what_the_second_camera_refuses_passes_without_it(face: Face, people: list[AnimatedFace]) -> None:
    for species in ("displayed-video", "recorded-answer"):
        assert answered(face, attacked(people, species, infrared=False)) == ""
        assert answered(face, attacked(people, species)) == UNSEEN


def test_an_emitter_that_is_off_is_told_and_one_that_is_always_on_can_be_configured(
    face: Face, people: list[AnimatedFace]
) -> None:
    live = LiveFace(people[1], 1)

    class Off:
        def see(self, seconds: float, asked: object, lit: bool) -> object:
            return people[1].infrared(seconds, asked, 1, lit=True)  # type: ignore[arg-type]

    stage = FaceStage(live, ROW, 6.0, patience_s=60.0, beside=Off())  # type: ignore[arg-type]
    assert answered(face, stage) == UNLIT


def test_a_second_camera_that_is_missing_leaves_the_face_out(face: Face, people: list[AnimatedFace]) -> None:
    class Missing(FaceStage):
        @contextmanager
        def infrared(self) -> Iterator[None]:
            raise NotFound("there is no camera")
            yield

    with pytest.raises(NotFound):
        answered(face, Missing(LiveFace(people[1], 1), ROW))
