from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulators.lab.person import Attendant, Manner
from simulators.personas import Persona


@dataclass(frozen=True)
class Someone:
    """A persona whose samples say who gave them, which, and how carefully."""

    name: str

    def finger(self, impression: int, care: float = 1.0, which: int = 0) -> tuple[NDArray[np.uint8], int]:
        return np.full((1, 1), impression + 50 * which, np.uint8), round(care * 100)

    def frame(self, seconds: float, care: float = 1.0) -> NDArray[np.uint8]:
        raise NotImplementedError

    def say(self, digits: str, take: int, care: float = 1.0) -> tuple[NDArray[np.int16], int]:
        return np.array([int(digits), take], np.int16), round(care * 100)


@dataclass
class Sensors:
    """Reader, lens and ear in one, which note what happens to them."""

    seen: list[tuple[Any, ...]] = field(default_factory=list)

    def place(self, pixels: NDArray[np.uint8], dpi: int) -> None:
        self.seen.append(("place", int(pixels[0, 0]), dpi))

    def lift(self) -> None:
        self.seen.append(("lift",))

    def watch(self, persona: Persona | None, care: float, take: int | None = None) -> None:
        self.seen.append(("watch", persona.name if persona else None, care, take))

    def ask(self, gesture: str) -> None:
        self.seen.append(("ask", gesture))

    def speak(self, pcm: NDArray[np.int16], rate: int) -> None:
        self.seen.append(("speak", *pcm.tolist(), rate))

    def silence(self) -> None:
        self.seen.append(("silence",))

    def take(self) -> list[tuple[Any, ...]]:
        taken, self.seen = self.seen, []
        return taken


@dataclass
class Waits:
    """A clock on which waiting takes no time."""

    waited: list[float] = field(default_factory=list)

    def monotonic_ns(self) -> int:
        return 0

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)


LEFT = [("watch", None, 1.0, None), ("lift",), ("silence",)]
"""What the sensors see when the person goes away."""


@dataclass
class Scene:
    sensors: Sensors
    clock: Waits
    attendant: Attendant

    def hear(self, action: str, *, purpose: str = "challenge", **more: str) -> bool:
        return self.attendant.hear({"kind": "present", "action": action, "purpose": purpose, **more})


@pytest.fixture
def scene() -> Scene:
    sensors, clock = Sensors(), Waits()
    people: dict[str, Persona] = {name: Someone(name) for name in ("a", "b")}
    return Scene(sensors, clock, Attendant(sensors, sensors, sensors, people, clock))


def test_nobody_answers_before_somebody_was_sent(scene: Scene) -> None:
    assert not scene.attendant.hear({"kind": "summons"})
    assert not scene.hear("place")
    assert scene.sensors.take() == []


def test_the_person_does_what_is_asked_and_every_touch_is_another(scene: Scene) -> None:
    scene.attendant.send("a", Manner())
    scene.sensors.take()
    assert all(scene.hear(action) for action in ("place", "lift", "place", "look", "place-second"))
    assert scene.hear("speak", digits="123")
    assert scene.sensors.take() == [
        ("place", 0, 100),
        ("lift",),
        ("place", 1, 100),
        ("watch", "a", 1.0, 2),
        ("place", 50 + 3, 100),
        ("speak", 123, 4, 100),
    ]


def test_care_reaches_every_sample(scene: Scene) -> None:
    scene.attendant.send("a", Manner(care=0.25))
    scene.sensors.take()
    for action in ("place", "look", "speak"):
        scene.hear(action, digits="1")
    assert scene.sensors.take() == [("place", 0, 25), ("watch", "a", 0.25, 1), ("speak", 1, 2, 25)]


def test_a_slow_person_is_slow_once_in_each_challenge(scene: Scene) -> None:
    scene.attendant.send("a", Manner(delay_s=7))
    scene.hear("place")
    scene.hear("look")
    assert scene.clock.waited == [7]
    scene.attendant.hear({"kind": "result"})
    scene.hear("place")
    assert scene.clock.waited == [7, 7]


def test_a_gesture_reaches_whoever_stands_before_the_camera(scene: Scene) -> None:
    scene.attendant.send("a", Manner())
    scene.sensors.take()
    assert all(scene.hear(action) for action in ("look", "turn-left", "blink"))
    assert scene.sensors.take() == [("watch", "a", 1.0, 0), ("ask", "turn-left"), ("ask", "blink")]


def test_an_enrolled_person_just_looks(scene: Scene) -> None:
    scene.attendant.send("a", Manner())
    scene.hear("look", purpose="enrolment")
    assert scene.sensors.take()[-1] == ("watch", "a", 1.0, None)


def test_an_enrolment_is_not_delayed(scene: Scene) -> None:
    scene.attendant.send("a", Manner(delay_s=7))
    scene.hear("place", purpose="enrolment")
    assert scene.clock.waited == []


@pytest.mark.parametrize("kind", ["summons", "result"])
def test_the_sensors_are_empty_between_challenges(scene: Scene, kind: str) -> None:
    scene.attendant.send("a", Manner())
    scene.hear("place")
    scene.sensors.take()
    assert scene.attendant.hear({"kind": kind})
    assert scene.sensors.take() == LEFT


def test_feedback_is_heard_and_changes_nothing(scene: Scene) -> None:
    scene.attendant.send("a", Manner())
    scene.sensors.take()
    assert scene.attendant.hear({"kind": "feedback"})
    assert scene.sensors.take() == []


def test_another_person_takes_the_place(scene: Scene) -> None:
    scene.attendant.send("a", Manner())
    scene.hear("look")
    scene.sensors.take()
    scene.attendant.send("b", Manner())
    scene.hear("look")
    assert scene.sensors.take() == [*LEFT, ("watch", "b", 1.0, 1)]


def test_sending_nobody_empties_the_place(scene: Scene) -> None:
    scene.attendant.send("a", Manner())
    scene.attendant.send(None, Manner())
    assert not scene.hear("place")


def test_an_unknown_person_is_an_error_and_the_present_one_stays(scene: Scene) -> None:
    scene.attendant.send("a", Manner())
    with pytest.raises(KeyError):
        scene.attendant.send("c", Manner())
    assert scene.hear("look")
    assert scene.sensors.take()[-1] == ("watch", "a", 1.0, 0)
