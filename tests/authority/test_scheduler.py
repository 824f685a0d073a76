"""The scheduler: random, one at a time, swept after a restart, fair about our own outages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from authority import scheduler, standing
from authority.refusal import Refused
from authority.store import schema
from authority.trust import default_policy, parse_policy
from protocol.messages import AttestRequest, Event, Summons
from tests.authority.world import World, open_world

HOUR = 3600.0
E = TypeVar("E")


class Site:
    """A world with one enrolled node, swept every 10 seconds of its clock."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.node = world.node("n1")
        self.record = world.enrol(self.node)
        self.told: list[Event] = []

    def sweep(self, seconds: float = 0.0, *, first: bool = False) -> list[Event]:
        self.world.clock += seconds
        pushes = scheduler.sweep(self.world.conn, self.world.rt, self.world.clock, first=first)
        events = [event for _, event in pushes]
        self.told += events
        return events

    def run(self, seconds: float, step: float = 10.0) -> list[Event]:
        return [event for _ in range(round(seconds / step)) for event in self.sweep(step)]

    def challenge(self) -> object:
        row = schema.challenge
        return self.world.conn.execute(select(row).order_by(row.c.epoch.desc())).first()

    def activate(self) -> None:
        values = {"state": "activated", "activated_at": self.world.clock, "record_id": self.record}
        deadline = self.world.clock + self.world.policy.challenge.activation_s
        mine = schema.challenge.c.id == self.challenge().id
        self.world.conn.execute(update(schema.challenge).where(mine).values(**values, deadline_at=deadline))

    def accept(self) -> None:
        row = self.challenge()
        self.world.conn.execute(
            update(schema.challenge).where(schema.challenge.c.id == row.id).values(state="accepted")
        )
        world = self.world
        standing.record_presentation(world.conn, world.rt, self.node, row.id, "accepted", 1000, 1000, world.clock)

    def presentations(self) -> list[str]:
        row = schema.presentation
        return [*self.world.conn.scalars(select(row.c.kind).order_by(row.c.seq))]

    def plan(self) -> object:
        return self.world.conn.execute(select(schema.schedule).where(schema.schedule.c.node_id == self.node)).one()


