"""Who is there to answer, by a policy's calendar and roster: hours a week, and each person's share of them. Pure."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from authority.trust.calendar import Window, windows_on
from authority.trust.policy import AttendedHours, Week

WEEKS = 52
"""Weeks that are looked at: a year's holidays and changes of the clock."""


@dataclass(frozen=True)
class Duty:
    """Hours a week, as the mean of `WEEKS`.

    `attended_h` is when the site is; `idle_h` the part of it in which nobody of the roster is on duty, 0 without a
    roster. `on_duty_h` is when each person may answer, `shares` what of all answers falls to each: whoever is on duty
    at the same time shares alike, so that they add up to 1, or are all 0 where nobody is ever there.
    """

    attended_h: float
    idle_h: float
    on_duty_h: dict[str, float]
    shares: dict[str, float]


def duty(hours: AttendedHours, roster: dict[str, Week], first: dt.date) -> Duty:
    """The year of a site from the date `first` on, in the site's time zone (UTC without one)."""
    attended = idle = 0.0
    there: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for seconds, names in _stretches(hours, roster, first):
        attended += seconds
        idle += 0.0 if names or not roster else seconds
        there.update(dict.fromkeys(names, seconds))
        taken.update(dict.fromkeys(names, seconds / max(len(names), 1)))
    week, covered = 3600.0 * WEEKS, taken.total() or 1.0
    return Duty(
        attended / week,
        idle / week,
        {name: there[name] / week for name in sorted(roster)},
        {name: taken[name] / covered for name in sorted(roster)},
    )


def _stretches(hours: AttendedHours, roster: dict[str, Week], first: dt.date) -> Iterator[tuple[float, list[str]]]:
    """Seconds of attended time, and who is on duty in all of them."""
    for day in range(7 * WEEKS):
        date = first + dt.timedelta(days=day)
        weeks = {name: windows_on(hours, week, date) for name, week in roster.items()}
        for begin, end in _attended(hours, date):
            inner = {edge for spans in weeks.values() for span in spans for edge in span if begin < edge < end}
            edges = [begin, *sorted(inner), end]
            for since, until in pairwise(edges):
                yield until - since, [name for name, spans in weeks.items() if _covers(spans, since)]


def _attended(hours: AttendedHours, date: dt.date) -> tuple[Window, ...]:
    if hours.time_zone:
        return windows_on(hours, hours, date)
    midnight = dt.datetime.combine(date, dt.time(0), dt.UTC).timestamp()
    return ((midnight, midnight + 86400.0),)


def _covers(spans: tuple[Window, ...], at: float) -> bool:
    return any(begin <= at < end for begin, end in spans)
