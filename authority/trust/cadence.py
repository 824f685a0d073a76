"""What a policy's cadence costs people: visits and minutes a day. Pure; checked by simulation in the tests."""

from __future__ import annotations

from dataclasses import dataclass

WEEK_H = 168.0


@dataclass(frozen=True)
class Effort:
    """Minutes that a round costs by itself, and each answer at a machine."""

    walk_min: float = 3.0
    answer_min: float = 0.75


@dataclass(frozen=True)
class Cost:
    """Per day, as the mean over whole weeks: summonses answered, rounds walked, minutes of a person."""

    visits: float
    rounds: float
    minutes: float


def cadence(
    interval_s: tuple[float, float],
    attended_h: float,
    grace_s: float,
    nodes: int,
    effort: Effort = Effort(),
) -> Cost:
    """What `nodes` nodes cost, summoned at intervals uniform in `interval_s` of attended time.

    `attended_h` are hours a week, 0 to 168. A person sets out when the first summons has waited half of `grace_s`,
    and answers every summons that is open by then: many nodes cost more answers, but hardly more rounds. The times of
    many nodes are taken as a Poisson process. Raises `ValueError` for a number that is none of these.
    """
    low, high = interval_s
    if not (0 < low <= high and 0 <= attended_h <= WEEK_H and grace_s >= 0 and nodes >= 0):
        raise ValueError("intervals are positive and in order, a week has 168 hours")
    if nodes == 0:
        return Cost(0.0, 0.0, 0.0)
    wait_s = grace_s / 2
    rate = nodes / _mean_gap_s(low, high, wait_s)
    attended_s = attended_h * 3600 / 7
    visits = attended_s * rate
    rounds = attended_s / (wait_s + 1 / rate) if nodes > 1 else visits
    return Cost(visits, rounds, rounds * effort.walk_min + visits * effort.answer_min)


def _mean_gap_s(low: float, high: float, wait: float) -> float:
    """Mean of `max(U, wait)` for U uniform in `[low, high]`: an open summons keeps the next one back."""
    if wait <= low:
        return (low + high) / 2
    if wait >= high:
        return wait
    return (wait * (wait - low) + (high * high - wait * wait) / 2) / (high - low)
