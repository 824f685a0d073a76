"""The state machine of a presentation: a straight face, then each gesture of the row after its own prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from agent.biometrics import parameters
from agent.biometrics.liveness.continuity import Continuity
from agent.biometrics.liveness.cues import Cue, Head
from agent.biometrics.liveness.posture import Movement, Posture
from protocol.flashes import Hue
from protocol.gestures import Gesture

NO_FACE = "Look straight into the camera from about half a metre, with the whole face in the picture."
OTHER_GESTURE = (
    "That was another movement than the one asked for. Keep still between the prompts, then do what they say."
)
TOO_EARLY = "The movement began before it was asked for. Wait for each prompt."
TOO_LATE = "The movement asked for was not seen in time. Do it clearly, as soon as the prompt comes."
NOT_BACK = "After each movement, look straight into the camera again with open eyes."

_CLEAR = 2
"""Frames in a row that a movement, or stillness, must last to be believed."""

_LONG_CLOSED_S = 0.45
"""Eyes closed for longer than any natural blink, when a movement of the head was asked for."""


@dataclass(frozen=True)
class Show:
    """Give the screen this colour now, the neutral one where there is none."""

    hue: Hue | None


@dataclass(frozen=True)
class Wait:
    """Nothing to do but to look on."""


@dataclass(frozen=True)
class Again:
    """The beginning was no good; it starts anew."""


@dataclass(frozen=True)
class Prompt:
    """Ask for this gesture now."""

    gesture: Gesture


@dataclass(frozen=True)
class Refused:
    """The presentation has failed, for this reason; it cannot go on."""

    reason: str


@dataclass(frozen=True)
class Passed:
    """Every gesture was done as asked for."""


Step = Wait | Again | Prompt | Show | Refused | Passed


class _Phase(Enum):
    BEGINNING = auto()
    ASKED = auto()
    RETURNING = auto()


class Trial:
    """Judges the cues of one presentation; `step_s` is how long each gesture may take from its prompt.

    `answered` tells whether the newest cue completed the gesture asked for, `continuity` judges what follows too.
    """

    def __init__(self, gestures: Sequence[Gesture], step_s: float, beginning_s: float) -> None:
        self._gestures = tuple(gestures)
        self._step_s, self._beginning_s = step_s, beginning_s
        self.continuity = Continuity()
        self._phase = _Phase.BEGINNING
        self._posture: Posture | None = None
        self._beginning: list[tuple[int, Head]] = []
        self._started_ns: int | None = None
        self._fault: str | None = None
        self._prompted = False
        self._asked_ns = self._told_ns = self._onset_ns = self._done_ns = 0
        self._closed_ns: int | None = None
        self._clear = 0
        self._last: Movement | None = None
        self._number = 0
        self.answered = False

    def see(self, cue: Cue) -> Step:
        """What follows from the next frame."""
        self.answered = False
        fault = self.continuity.fault(cue, prompted=self._prompted)
        if self._prompted:
            self._prompted, self._told_ns = False, cue.at_ns
        if fault is not None and self._posture is not None:
            return Refused(fault)
        head = self.continuity.trusted(cue).head
        if self._posture is None:
            return self._begin(cue.at_ns, head, fault)
        step = self._judge(cue.at_ns, head, self._posture) if head is not None else Wait()
        return self._overdue(cue.at_ns) if isinstance(step, Wait) else step

    @property
    def posture(self) -> Posture:
        """How the head is held when it is straight; raises `ValueError` before that is known."""
        if self._posture is None:
            raise ValueError("no straight face was seen yet")
        return self._posture

    @property
    def _wanted(self) -> Gesture:
        return self._gestures[self._number]

    def _begin(self, at_ns: int, head: Head | None, fault: str | None) -> Step:
        """Gather a quiet face; whatever breaks it off starts it anew, until the time for it is over."""
        self._started_ns = at_ns if self._started_ns is None else self._started_ns
        if (at_ns - self._started_ns) / 1e9 > self._beginning_s:
            return Refused(self._fault or NO_FACE)
        if head is None or fault is not None:
            self._fault = fault or self._fault
            return self._anew()
        self._beginning.append((at_ns, head))
        lasted = (at_ns - self._beginning[0][0]) / 1e9
        enough = len(self._beginning) > parameters.LIVENESS_BASELINE_FRAMES
        if not enough or lasted < parameters.LIVENESS_BASELINE_SECONDS:
            return Wait()
        posture = Posture.of([seen for _, seen in self._beginning])
        if posture is None or posture.is_closed(head):
            return self._anew()
        self._posture = posture
        return self._prompt(at_ns)

    def _anew(self) -> Step:
        self._beginning.clear()
        self.continuity.forget()
        return Again()

    def _prompt(self, at_ns: int) -> Step:
        if self._number == len(self._gestures):
            return Passed()
        self._phase, self._prompted = _Phase.ASKED, True
        self._asked_ns = self._told_ns = at_ns
        self._onset_ns, self._clear, self._last = 0, 0, None
        return Prompt(self._wanted)

    def _judge(self, at_ns: int, head: Head, posture: Posture) -> Step:
        movement, closed = posture.movement(head), self._closed_for(at_ns, posture.is_closed(head))
        if self._is_other(movement, closed):
            return Refused(OTHER_GESTURE)
        if self._phase is _Phase.ASKED:
            return self._await(at_ns, movement, closed)
        self._clear = self._clear + 1 if posture.is_quiet(head) else 0
        return self._prompt(at_ns) if self._clear >= _CLEAR else Wait()

    def _await(self, at_ns: int, movement: Movement, closed: float) -> Step:
        """Whether the gesture asked for was done by now."""
        if self._wanted is Gesture.BLINK:
            begun = self._closed_ns if self._closed_ns is not None else at_ns
            done = closed >= parameters.LIVENESS_CLOSED_SECONDS and self._reacted(begun)
            return self._done(at_ns) if done else Wait()
        if movement.gesture is not self._wanted or movement.share < parameters.LIVENESS_NEUTRAL:
            self._onset_ns, self._clear = 0, 0
            return Wait()
        self._onset_ns = self._onset_ns or at_ns
        if not self._reacted(self._onset_ns):
            return Refused(TOO_EARLY)
        self._clear = self._clear + 1 if movement.strong else 0
        return self._done(at_ns) if self._clear >= _CLEAR else Wait()

    def _done(self, at_ns: int) -> Step:
        self.answered = True
        self._number += 1
        self._phase, self._done_ns, self._clear = _Phase.RETURNING, at_ns, 0
        return Wait()

    def _reacted(self, begun_ns: int) -> bool:
        """Whether what began then can be an answer to the prompt."""
        return (begun_ns - self._asked_ns) / 1e9 >= parameters.LIVENESS_REACTION_SECONDS

    def _closed_for(self, at_ns: int, closed: bool) -> float:
        """Seconds that the eyes have been closed by now."""
        self._closed_ns = (self._closed_ns or at_ns) if closed else None
        return 0.0 if self._closed_ns is None else (at_ns - self._closed_ns) / 1e9

    def _is_other(self, movement: Movement, closed: float) -> bool:
        """Whether another gesture than the one that is due was made, for two frames or with eyes long closed."""
        due = self._gestures[self._number - (self._phase is _Phase.RETURNING)]
        before, self._last = self._last, movement
        if closed >= _LONG_CLOSED_S and due is not Gesture.BLINK:
            return True
        lasting = before is not None and before.strong and before.gesture is movement.gesture
        return movement.strong and movement.gesture is not due and lasting

    def _overdue(self, at_ns: int) -> Step:
        if self._phase is _Phase.ASKED and (at_ns - self._told_ns) / 1e9 > self._step_s:
            return Refused(TOO_LATE)
        if self._phase is _Phase.RETURNING and (at_ns - self._done_ns) / 1e9 > parameters.LIVENESS_RETURN_SECONDS:
            return Refused(NOT_BACK)
        return Wait()
