"""When a silent node is told of and retired, and what a policy may say about it."""

from __future__ import annotations

import pytest

from authority.trust import PolicyError, parse_policy
from authority.trust.staleness import StaleRules, Step, retires_at, step_of, too_many

DAY = 86400.0
RULES = StaleRules(alert_s=10 * DAY, retire_s=30 * DAY)


@pytest.mark.parametrize(
    ("alerted_at", "now", "step"),
    [
        (None, 10 * DAY, Step.ALERT),
        (None, 90 * DAY, Step.ALERT),
        (10 * DAY, 30 * DAY - 1, Step.WARNED),
        (10 * DAY, 30 * DAY, Step.RETIRE),
        (90 * DAY, 91 * DAY - 1, Step.WARNED),
        (90 * DAY, 91 * DAY, Step.RETIRE),
    ],
)
def test_a_node_is_told_of_first_and_goes_a_day_later_at_the_earliest(
    alerted_at: float | None, now: float, step: Step
) -> None:
    assert step_of(RULES, 0.0, alerted_at, now) is step


def test_without_a_limit_nobody_goes() -> None:
    alone = StaleRules(alert_s=DAY)
    assert retires_at(alone, 0.0, DAY) is None and step_of(alone, 0.0, DAY, 1e9) is Step.WARNED


@pytest.mark.parametrize(("going", "fleet", "held"), [(1, 1, False), (2, 40, False), (2, 39, True), (3, 40, True)])
def test_a_share_of_the_fleet_may_go_and_one_always(going: int, fleet: int, held: bool) -> None:
    assert too_many(RULES, going, fleet) is held


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("alert_s = 3600", "stale.alert_s"),
        ("alert_s = 86400\nretire_s = 86400", "stale.retire_s"),
        ("retire_s = 2592000", "nobody would be told"),
        ("alert_s = 2592000\nretire_s = 864000", "must not be above"),
        ("alert_s = -1", "stale.alert_s"),
        ("percent = 0", "stale.percent"),
        ("alert_s = nan", "stale.alert_s"),
    ],
)
def test_what_a_policy_may_not_say_is_named(section: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        parse_policy(f'version = "x"\n[stale]\n{section}')


def test_a_lab_may_go_lower() -> None:
    text = 'version = "x"\nlab = true\n[stale]\nalert_s = 10\nretire_s = 20'
    assert parse_policy(text).stale == StaleRules(alert_s=10, retire_s=20)
