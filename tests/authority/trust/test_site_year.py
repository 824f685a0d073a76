"""A year of a site: honest nodes stay high through nights and weekends, a stolen one falls within hours."""

from __future__ import annotations

import random
import statistics

import pytest

from authority.trust import PresentationKind, default_policy, tier_of
from authority.trust.cadence import Effort, cadence
from protocol.levels import Tier
from tests.authority.trust.site_year import ALWAYS, DAY, HOUR, OFFICE, Hours, Node, People

POLICY = default_policy()
SETTLED = 14 * DAY


def settled_share(hours: Hours, days: int, seed: int, **habits: float) -> tuple[float, float, Node]:
    """Share of the hours in which a node is high and at least medium, once its history is two weeks long."""
    node = Node(POLICY, hours, People(random.Random(seed), **habits))
    scores = [score for at, score in node.live(0.0, days * DAY) if at > SETTLED]
    high = sum(tier_of(score) is Tier.HIGH for score in scores) / len(scores)
    return high, sum(tier_of(score) is not Tier.LOW for score in scores) / len(scores), node


def test_hours_of_a_week() -> None:
    assert OFFICE.attended_h == 50
    assert OFFICE.attended_s(0, 7 * DAY) == 50 * HOUR
    assert OFFICE.next_open(4 * DAY + 19 * HOUR) == 7 * DAY + 8 * HOUR
    assert OFFICE.after(4 * DAY + 17 * HOUR, 2 * HOUR) == 7 * DAY + 9 * HOUR
    assert ALWAYS.after(5.0, 30 * HOUR) == 5.0 + 30 * HOUR


@pytest.mark.parametrize("hours", [OFFICE, ALWAYS], ids=["office", "always"])
def test_a_node_whose_people_always_come_stays_high(hours: Hours) -> None:
    high, medium, _ = settled_share(hours, 60, 3, missed=0.0, failed=0.0)
    assert (high, medium) == (1.0, 1.0)


def test_without_attended_time_a_weekend_would_cost_the_high_tier() -> None:
    """The negative control: ages by the clock alone."""
    node = Node(POLICY, OFFICE, People(random.Random(3), missed=0.0, failed=0.0))
    node.score = ALWAYS_NODE.score  # type: ignore[method-assign]
    scores = [score for at, score in node.live(0.0, 60 * DAY) if at > SETTLED]
    assert sum(tier_of(score) is Tier.HIGH for score in scores) / len(scores) < 0.9


ALWAYS_NODE = Node(POLICY, ALWAYS, People(random.Random(1)))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("returns", "least"), [(False, 0.75), (True, 0.95)])
def test_a_year_of_ten_honest_nodes(returns: bool, least: float) -> None:
    """Two in a hundred summonses are missed and one fails: those who come back at once stay high."""
    found = [settled_share(OFFICE, 365, seed, returns=returns) for seed in range(10)]
    assert min(medium for _, medium, _ in found) > 0.99
    assert statistics.mean(high for high, _, _ in found) > least


@pytest.mark.parametrize("kind", [PresentationKind.MISSED, PresentationKind.FAILED])
def test_a_stolen_node_falls_at_its_first_summonses(kind: PresentationKind) -> None:
    attended = []
    for seed in range(40):
        node = Node(POLICY, OFFICE, People(random.Random(seed), missed=0.0, failed=0.0))
        at = random.Random(seed).uniform(20, 27) * DAY
        node.live(0.0, at)
        attended.append(node.stolen(at // HOUR * HOUR, kind)[1])
    assert statistics.median(attended) < 10
    assert max(attended) <= POLICY.challenge.max_s / HOUR + 1


def simulated(nodes: int, attended_h: float, seed: random.Random) -> tuple[float, float]:
    """Visits and rounds a day, of people who set out when the first summons has waited half of its grace."""
    low, high, wait = POLICY.challenge.min_s, POLICY.challenge.max_s, POLICY.challenge.grace_s / 2
    horizon = 400 * attended_h / 7 * 3600
    due = [seed.uniform(0, high) for _ in range(nodes)]
    visits, rounds, now = 0, 0, 0.0
    while now < horizon:
        now = min(due) + wait
        rounds += 1
        for index, at in enumerate(due):
            if at <= now:
                visits += 1
                due[index] = max(at + seed.uniform(low, high), now)
    return visits / 400, rounds / 400


@pytest.mark.parametrize("nodes", [1, 10, 60])
def test_the_cost_agrees_with_a_simulation(nodes: int) -> None:
    interval = POLICY.challenge_interval_s(lab_node=False)
    cost = cadence(interval, 50, POLICY.challenge.grace_s, nodes)
    visits, rounds = simulated(nodes, 50, random.Random(5))
    assert cost.visits == pytest.approx(visits, rel=0.04)
    assert cost.rounds == pytest.approx(rounds, rel=0.06)


def test_the_cost_counts_walks_and_answers() -> None:
    one = cadence((3600, 86400), 168, 900, 1)
    assert one.visits == pytest.approx(24 / 12.5)
    assert one.minutes == pytest.approx(one.rounds * 3 + one.visits * 0.75)
    assert cadence((3600, 86400), 168, 900, 1, Effort(0, 1)).minutes == pytest.approx(one.visits)
    assert cadence((60, 120), 168, 7200, 1).visits == pytest.approx(24)
    with pytest.raises(ValueError, match="168"):
        cadence((3600, 86400), 169, 900, 1)
    assert cadence((3600, 86400), 50, 900, 0).minutes == 0
