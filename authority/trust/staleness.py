"""When a node that nobody sees any more is told of, and when it is taken out of service. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

_DAY_S = 86400.0
WARNING_S = _DAY_S
"""An alert stands for so long, or for the time between the two limits if that is shorter, before a node is retired."""
RANGES: dict[str, tuple[float, float, float]] = {
    "stale.alert_s": (0, 3660 * _DAY_S, 0),
    "stale.retire_s": (0, 3660 * _DAY_S, 0),
    "stale.percent": (0.1, 100, 0.1),
}
_LEAST = {"alert_s": (_DAY_S, 1.0), "retire_s": (7 * _DAY_S, 1.0)}
"""Shortest silence that a policy may name, and the shortest under a lab policy."""


class StaleRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Seconds of silence after which a node is told of, and after which it is retired; never, with 0.

    `percent`: none is retired by itself if more than this share of the fleet, and more than one, would be in a day.
    """

    alert_s: float = 0.0
    retire_s: float = 0.0
    percent: float = 5.0


class Step(StrEnum):
    """What is next for a silent node: an alert, nothing yet, its end, or nothing because too many would go."""

    ALERT = "alert"
    WARNED = "warned"
    RETIRE = "retire"
    HELD = "held"


def retires_at(rules: StaleRules, seen_at: float, alerted_at: float) -> float | None:
    """POSIX seconds from which a node may be retired that was seen, and told of, then; never with `None`."""
    if not rules.retire_s:
        return None
    return max(seen_at + rules.retire_s, alerted_at + min(WARNING_S, rules.retire_s - rules.alert_s))


def step_of(rules: StaleRules, seen_at: float, alerted_at: float | None, now: float) -> Step:
    """What is next for a node that has been silent for `alert_s` or longer, as far as it alone goes."""
    if alerted_at is None:
        return Step.ALERT
    due = retires_at(rules, seen_at, alerted_at)
    return Step.RETIRE if due is not None and due <= now else Step.WARNED


def too_many(rules: StaleRules, going: int, fleet: int) -> bool:
    """Whether so many of a fleet may not go within a day by themselves: the fault may be ours."""
    return going > 1 and 100 * going > rules.percent * fleet


def problems(rules: StaleRules, *, lab: bool) -> Iterator[str]:
    """What is wrong with the rules."""
    for name, (least, lab_least) in _LEAST.items():
        value, bottom = getattr(rules, name), lab_least if lab else least
        if 0 < value < bottom:
            yield f"stale.{name} = {value:g} is out of range: it must be 0, or {bottom:g} or more"
    if rules.retire_s and not rules.alert_s:
        yield "stale.retire_s needs stale.alert_s: nobody would be told before a node is retired"
    if rules.retire_s and rules.alert_s > rules.retire_s:
        yield "stale.alert_s must not be above stale.retire_s"
