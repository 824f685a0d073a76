"""A site over a year on the pure functions: how long honest nodes are high, how soon a stolen one is not.

    python benchmarks/site_year.py [--nodes 20] [--json]

Office hours (Monday to Friday, 8 to 18) and a site that is always attended; the default policy; seeded, so that every
run gives the same figures. `docs/trust.md` has them.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from authority.trust import PresentationKind, default_policy, tier_of
from authority.trust.cadence import cadence
from protocol.levels import Tier
from tests.authority.trust.site_year import ALWAYS, DAY, HOUR, OFFICE, Hours, Node, People

POLICY = default_policy()
HABITS = {
    "everybody comes, every try succeeds": {"missed": 0.0, "failed": 0.0},
    "0.5 % missed, 0.5 % fail": {"missed": 0.005, "failed": 0.005},
    "2 % missed, 1 % fail": {"missed": 0.02, "failed": 0.01},
    "2 % missed, 1 % fail, and they check in": {"missed": 0.02, "failed": 0.01, "returns": True},
}


def honest(hours: Hours, nodes: int, **habits: float) -> dict[str, float]:
    high, medium, visits = [], [], []
    for seed in range(nodes):
        node = Node(POLICY, hours, People(random.Random(seed), **habits))
        scores = [score for at, score in node.live(0.0, 365 * DAY) if at > 14 * DAY]
        high.append(sum(tier_of(score) is Tier.HIGH for score in scores) / len(scores))
        medium.append(sum(tier_of(score) is not Tier.LOW for score in scores) / len(scores))
        visits.append(len(node.history) / 365)
    return {
        "high": statistics.mean(high),
        "high_least": min(high),
        "medium_or_high": statistics.mean(medium),
        "visits_per_day": statistics.mean(visits),
    }


def stolen(hours: Hours, thefts: int, kind: PresentationKind) -> dict[str, float]:
    clock, attended = [], []
    for seed in range(thefts):
        node = Node(POLICY, hours, People(random.Random(seed), missed=0.0, failed=0.0))
        at = random.Random(seed).uniform(21, 28) * DAY // HOUR * HOUR
        node.live(0.0, at)
        wall, there = node.stolen(at, kind)
        clock.append(wall)
        attended.append(there)
    return {
        "attended_h_median": statistics.median(attended),
        "attended_h_most": max(attended),
        "clock_h_median": statistics.median(clock),
        "clock_h_most": max(clock),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, object] = {}
    for name, hours in (("office", OFFICE), ("always", ALWAYS)):
        site = {habit: honest(hours, options.nodes, **values) for habit, values in HABITS.items()}
        theft = {
            kind.value: stolen(hours, 10 * options.nodes, kind)
            for kind in (PresentationKind.MISSED, PresentationKind.FAILED)
        }
        cost = cadence(POLICY.challenge_interval_s(lab_node=False), hours.attended_h, POLICY.challenge.grace_s, 1)
        found[name] = {"honest": site, "stolen": theft, "visits_expected": cost.visits}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, site in found.items():
        print(name)
        for part, figures in site.items():  # type: ignore[attr-defined]
            print(f"  {part}: {json.dumps(figures, indent=4)}")


if __name__ == "__main__":
    main()
