"""A head made of numbers: cues of somebody who does as scripted, 10 of them a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from agent.biometrics.liveness import Again, Cue, Head, Passed, Prompt, Refused, Step, Trial
from protocol.gestures import Gesture

STRAIGHT = Head(yaw=0.02, height=0.75, roll=1.0, x=320.0, y=240.0, size=60.0, openness=0.97, steady=0.95)
ROW = (Gesture.TURN_LEFT, Gesture.BLINK, Gesture.TILT_RIGHT, Gesture.TURN_RIGHT)
EVERY_NS = 100_000_000

SHOWN = {
    Gesture.TURN_LEFT: replace(STRAIGHT, yaw=0.16),
    Gesture.TURN_RIGHT: replace(STRAIGHT, yaw=-0.12),
    Gesture.TILT_LEFT: replace(STRAIGHT, roll=18.0),
    Gesture.TILT_RIGHT: replace(STRAIGHT, roll=-16.0),
    Gesture.BLINK: replace(STRAIGHT, openness=0.5),
}

Plan = Sequence[tuple[int, Head | None]]
"""So many cues of each head."""


def answer(gesture: Gesture, *, delay: int = 4, lasting: int = 5) -> Plan:
    """The gesture as asked for: a delay, the movement, and the way back; counts of cues."""
    return [(delay, STRAIGHT), (lasting, SHOWN[gesture]), (4, STRAIGHT)]


@dataclass
class Actor:
    """Plays plans to a trial: `reply` gives what is done after each prompt, and the beginning is a straight face."""

    trial: Trial
    reply: Callable[[Gesture], Plan] = answer
    now_ns: int = 1_000_000_000
    number: int = 0
    prompts: list[Gesture] = field(default_factory=list)
    again: int = 0

    def play(self, plan: Plan = ((20, STRAIGHT),), alter: Callable[[Cue], Cue] = lambda cue: cue) -> Step:
        """The step that ended it, or the last one when the plans are at their end."""
        queue = [head for count, head in plan for _ in range(count)]
        step: Step = Again()
        while queue:
            self.now_ns += EVERY_NS
            self.number += 1
            step = self.trial.see(alter(Cue(self.now_ns, self.number, head=queue.pop(0))))
            match step:
                case Prompt(gesture):
                    self.prompts.append(gesture)
                    queue = [head for count, head in self.reply(gesture) for _ in range(count)]
                case Refused() | Passed():
                    return step
                case Again():
                    self.again += 1
        return step


def actor(reply: Callable[[Gesture], Plan] = answer, row: Sequence[Gesture] = ROW) -> Actor:
    return Actor(Trial(row, step_s=5.0, beginning_s=10.0), reply)
