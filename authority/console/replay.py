"""Policy replay for the console: node by node, beside the authority's own work, within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from authority import replaying
from authority.console.course import MOST_PRESENTATIONS
from authority.console.fleet import Filters, matching
from authority.runtime import Refusal
from authority.store import schema
from authority.trust import Policy, Story
from authority.trust.replay import Comparison, compare, moments

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

BATCH = 20
"""Nodes that one transaction reads the stories of."""
GRID = 60
MOST_WORK = 4_000_000
"""Moments times presentations, summed over nodes: what a replay may take, some tens of seconds of one core."""


@dataclass(frozen=True)
class Replay:
    """Comparisons by node; `left_out` nodes did not fit the bound."""

    compared: Sequence[Comparison]
    left_out: int

    @property
    def demotions_added(self) -> int:
        """How many more demotions there would have been."""
        return sum(each.would.demotions - each.was.demotions for each in self.compared)

    @property
    def isolations_added(self) -> int:
        """How many more isolations there would have been."""
        return sum(each.would.isolations - each.was.isolations for each in self.compared)


class Replayer:
    """Runs one replay at a time; decisions wait for reading alone, never for the computation."""

    def __init__(self, context: OperatorContext) -> None:
        self._context = context
        self._busy = asyncio.Lock()

    async def run(self, policy: Policy, words: str, length_s: float) -> Replay:
        """What `policy` would have made of the last `length_s` of the nodes that `words` finds; raises `Refusal`."""
        if self._busy.locked():
            raise Refusal("another replay is under way", "Try again when it has ended.")
        async with self._busy:
            return await self._run(policy, words, length_s)

    async def _run(self, policy: Policy, words: str, length_s: float) -> Replay:
        rt = self._context.runtime
        end, work = rt.now(), 0
        was = await self._context.read(lambda conn: replaying.in_force(conn, rt.policy))
        ids = await self._context.read(lambda conn: matching(conn, Filters(words, order="name"), end))
        compared: list[Comparison] = []
        for at in range(0, len(ids), BATCH):
            stories = await self._context.read(_reader(ids[at : at + BATCH]))
            work += sum(_work(each) for each in stories.values())
            if work > MOST_WORK:
                break
            compared += await asyncio.to_thread(_compared, stories, (was, policy), end - length_s, end)
        return Replay(compared, len(ids) - len(compared))


def _reader(ids: Sequence[str]) -> Callable[[Connection], dict[str, Story]]:
    return lambda conn: {name: _newest(each) for name, each in replaying.stories(conn, ids).items()}


def _newest(story: Story) -> Story:
    return replace(story, performed=story.performed[-MOST_PRESENTATIONS:])


def _work(story: Story) -> int:
    return (GRID + len(story.performed)) * max(1, len(story.performed))


def _compared(
    stories: dict[str, Story], policies: tuple[Callable[[float], Policy], Policy], begin: float, end: float
) -> list[Comparison]:
    return [
        compare(name, story, policies, moments([story], begin, end, (end - begin) / GRID))
        for name, story in stories.items()
    ]


def policy_choices(conn: Connection) -> list[tuple[str, str]]:
    """Numbers of the policies that were in force, with what they are called; newest first."""
    row = schema.policy_version
    rows = conn.execute(select(row.c.seq, row.c.version, row.c.sha256).order_by(row.c.seq.desc()).limit(50))
    return [(str(each.seq), f"{each.version} ({each.sha256[:8]})") for each in rows]
