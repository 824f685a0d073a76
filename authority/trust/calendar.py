"""Attended time: when people are at a site, by weekday windows in its time zone and its holidays. Pure.

Times are POSIX seconds. Attended time is counted like a clock that stands still while nobody is there, so that a span
of it never piles up at the hour when a site opens.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from authority.trust.policy import AttendedHours, Week

Window = tuple[float, float]
"""From, and up to but without."""
MOST_DAYS = 3700
"""No span of attended time is looked for farther ahead."""
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|(24:00))")


def is_attended(hours: AttendedHours, at: float) -> bool:
    """Whether somebody is there; always where no time zone is set."""
    return not hours.time_zone or _within(windows_on(hours, hours, _date(hours, at)), at)


def is_on_duty(hours: AttendedHours, week: Week | None, at: float) -> bool:
    """Whether a person with the windows `week` is; always for one without any. Holidays are the site's."""
    return week is None or _within(windows_on(hours, week, _date(hours, at)), at)


def attended_s(hours: AttendedHours, since: float, until: float) -> float:
    """Attended seconds between two times; negative when `until` lies before `since`."""
    if not hours.time_zone:
        return until - since
    return _count(hours, until) - _count(hours, since)


def advance(hours: AttendedHours, start: float, seconds: float) -> float:
    """The attended time at which so many attended seconds have passed since `start`."""
    if not hours.time_zone:
        return start + seconds
    date, left = _date(hours, start), seconds
    for _ in range(MOST_DAYS):
        for begin, end in windows_on(hours, hours, date):
            usable = end - max(begin, start)
            if usable > left:
                return max(begin, start) + left
            left -= max(0.0, usable)
        date += dt.timedelta(days=1)
    return start + MOST_DAYS * 86400.0


@lru_cache(maxsize=65536)
def windows_on(hours: AttendedHours, week: Week, date: dt.date) -> tuple[Window, ...]:
    """The windows of one local date; an hour that a change of the clock skips or repeats is counted as it passes."""
    if date.isoformat() in hours.holidays:
        return ()
    zone, found = _zone(hours.time_zone), []
    for text in _day_texts(week)[date.weekday()]:
        begin, end = _times(text)
        begins = dt.datetime.combine(date, begin, zone).timestamp()
        last = date + dt.timedelta(days=1) if end is None else date
        ends = dt.datetime.combine(last, end or dt.time(0), zone).replace(fold=0 if end is None else 1).timestamp()
        if begins < ends:
            found.append((begins, ends))
    return tuple(found)


def problems(hours: AttendedHours, roster: dict[str, Week]) -> Iterator[str]:
    """What is wrong with a calendar and the roster beside it, in words."""
    try:
        ZoneInfo(hours.time_zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield f"attended.time_zone = {hours.time_zone[:40]!r} is no time zone, Europe/Berlin say"
    if hours.time_zone and not any(_day_texts(hours)):
        yield "attended must have windows on some day"
    if not hours.time_zone and any(_day_texts(hours)):
        yield "attended needs a time_zone"
    for day in hours.holidays:
        try:
            dt.date.fromisoformat(day)
        except ValueError:
            yield f"attended.holidays: {day[:20]!r} is no date like 2026-12-25"
    for name, week in (("attended", hours), *((f"roster.{admin}", each) for admin, each in roster.items())):
        if any(not _is_sound(texts) for texts in _day_texts(week)):
            yield f"{name[:40]}: the windows of a day are like 08:00-12:00, ascending, and do not overlap"


def _within(windows: tuple[Window, ...], at: float) -> bool:
    return any(begin <= at < end for begin, end in windows)


def _date(hours: AttendedHours, at: float) -> dt.date:
    return dt.datetime.fromtimestamp(at, _zone(hours.time_zone)).date()


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name or "UTC")


@lru_cache(maxsize=65536)
def _count(hours: AttendedHours, at: float) -> float:
    """Attended seconds from the year 2000 to `at`; the times of one history are asked for at every recomputation."""
    date = _date(hours, at)
    today = sum(min(max(at - begin, 0.0), end - begin) for begin, end in windows_on(hours, hours, date))
    return _until_year(hours, date.year) + _until_day(hours, date) + today


@lru_cache(maxsize=4096)
def _until_day(hours: AttendedHours, date: dt.date) -> float:
    """Attended seconds of a year before a date in it."""
    first = dt.date(date.year, 1, 1)
    return sum(_length(hours, first + dt.timedelta(days=day)) for day in range((date - first).days))


@lru_cache(maxsize=4096)
def _until_year(hours: AttendedHours, year: int) -> float:
    if year <= 2000:
        return 0.0
    return (
        _until_year(hours, year - 1)
        + _until_day(hours, dt.date(year - 1, 12, 31))
        + _length(hours, dt.date(year - 1, 12, 31))
    )


def _length(hours: AttendedHours, date: dt.date) -> float:
    return sum(end - begin for begin, end in windows_on(hours, hours, date))


def _day_texts(week: Week) -> tuple[tuple[str, ...], ...]:
    return week.mon, week.tue, week.wed, week.thu, week.fri, week.sat, week.sun


def _times(text: str) -> tuple[dt.time, dt.time | None]:
    """Begin and end of a window as written; no end for the end of the day. Raises `ValueError`."""
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError(text)
    begin = dt.time(int(found[1]), int(found[2]))
    return begin, None if found[5] else dt.time(int(found[3]), int(found[4]))


def _is_sound(texts: tuple[str, ...]) -> bool:
    try:
        spans = [_times(text) for text in texts]
    except ValueError:
        return False
    edges = [value for begin, end in spans for value in (_minutes(begin), 1440 if end is None else _minutes(end))]
    return all(first < second for first, second in zip(edges[::2], edges[1::2], strict=True)) and edges == sorted(edges)


def _minutes(time: dt.time) -> int:
    return time.hour * 60 + time.minute
