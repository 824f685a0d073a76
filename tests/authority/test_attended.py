"""Attended hours, the roster, and a node's own wish, as the scheduler keeps them; and a clock that jumps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select

from authority import challenges, profiles, scheduler
from authority.refusal import Refused
from authority.store import schema
from authority.trust import parse_policy
from protocol.messages import BeginRequest, Event, Summons
from tests.authority.test_scheduler import Site, only, site
from tests.authority.world import open_world

__all__ = ["site"]
HOUR = 3600.0
OFFICE = parse_policy(
    'version = "office"\n[scheduler]\noutage_s = 3600\n[attended]\ntime_zone = "UTC"\n'
    + "".join(f'{day} = ["08:00-18:00"]\n' for day in ("mon", "tue", "wed", "thu", "fri"))
    + '[roster.ada]\nmon = ["08:00-12:00"]\ntue = ["08:00-18:00"]\n'
)
MONDAY = 1_699_833_600.0
"""Midnight, UTC, of a Monday."""


@contextmanager
def office(hour: float) -> Iterator[Site]:
    with open_world(OFFICE) as world:
        world.clock = MONDAY + hour * HOUR
        yield Site(world)


def demanded(site: Site) -> list[Event]:
    world = site.world
    return [event for _, event in scheduler.challenge_now(world.conn, world.rt, site.node, "on-demand", world.clock)]


def test_nobody_is_summoned_by_night_or_over_a_weekend() -> None:
    with office(18.5) as site:
        assert not only(Summons, site.run(13.4 * HOUR, step=300))
        assert only(Summons, site.run(0.2 * HOUR, step=60))


def test_grace_counts_attended_time_and_a_summons_on_demand_does_not_wait() -> None:
    with office(24 + 17.9) as site:
        [summons] = only(Summons, site.sweep())
        assert summons.expires_at == MONDAY + (48 + 8.15) * HOUR
    with office(24 + 17.9) as site:
        assert only(Summons, demanded(site))[0].expires_at == site.world.clock + 900


def test_only_who_is_on_duty_is_on_the_roster_and_may_begin() -> None:
    with office(13) as site:
        assert not only(Summons, site.sweep())
        site.world.enrol(site.node, "bob")
        [summons] = only(Summons, site.sweep(1))
        assert [entry.admin for entry in summons.roster] == ["bob"]
        request = BeginRequest(record_id=site.record)
        with pytest.raises(Refused, match="not on duty"):
            challenges.begin(site.world.conn, site.world.rt, site.node, summons.challenge_id, request, site.world.clock)


def test_a_node_may_ask_for_a_summons_now_and_then(site: Site) -> None:
    world = site.world
    site.sweep()
    site.accept()
    before = site.plan().next_challenge_at
    [summons] = only(Summons, [event for _, event in scheduler.check_in(world.conn, world.rt, site.node, world.clock)])
    assert summons.reason == "checkin"
    assert site.plan().next_challenge_at != before
    with pytest.raises(Refused, match="just now"):
        scheduler.check_in(world.conn, world.rt, site.node, world.clock + 599)
    [again] = only(
        Summons, [event for _, event in scheduler.check_in(world.conn, world.rt, site.node, world.clock + 600)]
    )
    assert again.challenge_id == summons.challenge_id


def fail(site: Site, times: int, record: str = "") -> None:
    for _ in range(times):
        profiles.count_failure(site.world.conn, site.world.rt, record or site.record, site.world.clock)


def lock_left(site: Site) -> float:
    row = schema.profile
    until = site.world.conn.scalar(select(row.c.locked_until).where(row.c.record_id == site.record))
    return max(0.0, (until or 0.0) - site.world.clock)


def test_a_lock_is_of_administrator_and_node_and_doubles(site: Site) -> None:
    second, elsewhere = site.world.enrol(site.node), site.world.enrol(site.world.node("other"))
    fail(site, 4)
    assert lock_left(site) == 0
    fail(site, 1, second)
    assert lock_left(site) == 900
    fail(site, 1)
    assert lock_left(site) == 1800
    row = schema.profile
    counts = dict(site.world.conn.execute(select(row.c.record_id, row.c.failures_in_row)).all())
    assert counts == {site.record: 6, second: 6, elsewhere: 0}


@pytest.mark.parametrize("jump", [-400 * 86400.0, -86400.0, -5.0, 86400.0, 400 * 86400.0])
def test_no_jump_of_the_clock_shortens_a_lock_or_makes_it_last(site: Site, jump: float) -> None:
    site.sweep()
    fail(site, 5)
    site.run(100, step=5)
    site.world.clock += jump
    site.sweep()
    assert 800 <= lock_left(site) <= 810
    site.run(100, step=5)
    assert 700 <= lock_left(site) <= 710


def test_a_clock_that_went_back_keeps_no_node_trusted_for_longer(site: Site) -> None:
    """Two days after the last acceptance the score is capped, however often the clock was set back meanwhile."""
    world = site.world
    site.sweep()
    site.accept()
    row = schema.presentation
    for _ in range(47):
        site.run(HOUR, step=600)
        world.clock -= 10 * 86400
        site.sweep()
    age = world.clock - world.conn.execute(select(row.c.at).where(row.c.kind == "accepted")).scalar_one()
    assert 47 * HOUR - 47 * 8 <= age <= 47 * HOUR + 1


def test_a_deadline_does_not_move_away_with_a_clock_that_goes_back(site: Site) -> None:
    site.sweep()
    site.activate()
    site.sweep(10)
    site.world.clock -= 7 * 86400
    site.sweep()
    assert site.challenge().state == "activated"
    site.run(61, step=1)
    assert site.challenge().state == "failed"
    assert site.presentations() == ["failed"]
