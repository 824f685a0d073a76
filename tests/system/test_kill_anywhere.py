"""Authority and agent killed at random moments of challenges: trust never above the truth, nothing lost, nothing twice.

Six moments, and two hundred, in `make test-all`. KEYVIGIL_SEED chooses other ones.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from authority.cli.output import CommandFailed
from authority.trust import ChallengeState, Circumstances, Presentation, PresentationKind, assess
from simulators.lab.site import OPEN
from simulators.lab.world import World, wait_for
from tests.security.broken import NOTICED
from tests.system.conftest import IMPOSTOR, PERSON, POLICY, QUICK, onboard
from tests.system.harness import Site

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

_log = logging.getLogger(__name__)
SEED = int(os.environ.get("KEYVIGIL_SEED", "20261127"))
ENDED = {ChallengeState.ACCEPTED.value, ChallengeState.FAILED.value, ChallengeState.UNDECIDED.value}
HASTY = POLICY.replace("activation_s = 12", "activation_s = 20").replace(
    "[lockout]", "[lockout]\nreleases_per_day = 1000"
)
RESTART_S = 60.0


@dataclass
class Ledger:
    """What was seen from outside: who stood there at each challenge, and how each ended."""

    person: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def struck(folder: Path) -> Iterator[Site]:
    """A site of one node for all moments; a challenge whose agent was killed fails after twenty seconds."""
    (folder / "struck").mkdir()
    with World(
        folder / "struck",
        ["node-k"],
        HASTY,
        None,
        {**QUICK, "presentation": {"deadline_margin_s": 1, "failure_at_s": 5}},
    ) as world:
        world.raise_authority()
        (node,) = world.nodes
        world.raise_station(node)
        made = Site(world)
        onboard(made, node)
        world.start_agent(node)
        wait_for("the first answer", lambda: made.node("node-k")["answered"] or None, 60, *world.children())
        yield made


@pytest.fixture(scope="module")
def whole_s(struck: Site) -> float:
    """Seconds from a summons to the verdict on this machine: moments are drawn from a little more."""
    begun = time.monotonic()
    answer(struck)
    return 1.1 * (time.monotonic() - begun)


def answer(site: Site) -> None:
    """A challenge that nobody disturbs is accepted, at the latest the tenth: a busy machine may miss a deadline."""
    (node,) = site.world.nodes
    node.send(PERSON)
    wait_for("the agent's return", lambda: site.connections() == 1 or None, RESTART_S, node.agent)
    states = []
    while "accepted" not in states:
        challenge = wait_for("the end of a lock-out", lambda: summoned(site), RESTART_S)
        states.append(site.ended("node-k", challenge, RESTART_S))
        assert len(states) <= 10, states


def strike(site: Site, ledger: Ledger, dice: random.Random, whole_s: float) -> None:
    """One challenge with a `kill -9` somewhere in it, and the restart of whoever was killed."""
    (node,) = site.world.nodes
    person = IMPOSTOR if dice.random() < 0.25 else PERSON
    victims = dice.choice((("authority",), ("agent",), ("authority", "agent")))
    node.send(person)
    challenge = wait_for("the end of a lock-out", lambda: summoned(site), RESTART_S)
    ledger.person[challenge] = person
    time.sleep(dice.uniform(0, whole_s))
    for victim in victims:
        (site.authority.server if victim == "authority" else node.agent).kill()
        ledger.killed[victim] += 1
    if "authority" in victims:
        site.restart_authority()
    if "agent" in victims:
        site.world.start_agent(node)
    ledger.ended[challenge] = wait_for(f"the end of {challenge}", lambda: ended(site, challenge), RESTART_S)


def summoned(site: Site) -> str | None:
    """A challenge; where many failures in a row have locked the profile, an operator unlocks it for the next try."""
    try:
        return site.challenge("node-k")
    except CommandFailed:
        (profile,) = site.node("node-k")["profiles"]
        site.operator.post(f"/v1/profiles/{profile['record_id']}/unlock")
        return None


def rows(site: Site, query: str, *values: object) -> list[dict[str, Any]]:
    """Read from the authority's database as it lies on the disk."""
    uri = f"file:{site.authority.state / 'authority.db'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=5)) as conn:
        conn.row_factory = sqlite3.Row
        return [dict(row) for row in conn.execute(query, values)]


