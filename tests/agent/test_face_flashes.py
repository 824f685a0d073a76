"""The face before a screen, from rendered people to the verdict: the drawn colours must come back from the skin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from agent.biometrics import parameters
from agent.biometrics._dlib import shared_engine
from agent.biometrics.liveness import LiveFrames, Watch
from agent.biometrics.liveness.light import COLOURS, NEUTRAL
from agent.biometrics.liveness.reflection import DIM, FLAT, OTHER, Reflection
from agent.biometrics.liveness.watch import OTHER_FACE
from agent.extension import PersonAbsent
from agent.modalities._liveness import KEEP_LOOKING, looked_on
from agent.modalities.face import Face
from hal import Colour, Disconnected, Frame
from protocol.flashes import Hue, flash_row
from simulators.attacks import FaceAttack, FaceStage, LiveFace, face_attack
from simulators.personas import Light, Room, shipped_personas
from simulators.personas._face import AnimatedFace

ROW = ("turn-left", "blink")
HUES = flash_row(13, 3)
OTHERS = (*HUES[:2], next(hue for hue in Hue if hue not in HUES))
ROOM = Room()


@pytest.fixture(scope="module")
def face() -> Face:
    return Face({})


@pytest.fixture(scope="module")
def people() -> list[AnimatedFace]:
    return [persona.face for persona in shipped_personas()]  # type: ignore[attr-defined]


def staged(scene: Any, flashes: tuple[str, ...] = HUES, room: Room = ROOM, fps: float = 6.0) -> FaceStage:
    return FaceStage(scene, ROW, fps, patience_s=60.0, flashes=flashes, room=room)


def answered(face: Face, stage: FaceStage) -> LiveFrames:
    frames = next(face.captures(stage))
    assert isinstance(frames, LiveFrames)
    return frames


def by_flashes(stage: FaceStage) -> str:
    """What flashes alone say, without gestures before them."""
    watch = Watch(shared_engine(), (), 5.0, 10.0, [Hue(word) for word in stage.flashes])
    with ExitStack() as lights:
        return looked_on(watch, stage, stage, lights).refusal


def recorded(person: AnimatedFace, hues: tuple[Hue, ...]) -> FaceAttack:
    """Somebody who sat before the screen under these colours, and passed."""
    given = staged(LiveFace(person, take=1), hues)
    assert by_flashes(given) == ""
    return FaceAttack(person, person, (), 1, lit=Light(ROOM, tuple(given.shown)))


def test_somebody_before_the_screen_passes_and_hears_no_colour(face: Face, people: list[AnimatedFace]) -> None:
    stage = staged(LiveFace(people[1], take=1))
    frames = answered(face, stage)
    assert frames.refusal == ""
    assert len(frames) == len(ROW) + 1
    given = [NEUTRAL, *(COLOURS[hue] for hue in HUES), NEUTRAL, Colour(0, 0, 0)]
    assert [Colour(*one.colour) for one in stage.shown] == given
    assert stage.told == ["look", *ROW, "flash"]
    assert stage.sentences[-1] == KEEP_LOOKING
    assert not any(hue in " ".join([*stage.told, *stage.sentences]) for hue in Hue)
    assert face.pipeline().examine(frames, "challenge").features is not None


@pytest.mark.slow
def test_without_colours_drawn_no_screen_is_touched(face: Face, people: list[AnimatedFace]) -> None:
    stage = staged(LiveFace(people[1], take=1), ())
    assert answered(face, stage).refusal == ""
    assert stage.shown == []
    assert "flash" not in stage.told


@pytest.mark.slow
def test_a_recorded_answer_to_the_drawn_row_of_gestures_is_refused_by_its_colours(
    face: Face, people: list[AnimatedFace]
) -> None:
    """Gestures alone let it pass."""
    given = staged(LiveFace(people[1], take=1), OTHERS)
    assert answered(face, given).refusal == ""
    means = FaceAttack(people[1], people[1], ROW, 1, tuple(given.asked), Light(ROOM, tuple(given.shown)))
    assert answered(face, staged(face_attack("injected-with-noise", means), ())).refusal == ""
    assert answered(face, staged(face_attack("injected-with-noise", means))).refusal == OTHER


def test_a_recording_under_other_colours_is_refused_and_under_the_same_would_pass(people: list[AnimatedFace]) -> None:
    """One of four is another: what may not repeat is the row of colours."""
    other, same = recorded(people[1], OTHERS), recorded(people[1], HUES)
    assert by_flashes(staged(face_attack("injected-with-noise", other))) == OTHER
    assert by_flashes(staged(face_attack("injected-with-noise", same))) == ""


@pytest.mark.slow
def test_a_live_picture_on_another_screen_is_found_by_its_relief_alone(
    people: list[AnimatedFace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would answer every gesture, and mirrors the colours as they come."""
    scene = face_attack("displayed-video", FaceAttack(people[1], people[0], (), 1))
    assert by_flashes(staged(scene)) == FLAT
    monkeypatch.setattr(parameters, "FLASH_RELIEF", -99.0)
    assert by_flashes(staged(scene)) == ""


@pytest.mark.slow
def test_another_face_under_the_colours_is_told(people: list[AnimatedFace], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither the jump from one frame to the next nor the light is looked at."""

    class Swapped(LiveFace):
        def picture(self, seconds: float, asked: Any, light: Light | None = None) -> Any:
            face = people[3] if light is not None and 2 <= len(light.shown) <= 3 else self.face
            return face.perform(seconds, asked, self.take, light=light)

    monkeypatch.setattr(parameters, "LIVENESS_STEADY", -1.0)
    monkeypatch.setattr(Reflection, "refusal", lambda *_: "")
    assert by_flashes(staged(Swapped(people[1], 1))) == OTHER_FACE
    assert by_flashes(staged(LiveFace(people[1], 1))) == ""


def test_a_room_that_is_too_bright_is_told_as_such(people: list[AnimatedFace]) -> None:
    assert by_flashes(staged(LiveFace(people[1], take=1), room=Room(screen=0.02))) == DIM


@pytest.mark.parametrize("drawn", [("ultraviolet",), (*HUES, "white")])
def test_colours_that_the_node_does_not_know_are_refused_before_anything_is_asked(
    face: Face, people: list[AnimatedFace], drawn: tuple[str, ...]
) -> None:
    stage = staged(LiveFace(people[1], 1), drawn)
    assert "Bring both to one version" in answered(face, stage).refusal
    assert stage.told == []


class Failing(FaceStage):
    """A screen that goes away at its second colour, and a person who leaves then."""

    closed = 0
    leaving = False

    @contextmanager
    def screen(self) -> Iterator[FaceStage]:
        try:
            yield self
        finally:
            self.closed += 1

    def fill(self, colour: Colour, deadline: Any) -> int:
        if self.shown and not self.leaving:
            raise Disconnected("the screen went away")
        return super().fill(colour, deadline)

    def read(self, deadline: Any) -> Frame:
        if self.shown and self.leaving:
            raise PersonAbsent
        return super().read(deadline)


@pytest.mark.parametrize(("leaving", "error"), [(False, Disconnected), (True, PersonAbsent)])
def test_a_screen_is_given_back_whatever_happens(
    people: list[AnimatedFace], leaving: bool, error: type[Exception]
) -> None:
    stage = Failing(LiveFace(people[1], 1), ROW, 8.0, patience_s=60.0, flashes=HUES, room=ROOM)
    stage.leaving = leaving
    with pytest.raises(error):
        by_flashes(stage)
    assert stage.closed == 1
