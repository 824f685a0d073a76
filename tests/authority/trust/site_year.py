"""A site over a year, by the pure functions alone: nights, weekends, people who answer, and a node that is stolen."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from authority.scheduler import draw_next
from authority.trust import Circumstances, Policy, Presentation, PresentationKind, assess, tier_of
from authority.trust.policy import AttendedHours
from protocol.levels import Tier

HOUR, DAY, WEEK = 3600.0, 86400.0, 7 * 86400.0


@dataclass(frozen=True)
class Hours:
    """Attended hours of each day of a week that begins with POSIX time; nothing on a day of `None`."""

    days: Sequence[tuple[int, int] | None]

    @property
    def calendar(self) -> AttendedHours:
        """These hours as a policy has them; the first day of POSIX time was a Thursday."""
        windows = {
            name: (f"{span[0]:02d}:00-{span[1]:02d}:00",) if span else ()
            for name, span in zip(("thu", "fri", "sat", "sun", "mon", "tue", "wed"), self.days, strict=True)
        }
        return AttendedHours(time_zone="UTC", **windows)

    @property
    def attended_h(self) -> float:
        return sum(end - begin for begin, end in filter(None, self.days))

    def open_at(self, now: float) -> bool:
        return self.next_open(now) == now

    def next_open(self, now: float) -> float:
        """`now` if somebody is there, else when the next attended hours begin."""
        for ahead in range(8):
            midnight = (now // DAY + ahead) * DAY
            span = self.days[int(midnight // DAY) % 7]
            if span is not None and now < midnight + span[1] * HOUR:
                return max(now, midnight + span[0] * HOUR)
        raise ValueError("nobody is ever there")

    def after(self, now: float, attended_s: float) -> float:
        """The moment at which so many attended seconds have passed since `now`."""
        while True:
            now = self.next_open(now)
            span = self.days[int(now // DAY) % 7]
            assert span is not None
            left = (now // DAY) * DAY + span[1] * HOUR - now
            if attended_s < left:
                return now + attended_s
            attended_s -= left
            now += left

    def attended_s(self, begin: float, end: float) -> float:
        """Attended seconds between two moments."""
        total, day = 0.0, begin // DAY
        while day * DAY < end:
            span = self.days[int(day) % 7]
            if span is not None:
                opens, closes = day * DAY + span[0] * HOUR, day * DAY + span[1] * HOUR
                total += max(0.0, min(end, closes) - max(begin, opens))
            day += 1
        return total


OFFICE = Hours([(8, 18)] * 5 + [None, None])
ALWAYS = Hours([(0, 24)] * 7)


@dataclass
class People:
    """How summonses at one node end: missed or failed now and then, with speed and quality.

    Who `returns` checks in an hour after one that was not accepted, until the node is high again.
    """

    seed: random.Random
    missed: float = 0.02
    failed: float = 0.01
    returns: bool = False

    def answer(self, at: float) -> Presentation:
        draw = self.seed.random()
        if draw < self.missed:
            return Presentation(at, PresentationKind.MISSED)
        if draw < self.missed + self.failed:
            return Presentation(at, PresentationKind.FAILED)
        speed, quality = round(1000 * self.seed.betavariate(8, 2)), self.seed.choice([750, 750, 1000])
        return Presentation(at, PresentationKind.ACCEPTED, speed, quality)


@dataclass
class Node:
    """One node's year: what was presented, and a score for each hour."""

    policy: Policy
    hours: Hours
    people: People
    history: list[Presentation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policy = msgspec.structs.replace(self.policy, attended=self.hours.calendar)
        self.due = self.next_summons(0.0)

    def live(self, begin: float, until: float) -> list[tuple[float, int]]:
        """Hourly scores; a summons falls into attended hours, as its interval counts those alone."""
        scores = []
        for hour in range(int(begin // HOUR) + 1, int(until // HOUR) + 1):
            while self.due <= hour * HOUR:
                self.history.append(self.people.answer(self.due))
                self.due = self.next_visit(self.due)
            scores.append((hour * HOUR, self.score(self.history, hour * HOUR)))
        return scores

    def next_visit(self, now: float) -> float:
        summons = self.next_summons(now)
        settled = now < 14 * DAY or tier_of(self.score(self.history, now)) is Tier.HIGH
        return summons if settled or not self.people.returns else min(summons, self.hours.after(now, HOUR))

    def next_summons(self, now: float) -> float:
        return draw_next(self.policy, now, self.people.seed.randbytes)

    def score(self, history: Sequence[Presentation], now: float) -> int:
        return assess(self.policy, history[-64:], Circumstances(), now).score

    def stolen(self, at: float, kind: PresentationKind) -> tuple[float, float]:
        """Hours from a theft until the node is out of the high tier, by the clock and attended.

        The thief keeps the machine running and on the network; at each summons nobody answers, or a stranger does.
        """
        due, taken = self.due, [*self.history]
        while True:
            taken.append(Presentation(due, kind))
            if tier_of(self.score(taken, due)) is not Tier.HIGH:
                return (due - at) / HOUR, self.hours.attended_s(at, due) / HOUR
            due = self.next_summons(due)