def ended(site: Site, challenge: str) -> str | None:
    (row,) = rows(site, "SELECT state FROM challenge WHERE id = ?", challenge)
    return None if row["state"] in OPEN else str(row["state"])


def truth(site: Site) -> int:
    """What all presentations are worth, when the last was made or now: in between a score moves one way only."""
    found = rows(site, "SELECT at, kind, speed, quality FROM presentation ORDER BY at")
    history = [
        Presentation(each["at"], PresentationKind(each["kind"]), each["speed"] or 0, each["quality"] or 0)
        for each in found
    ]
    return max(assess(site.policy, history, Circumstances(), at).score for at in (history[-1].at, time.time()))


def check_trust_is_not_above_the_truth(site: Site, ledger: Ledger) -> None:
    """By the formula over what is entered, and what is entered by who stood there."""
    assert site.node("node-k")["score"] <= truth(site)
    wrong = [each for each, person in ledger.person.items() if person == IMPOSTOR and ledger.ended[each] == "accepted"]
    assert wrong == []


def check_no_challenge_is_lost(challenges: list[dict[str, Any]], ledger: Ledger) -> None:
    """Each has ended in one of the ways that there are, and no other than the operator asked for has come of itself."""
    states = {row["id"]: row["state"] for row in challenges}
    assert {states.get(each) for each in ledger.person} <= ENDED
    assert {each: states[each] for each in ledger.person} == ledger.ended


def check_nothing_counts_twice(challenges: list[dict[str, Any]], presentations: list[dict[str, Any]]) -> None:
    """One presentation for each challenge that was decided, none for one that was not, no nonce in two challenges."""
    entered = Counter(row["challenge_id"] for row in presentations)
    decided = {row["id"] for row in challenges if row["state"] in {"accepted", "failed", "missed"}}
    assert entered == Counter(decided)
    kinds = {row["challenge_id"]: row["kind"] for row in presentations}
    assert kinds == {row["id"]: row["state"] for row in challenges if row["id"] in decided}
    nonces = [row["nonce"] for row in challenges if row["nonce"] is not None]
    assert len({*nonces}) == len(nonces)
    used = [row["evidence_sha256"] for row in challenges if row["evidence_sha256"] is not None]
    assert len({*used}) == len(used)


def check_the_chain(site: Site) -> None:
    """The audit log tells of each decision once."""
    said = [json.loads(row["data"]) for row in rows(site, "SELECT data FROM audit WHERE kind = 'presentation'")]
    assert max(Counter(each["challenge"] for each in said).values()) == 1


def tables(site: Site) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return rows(site, "SELECT * FROM challenge"), rows(site, "SELECT * FROM presentation")


@pytest.mark.parametrize("moments", [6, pytest.param(200, marks=pytest.mark.timeout(10800))], ids=["some", "many"])
def test_killed_anywhere_nothing_is_lost_doubled_or_better_than_the_truth(
    struck: Site, whole_s: float, moments: int
) -> None:
    ledger, dice, begun = Ledger(), random.Random(SEED + moments), time.monotonic()
    for _ in range(moments):
        strike(struck, ledger, dice, whole_s)
        check_trust_is_not_above_the_truth(struck, ledger)
    took = round(time.monotonic() - begun)
    _log.info("%d moments in %d s: %s %s", moments, took, ledger.killed, Counter(ledger.ended.values()))
    challenges, presentations = tables(struck)
    check_no_challenge_is_lost(challenges, ledger)
    check_nothing_counts_twice(challenges, presentations)
    check_the_chain(struck)
    answer(struck)


def test_what_the_checks_look_for_is_noticed(struck: Site) -> None:
    """The control: a score above the truth, a lost challenge, a doubled entry and a nonce used again."""
    challenges, presentations = tables(struck)
    first = challenges[0]
    ledger = Ledger({first["id"]: IMPOSTOR}, {first["id"]: "accepted"})
    with pytest.raises(NOTICED):
        check_trust_is_not_above_the_truth(struck, ledger)
    with pytest.raises(NOTICED):
        check_no_challenge_is_lost(challenges[1:], ledger)
    with pytest.raises(NOTICED):
        check_nothing_counts_twice(challenges, [*presentations, presentations[0]])
    with pytest.raises(NOTICED):
        check_nothing_counts_twice([*challenges, {**first, "id": "another", "state": "undecided"}], presentations)