def only(kind: type[E], events: list[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def site() -> Iterator[Site]:
    with open_world() as world:
        yield Site(world)


@given(st.binary(min_size=8, max_size=8))
def test_the_next_challenge_lies_in_the_interval(drawn: bytes) -> None:
    at = scheduler.draw_next(default_policy(), 1000.0, lambda _: drawn)
    assert 1000 + HOUR <= at <= 1000 + 24 * HOUR


def test_the_draw_is_uniform(site: Site) -> None:
    hours = [(scheduler.draw_next(default_policy(), 0.0, site.world.seed.randbytes) / HOUR) for _ in range(4600)]
    counts = [sum(1 + 2.3 * part <= hour < 1 + 2.3 * (part + 1) for hour in hours) for part in range(10)]
    assert sum((count - 460) ** 2 / 460 for count in counts) < 27.9
    assert sum(counts) == len(hours)


def test_a_lab_policy_draws_seconds_for_lab_nodes_alone(site: Site) -> None:
    policy = parse_policy('version = "demo"\nlab = true\n[challenge]\nmin_s = 2\nmax_s = 8\nactivation_s = 8')
    randbytes: Callable[[int], bytes] = site.world.seed.randbytes
    assert 2 <= scheduler.draw_next(policy, 0.0, randbytes, lab_node=True) <= 8
    assert scheduler.draw_next(policy, 0.0, randbytes, lab_node=False) >= HOUR


def test_the_first_summons_comes_as_soon_as_somebody_is_enrolled(site: Site) -> None:
    [summons] = only(Summons, site.sweep())
    assert [entry.admin for entry in summons.roster] == ["ada"]
    assert summons.roster[0].record_id == site.record
    assert summons.modalities == ["face", "fingerprint"]
    assert summons.reason == "scheduled"
    assert summons.expires_at == site.world.clock + 900


def test_a_node_without_an_approved_profile_is_not_summoned() -> None:
    with open_world() as world:
        site = Site(world)
        world.conn.execute(update(schema.profile).values(state="pending"))
        assert not only(Summons, site.run(60))
        world.conn.execute(update(schema.profile).values(state="active"))
        assert only(Summons, site.sweep(1))


def test_the_next_summons_comes_within_a_day() -> None:
    with open_world(parse_policy('version = "coarse"\n[scheduler]\noutage_s = 3600')) as world:
        site = Site(world)
        site.sweep()
        site.accept()
        later = only(Summons, site.run(24 * HOUR + 900, step=900))
    assert later


def test_a_second_summons_waits_for_the_first_to_end(site: Site) -> None:
    site.sweep()
    site.world.conn.execute(update(schema.schedule).values(next_challenge_at=site.world.clock))
    assert not only(Summons, site.run(60))


def test_epochs_fence_one_challenge_from_the_next(site: Site) -> None:
    site.sweep()
    first = site.challenge()
    site.run(920)
    site.world.conn.execute(update(schema.schedule).values(next_challenge_at=site.world.clock))
    site.sweep(1)
    second = site.challenge()
    assert (first.epoch, second.epoch) == (1, 2)
    assert first.id != second.id


def test_a_summons_that_nobody_begins_is_missed(site: Site) -> None:
    site.sweep()
    site.run(890)
    assert site.presentations() == []
    site.run(20)
    assert site.presentations() == ["missed"]
    assert site.challenge().state == "missed"


def test_an_activation_without_evidence_is_failed_and_counts_against_the_profile(site: Site) -> None:
    site.sweep()
    site.activate()
    site.run(50)
    assert site.presentations() == []
    site.run(20)
    assert site.presentations() == ["failed"]
    assert site.challenge().state == "failed"
    assert site.world.conn.scalar(select(schema.profile.c.failures_in_row)) == 1


def test_the_fifth_failure_in_a_row_locks_the_profile_for_a_while(site: Site) -> None:
    site.world.conn.execute(update(schema.profile).values(failures_in_row=4))
    site.sweep()
    site.activate()
    site.run(70)
    with pytest.raises(Refused, match="nobody who is enrolled"):
        scheduler.challenge_now(site.world.conn, site.world.rt, site.node, "on-demand", site.world.clock)
    site.world.conn.execute(update(schema.schedule).values(next_challenge_at=site.world.clock))
    assert not only(Summons, site.run(880))
    assert only(Summons, site.run(40))


def test_a_restart_within_the_window_forgets_nothing(site: Site) -> None:
    site.sweep()
    assert site.run(1000)
    assert site.presentations() == ["missed"]


def test_what_ran_out_while_the_authority_was_away_is_undecided_and_asked_again_at_once(site: Site) -> None:
    site.sweep()
    events = site.sweep(2 * HOUR)
    assert site.presentations() == []
    assert len(only(Summons, events)) == 1
    states = site.world.conn.scalars(select(schema.challenge.c.state).order_by(schema.challenge.c.epoch)).all()
    assert states == ["undecided", "summoned"]
    assert {"outage", "undecided"} <= {*site.world.audit_kinds()}


def test_what_ran_out_before_the_outage_is_still_missed(site: Site) -> None:
    site.sweep()
    site.run(890)
    site.world.conn.execute(
        update(schema.meta).where(schema.meta.c.key == "heartbeat").values(value=repr(site.world.clock + 20))
    )
    site.sweep(2 * HOUR)
    assert site.presentations() == ["missed"]


def test_an_activation_cut_short_by_an_outage_is_undecided(site: Site) -> None:
    site.sweep()
    site.activate()
    site.sweep(HOUR)
    assert site.presentations() == []


def test_undecided_never_holds_a_score_up(site: Site) -> None:
    site.sweep()
    site.accept()
    for _ in range(3):
        site.sweep(30 * HOUR)
    assert site.presentations() == ["accepted"]
    assert site.world.row(site.node).score < 500 + 275
    site.sweep(HOUR * 24)
    assert site.world.row(site.node).tier == "low"


def test_an_isolated_node_is_still_challenged_so_that_it_can_recover(site: Site) -> None:
    site.world.set_node(site.node, state="isolated")
    assert only(Summons, site.sweep())


@pytest.mark.parametrize("state", ["banned", "retired"])
def test_a_banned_or_retired_node_is_left_alone(site: Site, state: str) -> None:
    site.world.set_node(site.node, state=state)
    assert site.run(HOUR) == []
    with pytest.raises(Refused, match="not challenged"):
        scheduler.challenge_now(site.world.conn, site.world.rt, site.node, "on-demand", site.world.clock)


def test_a_revoked_administrator_is_not_on_the_roster(site: Site) -> None:
    site.world.enrol(site.node, "bob", ["voice", "face"])
    site.world.conn.execute(
        update(schema.administrator).where(schema.administrator.c.name == "ada").values(revoked_at=1.0)
    )
    [summons] = only(Summons, site.sweep())
    assert [entry.admin for entry in summons.roster] == ["bob"]
    assert summons.modalities == ["face", "voice"]


def test_on_demand_summons_at_once_and_repeats_the_open_one(site: Site) -> None:
    world = site.world
    [(node, first)] = scheduler.challenge_now(world.conn, world.rt, site.node, "on-demand", world.clock)
    assert node == site.node
    assert isinstance(first, Summons)
    assert first.reason == "on-demand"
    assert scheduler.challenge_now(world.conn, world.rt, site.node, "on-demand", world.clock) == [(node, first)]
    assert scheduler.open_summons(world.conn, world.rt, site.node, world.clock) == [(node, first)]
    site.activate()
    assert scheduler.challenge_now(world.conn, world.rt, site.node, "on-demand", world.clock) == []
    assert scheduler.open_summons(world.conn, world.rt, site.node, world.clock) == []


def test_a_node_is_never_told_when_it_will_be_challenged(site: Site) -> None:
    site.run(HOUR)
    assert standing.status(site.world.conn, site.node).next_challenge_at is None


def test_machines_are_asked_to_attest_at_their_interval(site: Site) -> None:
    requests = only(AttestRequest, site.run(900))
    assert len(requests) == 3
    assert len({request.nonce for request in requests}) == 3
    stored = site.world.conn.execute(select(schema.nonce)).all()
    assert {(row.value, row.purpose) for row in stored} == {(each.nonce.hex(), "attest") for each in requests}


def test_a_machine_that_stays_silent_becomes_overdue_and_loses_the_latest_key(site: Site) -> None:
    site.sweep()
    for _ in range(3):
        site.world.conn.execute(update(schema.schedule).values(next_challenge_at=site.world.clock))
        site.sweep(1)
        site.accept()
    assert site.world.row(site.node).tier == "high"
    site.world.conn.execute(update(schema.schedule).values(attest_deadline_at=None))
    site.run(1800)
    assert (site.world.row(site.node).tier, site.world.row(site.node).state) == ("medium", "overdue")
    world = site.world
    answered = standing.record_attestation(world.conn, world.rt, site.node, True, "", world.clock)
    assert (answered.tier, answered.state) == ("high", "active")


def test_a_machine_is_not_overdue_for_the_time_the_authority_was_away(site: Site) -> None:
    site.sweep()
    site.accept()
    site.sweep(HOUR)
    assert site.world.row(site.node).state == "active"


def test_superseded_rows_are_forgotten_after_a_day(site: Site) -> None:
    site.run(600)
    before = len(site.world.conn.execute(select(schema.nonce)).all())
    site.sweep(25 * HOUR)
    assert before >= 2
    assert len(site.world.conn.execute(select(schema.nonce)).all()) == 1


def test_a_deadline_that_falls_into_a_short_restart_is_our_fault(site: Site) -> None:
    site.sweep()
    site.activate()
    activation = site.world.policy.challenge.activation_s
    site.run(activation - 5, step=1)
    site.sweep(10, first=True)
    states = [*site.world.conn.scalars(select(schema.challenge.c.state).order_by(schema.challenge.c.epoch))]
    assert states[0] == "undecided"


def test_the_same_deadline_without_a_restart_is_a_failure(site: Site) -> None:
    site.sweep()
    site.activate()
    activation = site.world.policy.challenge.activation_s
    site.run(activation - 5, step=1)
    site.sweep(10)
    states = [*site.world.conn.scalars(select(schema.challenge.c.state).order_by(schema.challenge.c.epoch))]
    assert states[0] == "failed"
