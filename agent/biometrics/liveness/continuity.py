"""Whether the frames are those of a running camera with one face before it, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from agent.biometrics import parameters
from agent.biometrics.liveness.cues import Cue, Head

FROZEN = "The camera repeats its pictures. Reconnect it, then begin again."
DISORDERED = "The camera's pictures came out of order. Reconnect it, then begin again."
GAPS = "Too many pictures of the camera were lost. Close other programs that use it, then begin again."
SLOW = "The camera sends fewer than three pictures a second. Add light or close other programs, then begin again."
ABSENT = "Stay in front of the camera, with the whole face in the picture."
REPLACED = "The face in the picture changed from one moment to the next. One person answers, without a pause."

_STEP_S = 0.35
"""A face that was out of sight for longer may not have moved further than in this time; nor is it told from another."""


@dataclass(frozen=True)
class _Sight:
    """The face where it was seen last."""

    at_ns: int
    head: Head


class Continuity:
    """Judges each cue against those before it."""

    def __init__(self) -> None:
        self._last: Cue | None = None
        self._sight: _Sight | None = None
        self._lost = self._slow = 0

    def forget(self) -> None:
        """Begin anew with the face, the lost pictures and the slow ones; the order of frames stays."""
        self._sight = None
        self._lost = self._slow = 0

    def fault(self, cue: Cue, *, prompted: bool) -> str | None:
        """The sentence against this cue, if any; after a prompt, frames may have waited for the prompt to end."""
        last, self._last = self._last, cue
        self._lost += cue.lost
        if cue.repeated:
            return FROZEN
        if last is not None and (cue.at_ns <= last.at_ns or cue.sequence <= last.sequence):
            return DISORDERED
        if self._lost > parameters.LIVENESS_LOST or (last is not None and _pause(last, cue, prompted)):
            return GAPS
        self._slow += last is not None and not prompted and (cue.at_ns - last.at_ns) / 1e9 > _STEP_S
        if self._slow > parameters.LIVENESS_SLOW:
            return SLOW
        return self._fault_of_face(cue)

    def trusted(self, cue: Cue) -> Cue:
        """`cue`, without its head where that is not the face of before but another find elsewhere in the picture."""
        return cue if self._sight is None or cue.head is self._sight.head else replace(cue, head=None)

    def _fault_of_face(self, cue: Cue) -> str | None:
        sight, head = self._sight, cue.head
        if sight is None:
            self._sight = _Sight(cue.at_ns, head) if head is not None else None
            return None
        away = (cue.at_ns - sight.at_ns) / 1e9
        if head is None or _has_jumped(sight.head, head, away):
            return ABSENT if away > parameters.LIVENESS_ABSENCE_SECONDS + _STEP_S else None
        self._sight = _Sight(cue.at_ns, head)
        cut = away <= _STEP_S and head.steady is not None and head.steady < parameters.LIVENESS_STEADY
        return REPLACED if cut else None


def _pause(last: Cue, cue: Cue, prompted: bool) -> bool:
    """Whether too much time lies between two frames."""
    most = parameters.LIVENESS_PROMPT_SECONDS if prompted else parameters.LIVENESS_GAP_SECONDS
    return (cue.at_ns - last.at_ns) / 1e9 > most


def _has_jumped(before: Head, head: Head, seconds: float) -> bool:
    """Whether the face is further off, or much larger or smaller, than one that moves could be."""
    moved = float(np.hypot(head.x - before.x, head.y - before.y)) / before.size
    reach = 0.5 + parameters.LIVENESS_SPEED * min(seconds, _STEP_S)
    ratio = head.size / before.size
    return moved > reach or not 0.6 < ratio < 1.65
