"""A camera on simulated time, the scene before it, and the prompts that reach the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hal import Colour, Deadline, Frame, TimedOut
from simulators.attacks._face_scenes import FaceScene
from simulators.personas import Asked, Light, Room, Shown

PROMPT_S = 0.04
"""What a prompt takes to be shown, seconds."""

FILL_S = 0.02
"""What the filling of a screen takes."""


@dataclass
class FaceStage:
    """What a face's captures run with (`agent.extension.Sensor`): `fps` pictures a second, `patience_s` for a sample.

    Time passes by reading and prompting alone. `told` are the words of the prompts, `sentences` what people read.
    With a `room` there is a screen, which shows `flashes`; `shown` is what it has shown.
    """

    scene: FaceScene
    gestures: Sequence[str]
    fps: float = 10.0
    purpose: Literal["enrolment", "challenge"] = "challenge"
    attempt: int = 1
    patience_s: float = 25.0
    now: float = 0.0
    number: int = 0
    told: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    flashes: Sequence[str] = ()
    room: Room | None = None
    shown: list[Shown] = field(default_factory=list)

    @contextmanager
    def screen(self) -> Iterator[FaceStage]:
        """The stage as the screen, which is dark again afterwards."""
        yield self
        self.shown.append(Shown((0, 0, 0), self.now))

    def fill(self, colour: Colour, deadline: Deadline) -> int:
        """Show a colour."""
        deadline.check("filling the screen")
        self.now += FILL_S
        self.shown.append(Shown((colour.red, colour.green, colour.blue), self.now))
        return self.monotonic_ns()

    @property
    def deadline(self) -> Deadline:
        """`patience_s` from now on."""
        return Deadline(round(self.patience_s * 1e9), self)

    def monotonic_ns(self) -> int:
        """The simulated time."""
        return round(self.now * 1e9)

    def sleep(self, seconds: float) -> None:
        """Let time pass, in no time."""
        self.now += seconds

    def digits(self) -> str:
        """None: a face says nothing."""
        return ""

    def tell(self, action: str, instruction: str, *, digits: str = "", gestures: Sequence[str] = ()) -> None:  # noqa: ARG002
        """Prompt the scene."""
        self.told.append(action)
        self.sentences.append(instruction)
        self.asked += [Asked(gesture, self.now) for gesture in gestures]
        self.now += PROMPT_S

    def use(self, work: Callable[[Any], Any], on_return: Callable[[], None] | None = None) -> Any:  # noqa: ARG002
        """`work` with the stage as the camera, which never goes away."""
        return work(self)

    def release(self) -> None:
        """Nothing is held."""

    def read(self, deadline: Deadline) -> Frame:
        """The next picture that arrives; one that is lost still has its number. Raises `TimedOut`."""
        while deadline.remaining() > 0:
            self.now += 1 / self.fps
            self.number += 1
            picture = self._picture()
            if picture is not None:
                return Frame(picture, self.number, self.monotonic_ns())
        raise TimedOut("no picture came")

    def _picture(self) -> NDArray[np.uint8] | None:
        if self.room is None or not self.shown:
            return self.scene.picture(self.now, self.asked)
        return self.scene.picture(self.now, self.asked, Light(self.room, self.shown))
