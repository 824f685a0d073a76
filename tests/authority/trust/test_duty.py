"""Who is there to answer: a year of calendar and roster, checked hour by hour against the calendar itself."""

from __future__ import annotations

import datetime as dt

import pytest

from authority.trust import parse_policy
from authority.trust.calendar import attended_s, is_attended, is_on_duty
from authority.trust.duty import WEEKS, duty
from authority.trust.policy import AttendedHours, Week

FIRST = dt.date(2026, 1, 5)
BEGIN = dt.datetime(2026, 1, 5, tzinfo=dt.UTC).timestamp()
WORKDAYS = "".join(f'{day} = ["08:00-12:00", "13:00-17:00"]\n' for day in ("mon", "tue", "wed", "thu", "fri"))
SITE = parse_policy(
    f'version = "d"\n[attended]\ntime_zone = "UTC"\n{WORKDAYS}holidays = ["2026-12-25", "2026-05-01"]\n'
    '[roster.ada]\nmon = ["08:00-17:00"]\ntue = ["10:00-14:00"]\nfri = ["00:00-24:00"]\n'
    '[roster.bob]\nmon = ["09:00-11:00"]\nsat = ["08:00-12:00"]\n'
)


def by_the_hour(hours: AttendedHours, roster: dict[str, Week]) -> tuple[float, float, dict[str, float]]:
    """Attended and idle hours of the year and each person's, by asking the calendar in the middle of every hour."""
    attended = idle = 0.0
    people = dict.fromkeys(roster, 0.0)
    for hour in range(WEEKS * 168):
        at = BEGIN + (hour + 0.5) * 3600
        if is_attended(hours, at):
            on_duty = [name for name, week in roster.items() if is_on_duty(hours, week, at)]
            attended += 1
            idle += not on_duty
            for name in on_duty:
                people[name] += 1 / len(on_duty)
    return attended, idle, people


def test_a_year_agrees_with_the_calendar_hour_by_hour() -> None:
    found = duty(SITE.attended, SITE.roster, FIRST)
    attended, idle, people = by_the_hour(SITE.attended, SITE.roster)
    assert (found.attended_h * WEEKS, found.idle_h * WEEKS) == pytest.approx((attended, idle))
    assert attended == (5 * WEEKS - 2) * 8
    covered = attended - idle
    assert found.shares == pytest.approx({name: hours / covered for name, hours in people.items()})
    assert sum(found.shares.values()) == pytest.approx(1)


def test_hours_on_duty_are_those_in_which_the_site_is_attended() -> None:
    found = duty(SITE.attended, SITE.roster, FIRST)
    assert found.on_duty_h["bob"] * WEEKS == pytest.approx(WEEKS * 2)
    assert found.on_duty_h["ada"] * WEEKS == pytest.approx(WEEKS * (8 + 3) + (WEEKS - 2) * 8)


def test_changes_of_the_clock_count_as_they_pass() -> None:
    policy = parse_policy(f'version = "d"\n[attended]\ntime_zone = "Europe/Berlin"\nsun = ["00:00-24:00"]\n{WORKDAYS}')
    begin = BEGIN - 3600
    expected = attended_s(policy.attended, begin, begin + WEEKS * 7 * 86400) / 3600
    assert duty(policy.attended, {}, FIRST).attended_h * WEEKS == pytest.approx(expected)


def test_without_a_calendar_every_hour_counts_and_without_a_roster_none_is_idle() -> None:
    found = duty(AttendedHours(), {}, FIRST)
    assert (found.attended_h, found.idle_h, found.shares) == (168, 0, {})
    with_one = duty(AttendedHours(), {"ada": Week(mon=("08:00-12:00",))}, FIRST)
    assert (with_one.attended_h, with_one.idle_h, with_one.shares) == (168, 164, {"ada": 1.0})


def test_a_roster_of_people_who_are_never_there_leaves_every_hour_idle() -> None:
    found = duty(SITE.attended, {"eve": Week(sun=("08:00-12:00",))}, FIRST)
    assert (found.idle_h, found.shares) == (found.attended_h, {"eve": 0.0})
