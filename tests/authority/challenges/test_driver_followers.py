"""After an upgrade of the agent: drivers that operators let stand in for those of the enrolment, and no others."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from authority import driver_followers
from authority.refusal import Refused
from authority.store import schema
from protocol.messages import Outcome, SensorIdentity
from tests.authority.challenges.answers import answered, reasons
from tests.authority.nodes import MODALITIES, Machine, Site, sensor

OLD, NEW, NEWER, OTHER = ("0" * 64, "1" * 64, "2" * 64, "3" * 64)
FOREIGN = "a sensor is not the one that was pinned at enrolment"


def upgraded(code: str, **changes: str) -> list[SensorIdentity]:
    return [sensor(name, driver_sha256=code, **changes) for name in MODALITIES[:2]]


def follow(site: Site, old: str, new: str) -> int:
    return site.run(lambda conn, _rt, now: driver_followers.allow(conn, old, new, "upgrade", "operator", now))


def withdraw(site: Site, number: int) -> None:
    site.run(lambda conn, _rt, now: driver_followers.withdraw(conn, number, "faulty", "operator", now))


def test_other_code_is_refused_until_it_may_stand_in(site: Site, enrolled: Machine):
    assert answered(site, enrolled, sensors=upgraded(NEW)) is Outcome.REJECTED
    assert "driver follow" in reasons(site)[0]
    follow(site, OLD, NEW)
    assert answered(site, enrolled, sensors=upgraded(NEW)) is Outcome.ACCEPTED


def test_the_code_of_the_enrolment_stays_good(site: Site, enrolled: Machine):
    """An upgrade of a fleet takes its time; nodes of both versions answer meanwhile."""
    follow(site, OLD, NEW)
    assert answered(site, enrolled) is Outcome.ACCEPTED
    mixed = [upgraded(OLD)[0], upgraded(NEW)[1]]
    assert answered(site, enrolled, sensors=mixed) is Outcome.ACCEPTED


def test_followers_of_followers_are_followers_until_a_link_is_withdrawn(site: Site, enrolled: Machine):
    first = follow(site, OLD, NEW)
    follow(site, NEW, NEWER)
    assert answered(site, enrolled, sensors=upgraded(NEWER)) is Outcome.ACCEPTED
    withdraw(site, first)
    assert answered(site, enrolled, sensors=upgraded(NEWER)) is Outcome.REJECTED
    assert answered(site, enrolled, sensors=upgraded(NEW)) is Outcome.REJECTED
    follow(site, OLD, NEW)
    assert answered(site, enrolled, sensors=upgraded(NEWER)) is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"code": OTHER}, "driver follow"),
        ({"code": NEW, "port": "2"}, FOREIGN),
        ({"code": NEW, "driver": "another"}, FOREIGN),
        ({"code": NEW, "transport": "usb"}, FOREIGN),
    ],
)
def test_it_stands_in_for_the_code_and_for_nothing_else(
    site: Site, enrolled: Machine, changes: dict[str, str], why: str
):
    follow(site, OLD, NEW)
    follow(site, OTHER, NEWER)
    assert answered(site, enrolled, sensors=upgraded(**changes)) is Outcome.REJECTED
    assert why in reasons(site)[0]


def test_nothing_follows_backwards(site: Site, enrolled: Machine):
    follow(site, NEW, OLD)
    assert answered(site, enrolled, sensors=upgraded(NEW)) is Outcome.REJECTED


def test_a_ring_of_followers_ends(site: Site, enrolled: Machine):
    for old, new in ((OLD, NEW), (NEW, NEWER), (NEWER, OLD)):
        follow(site, old, new)
    assert answered(site, enrolled, sensors=upgraded(NEWER)) is Outcome.ACCEPTED
    assert answered(site, enrolled, sensors=upgraded(OTHER)) is Outcome.REJECTED


@pytest.mark.parametrize("sensors", [[], upgraded(NEW)[:1], upgraded(NEW) * 2])
def test_another_number_of_sensors_is_refused(site: Site, enrolled: Machine, sensors: list[SensorIdentity]):
    follow(site, OLD, NEW)
    assert answered(site, enrolled, sensors=sensors) is Outcome.REJECTED


@pytest.mark.parametrize("by_way_of_others", [True, False])
def test_withdrawing_says_where_the_code_still_stands_in_by_way_of_others(
    site: Site, enrolled: Machine, by_way_of_others: bool
):
    first = follow(site, OLD, NEW)
    if by_way_of_others:
        follow(site, OLD, NEWER)
        follow(site, NEWER, NEW)
    withdraw(site, first)
    text = site.read(lambda conn: conn.scalars(select(schema.alert.c.text).order_by(schema.alert.c.id)).all())[-1]
    assert ("still stands in" in text) is by_way_of_others
    assert (answered(site, enrolled, sensors=upgraded(NEW)) is Outcome.ACCEPTED) is by_way_of_others


def test_saying_it_twice_is_once_and_everything_is_on_record(site: Site):
    first = follow(site, OLD, NEW)
    assert follow(site, OLD, NEW) == first
    withdraw(site, first)
    withdraw(site, first)
    (row,) = site.read(driver_followers.listing)
    assert (row["old"], row["new"], row["withdrawn_by"]) == (OLD, NEW, "operator")
    assert [len(site.audit(kind)) for kind in ("driver-follows", "driver-withdrawn")] == [1, 1]
    assert {"driver-follows", "driver-withdrawn"} <= {*site.alerts()}


def test_orders_that_make_no_sense_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Refused, match="itself"):
        follow(site, OLD, OLD)
    with pytest.raises(Refused, match="no follower 9"):
        withdraw(site, 9)
    monkeypatch.setattr(driver_followers, "MOST_FOLLOWERS", 1)
    follow(site, OLD, NEW)
    with pytest.raises(Refused, match="already"):
        follow(site, OLD, NEWER)
    assert len(site.read(lambda conn: conn.execute(select(schema.driver_follower)).all())) == 1
