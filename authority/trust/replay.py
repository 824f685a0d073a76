"""What another policy would have made of the same events: two courses side by side. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from authority.trust.course import Point, Story, follow
from authority.trust.policy import Policy
from protocol.levels import NodeState, Tier

_RANK = {Tier.LOW: 0, Tier.MEDIUM: 1, Tier.HIGH: 2}


@dataclass(frozen=True)
class Course:
    """One node under one policy: points in time, and what they come to."""

    points: Sequence[Point]

    @property
    def mean(self) -> int:
        """Mean score over the points, thousandths."""
        return sum(point.score for point in self.points) // max(1, len(self.points))

    @property
    def demotions(self) -> int:
        """How often the tier fell."""
        return sum(_RANK[later.tier] < _RANK[earlier.tier] for earlier, later in pairwise(self.points))

    @property
    def isolations(self) -> int:
        """How often the node was isolated."""
        isolated = NodeState.ISOLATED
        return sum(
            later.state is isolated and earlier.state is not isolated for earlier, later in pairwise(self.points)
        )

    def share(self, tier: Tier) -> float:
        """Share of the points in a tier, 0 to 1."""
        return sum(point.tier is tier for point in self.points) / max(1, len(self.points))


@dataclass(frozen=True)
class Comparison:
    """A node's course as it was and as it would have been."""

    name: str
    was: Course
    would: Course


def compare(
    name: str, story: Story, policies: tuple[Callable[[float], Policy], Policy], moments: Sequence[float]
) -> Comparison:
    """The courses under the policies that were in force, by time, and under another one."""
    in_force, other = policies
    was = Course([*follow(in_force, story, moments)])
    return Comparison(name, was, Course([*follow(lambda _: other, story, moments)]))


def moments(stories: Sequence[Story], begin: float, end: float, step_s: float) -> list[float]:
    """A grid from `begin` to `end`, and every event between."""
    grid = {begin + number * step_s for number in range(int((end - begin) / step_s) + 1)} | {end}
    events = {each.presentation.at for story in stories for each in story.performed}
    return sorted(grid | {at for at in events if begin <= at <= end})
