"""How a node's score came to be what it is: its course, and each move of it with what brought it about. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from authority.trust import Point, Policy, PresentationKind, Story, follow
from authority.trust.replay import moments

GRID = 160
"""Points of time between events: the score falls with time alone."""
MOST_PRESENTATIONS = 240
"""The newest presentations that a course looks at; a node that is asked once an hour has so many in ten days."""
_KINDS = {
    PresentationKind.ACCEPTED: "somebody presented themselves and was accepted",
    PresentationKind.FAILED: "a presentation failed",
    PresentationKind.MISSED: "nobody answered a summons",
}


@dataclass(frozen=True)
class Move:
    """A change of the score, thousandths, or of tier or state, with what happened at that moment."""

    before: Point
    after: Point
    causes: Sequence[str]


@dataclass(frozen=True)
class Course:
    """Points in time, ascending, and the moves between them; `whole` unless older presentations were left out."""

    points: Sequence[Point]
    moves: Sequence[Move]
    whole: bool = True


def course(story: Story, policy_at: Callable[[float], Policy], begin: float, end: float) -> Course:
    """The course from `begin` to `end`, under the policies of each moment."""
    kept = replace(story, performed=story.performed[-MOST_PRESENTATIONS:])
    events = causes(kept)
    grid = sorted({*moments([kept], begin, end, (end - begin) / GRID), *(at for at in events if begin <= at <= end)})
    points = [*follow(policy_at, kept, grid)]
    return Course(points, [*_moves(points, events)], len(kept.performed) == len(story.performed))


def causes(story: Story) -> dict[float, list[str]]:
    """What happened at each moment, in words."""
    found: dict[float, list[str]] = defaultdict(list)
    for performed in story.performed:
        weak = " (weak evidence)" if performed.presentation.weak else ""
        found[performed.presentation.at].append(_KINDS[performed.presentation.kind] + weak)
    for order in story.orders:
        found[order.at].append(f"an operator ordered: {order.action.value}")
    for signal in story.signals:
        found[signal.at].append(f"signal {signal.kind} ({signal.origin.value})")
    for at in story.failed_attestations:
        found[at].append("the machine's attestation failed")
    return dict(found)


def _moves(points: Sequence[Point], events: dict[float, list[str]]) -> list[Move]:
    moves = []
    for before, after in pairwise(points):
        stands = (before.tier, before.state) == (after.tier, after.state)
        if after.at in events or not stands:
            moves.append(Move(before, after, events.get(after.at, ["time passed"])))
    return moves
