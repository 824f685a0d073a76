"""A camera on time that passes by itself, what stands before it, and prompts that reach it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.pipelines import Purpose
from hal import Deadline, Frame, TimedOut
from simulators.attacks import FaceScene
from simulators.personas import Asked

PROMPT_S = 0.04


@dataclass
class FaceStage:
    """The `agent.extension.Sensor` that a face's captures run with; its camera has `fps` pictures a second."""

    scene: FaceScene
    gestures: Sequence[str]
    fps: float = 10.0
    purpose: Purpose = "challenge"
    attempt: int = 1
    now: float = 0.0
    number: int = 0
    told: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    @property
    def deadline(self) -> Deadline:
        return Deadline(25_000_000_000, self)

    def monotonic_ns(self) -> int:
        return round(self.now * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def digits(self) -> str:
        return ""

    def tell(self, action: str, instruction: str, *, digits: str = "", gestures: Sequence[str] = ()) -> None:
        assert instruction.endswith(".")
        self.told.append(action)
        self.asked += [Asked(gesture, self.now) for gesture in gestures]
        self.now += PROMPT_S

    def use(self, work: Callable[[Any], Any], on_return: Callable[[], None] | None = None) -> Any:
        return work(self)

    def release(self) -> None:
        pass

    def read(self, deadline: Deadline) -> Frame:
        while deadline.remaining() > 0:
            self.now += 1 / self.fps
            self.number += 1
            picture = self.scene.picture(self.now, self.asked)
            if picture is not None:
                return Frame(picture, self.number, self.monotonic_ns())
        raise TimedOut("no picture came")
