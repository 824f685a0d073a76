"""The end of a presentation before a screen: colours one after another, with the face held straight and still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.biometrics import parameters
from agent.biometrics.liveness.continuity import Continuity
from agent.biometrics.liveness.cues import Cue
from agent.biometrics.liveness.light import Lit
from agent.biometrics.liveness.posture import Posture
from agent.biometrics.liveness.reflection import Reflection, reflected
from agent.biometrics.liveness.trial import Passed, Refused, Show, Step, Wait
from protocol.flashes import Hue

NOT_STILL = "Keep looking straight into the camera until the screen shows no colours any more."


@dataclass
class _Window:
    """The frames under one colour, which the screen has had since `since_ns`."""

    hue: Hue | None
    since_ns: int | None = None
    frames: list[Lit] = field(default_factory=list)


class FlashTrial:
    """Judges what a face sends back of `hues`; no flash ends before it was seen well enough, or the trial fails."""

    def __init__(self, hues: Sequence[Hue], posture: Posture, continuity: Continuity) -> None:
        self._hues = tuple(hues)
        self._posture = posture
        self._continuity = continuity
        self._windows = [_Window(None)]
        self._prompted = True
        self.reflection: Reflection | None = None

    def begin(self) -> Show:
        """The first thing to show."""
        return Show(None)

    def shown(self, at_ns: int) -> None:
        """The screen has had the newest colour since then, on the clock of the frames."""
        self._windows[-1].since_ns = at_ns

    def see(self, cue: Cue, light: Lit | None) -> Step:
        """What follows from the next frame, and the light in it where a face was found."""
        fault = self._continuity.fault(cue, prompted=self._prompted)
        self._prompted = False
        if fault is not None:
            return Refused(fault)
        window = self._windows[-1]
        head = self._continuity.trusted(cue).head
        since = 0.0 if window.since_ns is None else (cue.at_ns - window.since_ns) / 1e9
        quiet = head is not None and self._posture.is_quiet(head)
        if light is not None and quiet and since > parameters.FLASH_SETTLE_SECONDS:
            window.frames.append(light)
            if len(window.frames) >= parameters.FLASH_FRAMES and since >= parameters.FLASH_SECONDS:
                return self._next()
        return Refused(NOT_STILL) if since > parameters.FLASH_STEP_SECONDS else Wait()

    def _next(self) -> Step:
        row = (None, *self._hues, None)
        if len(self._windows) == len(row):
            return self._judged()
        self._windows.append(_Window(row[len(self._windows)]))
        return Show(self._windows[-1].hue)

    def _judged(self) -> Passed | Refused:
        before, *windows, after = (window.frames for window in self._windows)
        self.reflection = reflected(self._hues, before, windows, after)
        refusal = self.reflection.refusal(self._hues)
        return Refused(refusal) if refusal else Passed()
