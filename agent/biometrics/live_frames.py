"""Frames with a verdict on who answered in them; apart from `agent.biometrics.liveness`, which loads libraries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from agent.biometrics._dlib import Box
from hal import Frame


class LiveFrames(tuple[Frame, ...]):
    """The frames of a presentation that recognition looks at, straight faces from its beginning to its end.

    `refusal` is the reason why nobody alive was seen to answer; empty when somebody was. `places` are where that face
    is in each frame: no other may be recognised.
    """

    refusal: str
    places: tuple[Box, ...]

    @classmethod
    def of(cls, frames: Iterable[Frame], refusal: str = "", places: Iterable[Box] = ()) -> Self:
        """`frames` with the verdict on them."""
        made = cls(frames)
        made.refusal, made.places = refusal, tuple(places)
        return made
