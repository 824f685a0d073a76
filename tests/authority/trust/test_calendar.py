"""Attended time: draws are uniform in it and fall into it, through changes of the clock, against a slow reference."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authority.scheduler import draw_next
from authority.trust import PolicyError, parse_policy
from authority.trust.calendar import advance, attended_s, is_attended, is_on_duty
from authority.trust.policy import AttendedHours, Week

OFFICE = dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), ("08:00-12:00", "13:00-17:00"))
BERLIN = AttendedHours(time_zone="Europe/Berlin", holidays=("2026-12-25",), **OFFICE)
NIGHTS = AttendedHours(
    time_zone="America/New_York",
    **dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), ("00:00-06:00", "22:00-24:00")),
)
CALENDARS = st.sampled_from([BERLIN, NIGHTS, AttendedHours(time_zone="Asia/Kolkata", sun=("09:30-10:00",))])
YEAR = st.floats(1_767_225_600.0, 1_798_761_600.0)


def local(zone: str, *when: int) -> float:
    return dt.datetime(*when, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[misc,arg-type]


def reference(hours: AttendedHours, at: float) -> bool:
    """By the wall clock alone."""
    here = dt.datetime.fromtimestamp(at, ZoneInfo(hours.time_zone))
    if here.date().isoformat() in hours.holidays:
        return False
    texts = (hours.mon, hours.tue, hours.wed, hours.thu, hours.fri, hours.sat, hours.sun)[here.weekday()]
    return any(text[:5] <= f"{here:%H:%M}" < text[6:] for text in texts)


@given(CALENDARS, YEAR)
@settings(max_examples=300, deadline=None)
def test_who_is_there_is_told_by_the_wall_clock(hours: AttendedHours, at: float) -> None:
    assert is_attended(hours, at) == reference(hours, at)


@given(CALENDARS, YEAR, st.floats(0, 90 * 86400), st.floats(0, 90 * 86400))
@settings(max_examples=200, deadline=None)
def test_attended_time_adds_up_and_never_runs_back(hours: AttendedHours, at: float, one: float, two: float) -> None:
    first, second = attended_s(hours, at, at + one), attended_s(hours, at + one, at + one + two)
    assert 0 <= first <= one + 1e-3
    assert first + second == pytest.approx(attended_s(hours, at, at + one + two), abs=1e-3)


@given(CALENDARS, YEAR, st.floats(0, 200_000))
@settings(max_examples=200, deadline=None)
def test_advancing_is_the_inverse_of_counting(hours: AttendedHours, at: float, seconds: float) -> None:
    found = advance(hours, at, seconds)
    assert is_attended(hours, found)
    assert attended_s(hours, at, found) == pytest.approx(seconds, abs=1e-3)


def minutes(hours: AttendedHours, since: float, until: float) -> int:
    return sum(reference(hours, since + 60 * index + 30) for index in range(int((until - since) // 60)))


@pytest.mark.parametrize("start", [(2026, 3, 27), (2026, 10, 23), (2026, 12, 23)])
@pytest.mark.parametrize("hours", [BERLIN, NIGHTS])
def test_changes_of_the_clock_and_holidays_are_counted_minute_by_minute(
    hours: AttendedHours, start: tuple[int, int, int]
) -> None:
    since = local(hours.time_zone, *start)
    for days in (1, 3, 5):
        until = since + days * 86400
        assert attended_s(hours, since, until) == 60 * minutes(hours, since, until)


def test_an_hour_that_the_clock_skips_or_repeats() -> None:
    """The last Sunday of March has no 02:30 in Berlin, the last one of October has it twice."""
    nightly = AttendedHours(time_zone="Europe/Berlin", sun=("01:00-04:00",))
    spring, autumn = (2026, 3, 29), (2026, 10, 25)
    spans = [
        attended_s(nightly, local("Europe/Berlin", *day), local("Europe/Berlin", *day, 12)) for day in (spring, autumn)
    ]
    assert spans == [2 * 3600, 4 * 3600]


POLICY = parse_policy(
    'version = "office"\n[attended]\ntime_zone = "Europe/Berlin"\n'
    + "".join(f'{day} = ["08:00-12:00", "13:00-17:00"]\n' for day in ("mon", "tue", "wed", "thu", "fri"))
)


@given(YEAR, st.binary(min_size=8, max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_draw_falls_into_attended_time_within_its_bounds(now: float, drawn: bytes) -> None:
    at = draw_next(POLICY, now, lambda _: drawn)
    assert is_attended(POLICY.attended, at)
    assert 3600 - 1e-3 <= attended_s(POLICY.attended, now, at) <= 86400 + 1e-3


def test_draws_are_uniform_in_attended_time_and_do_not_pile_up_at_opening() -> None:
    """Chi square over the hours of the day, drawn from all over a week: 8 cells, 7 degrees, 0.1 % at 24.3."""
    seed = random.Random(5)
    monday = local("Europe/Berlin", 2026, 6, 1)
    hours: Counter[int] = Counter()
    at = monday
    for _ in range(8000):
        at = draw_next(POLICY, at, seed.randbytes)
        hours[dt.datetime.fromtimestamp(at, ZoneInfo("Europe/Berlin")).hour] += 1
    assert sorted(hours) == [8, 9, 10, 11, 13, 14, 15, 16]
    assert sum((count - 1000) ** 2 / 1000 for count in hours.values()) < 24.3


def test_without_a_calendar_it_is_the_clock() -> None:
    always = AttendedHours()
    assert is_attended(always, 5.0)
    assert (attended_s(always, 5.0, 25.0), advance(always, 5.0, 20.0)) == (20.0, 25.0)


def test_duty_is_a_person_s_own_windows_without_holidays() -> None:
    early = Week(mon=("06:00-09:00",), fri=("06:00-09:00",))
    assert is_on_duty(BERLIN, early, local("Europe/Berlin", 2026, 6, 1, 7))
    assert not is_on_duty(BERLIN, early, local("Europe/Berlin", 2026, 6, 1, 10))
    assert not is_on_duty(BERLIN, early, local("Europe/Berlin", 2026, 12, 25, 7))
    assert is_on_duty(BERLIN, None, local("Europe/Berlin", 2026, 12, 25, 3))


@pytest.mark.parametrize(
    "text",
    [
        'time_zone = "Mars/Olympus"\nmon = ["08:00-12:00"]',
        'time_zone = "../../etc/passwd"\nmon = ["08:00-12:00"]',
        'mon = ["08:00-12:00"]',
        'time_zone = "UTC"',
        'time_zone = "UTC"\nmon = ["12:00-08:00"]',
        'time_zone = "UTC"\nmon = ["08:00-12:00", "11:00-13:00"]',
        'time_zone = "UTC"\nmon = ["8-12"]',
        'time_zone = "UTC"\nmon = ["08:00-25:00"]',
        'time_zone = "UTC"\nmon = ["08:00-12:00"]\nholidays = ["Christmas"]',
        'time_zone = "UTC"\nmon = ["08:00-12:00"]\n[roster.ada]\nmon = ["x"]',
    ],
)
def test_a_calendar_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match=r"attended|roster"):
        parse_policy(f'version = "x"\n[attended]\n{text}')
