"""A camera on simulated time, the scene before it, and the prompts that reach the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from agent.extension import SecondCamera
from hal import Capability, Colour, Deadline, DeviceInfo, DeviceKind, Frame, TimedOut, Transport
from simulators.attacks._face_scenes import FaceScene
from simulators.attacks._infrared_scenes import InfraredScene
from simulators.personas import Asked, Light, Room, Shown

PROMPT_S = 0.04
"""What a prompt takes to be shown, seconds."""

INFRARED_FPS = 30.0
"""Of the infrared camera: its emitter lights fifteen of them."""

FILL_S = 0.02
"""What the filling of a screen takes."""


@dataclass
class FaceStage:
    """What a face's captures run with (`agent.extension.Sensor`): `fps` pictures a second, `patience_s` for a sample.

    Time passes by reading and prompting alone. `told` are the words of the prompts, `sentences` what people read.
    With a `room` there is a screen, which shows `flashes`; `shown` is what it has shown. With `beside` there is an
    infrared camera, whose emitter lights every other frame if it is a `strobe`; `looks` counts how often it agreed.
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
    beside: InfraredScene | None = None
    strobe: bool = True
    looks: int = 0

    @contextmanager
    def infrared(self) -> Iterator[SecondCamera | None]:
        """An infrared camera before `beside`, if that is there."""
        yield None if self.beside is None else SecondCamera(InfraredStage(self), self.strobe, self._looked)

    def _looked(self) -> None:
        self.looks += 1

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


class InfraredStage:
    """The second camera of a stage, on the same simulated time: a `hal.Camera` of 30 frames a second."""

    def __init__(self, stage: FaceStage) -> None:
        self._stage = stage
        self._number = 0

    @property
    def info(self) -> DeviceInfo:
        """A simulated camera."""
        abilities = frozenset({Capability.INFRARED})
        return DeviceInfo(DeviceKind.CAMERA, "stage", Transport.VIRTUAL, "beside", capabilities=abilities)

    def read(self, deadline: Deadline) -> Frame:
        """The next frame."""
        deadline.check("an infrared frame")
        stage = self._stage
        stage.now += 1 / INFRARED_FPS
        self._number += 1
        lit = not stage.strobe or self._number % 2 == 0
        assert stage.beside is not None
        grey = stage.beside.see(stage.now, stage.asked, lit)
        return Frame(np.repeat(grey[:, :, np.newaxis], 3, axis=2), self._number, stage.monotonic_ns(), infrared=True)

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
