"""Authority and agent ended in mid-challenge, as by a power cut: nothing is lost, doubled, or held up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from agent.errors import AuthorityRefused
from authority.trust import Circumstances, Presentation, PresentationKind, assess
from protocol.messages import Outcome
from protocol.problems import ErrorCode
from simulators.lab.insider import Insider
from simulators.lab.world import wait_for
from tests.system.conftest import PERSON
from tests.system.harness import Site, code_of, name_for

pytestmark = pytest.mark.system

DELAY_S = 3.0
"""How long the person takes to begin, once the challenge is activated: time to kill somebody in."""


def truth(site: Site, name: str) -> int:
    """The score that the node's presentations are worth, from the formula alone."""
    entry = site.node(name)
    history = [
        Presentation(each["at"], PresentationKind(each["kind"]), each["speed"] or 0, each["quality"] or 0)
        for each in reversed(entry["presentations"])
    ]
    return assess(site.policy, history, Circumstances(), max(each.at for each in history)).score


@pytest.fixture
def slow_person(site: Site) -> Iterator[None]:
    """The person at node-a takes their time to begin."""
    (node,) = site.world.nodes
    node.send(PERSON, delay_s=DELAY_S)
    yield
    node.send(PERSON)


def activated(site: Site) -> str:
    """A challenge of node-a that is activated, and not answered yet."""
    challenge = site.challenge("node-a")
    site.reaches("node-a", challenge, "activated")
    return challenge


@pytest.mark.usefixtures("slow_person")
def test_evidence_reaches_an_authority_that_was_killed_in_mid_challenge(site: Site) -> None:
    mark, before = site.since(), site.node("node-a")
    challenge = activated(site)
    site.authority.server.kill()
    site.restart_authority()
    assert site.ended("node-a", challenge, 40) == "accepted"
    kinds = [each["data"]["kind"] for each in mark.audits("presentation", challenge=challenge)]
    assert kinds == ["accepted"]
    assert site.node("node-a")["answered"] == before["answered"] + 1
    assert site.node("node-a")["score"] <= truth(site, "node-a")
    wait_for("the agent's return", lambda: site.connections() == 1 or None, 20)


@pytest.mark.slow
def test_an_agent_comes_back_to_an_authority_that_was_stopped(site: Site) -> None:
    site.authority.server.stop()
    site.restart_authority()
    wait_for("the agent's return", lambda: site.connections() == 1 or None, 20, site.world.nodes[0].agent)
    assert site.ended("node-a", site.challenge("node-a"), 40) == "accepted"


@pytest.mark.usefixtures("slow_person")
def test_a_challenge_whose_agent_was_killed_has_failed_and_the_next_one_is_answered(site: Site) -> None:
    (node,) = site.world.nodes
    mark, before = site.since(), site.node("node-a")
    challenge = activated(site)
    node.agent.kill()
    site.world.start_agent(node)
    assert site.ended("node-a", challenge, 40) == "failed"
    mark.audited("presentation", challenge=challenge, kind="failed")
    mark.alerted("presentation-failed", "node-a")
    failed = site.node("node-a")
    assert failed["score"] < before["score"]
    assert failed["score"] <= truth(site, "node-a")
    assert site.ended("node-a", site.challenge("node-a"), 40) == "accepted"
    assert site.node("node-a")["score"] > failed["score"]


@pytest.fixture
def hasty(brisk: Site, insider: Callable[[Site, str], Insider], request: pytest.FixtureRequest) -> Insider:
    """A node that has answered once, where deadlines last seconds."""
    made = insider(brisk, name_for(request.node.name)).join().enrol()
    assert made.answer().outcome is Outcome.ACCEPTED
    return made


def test_a_verdict_survives_the_authority_that_gave_it(brisk: Site, hasty: Insider) -> None:
    """The answer was lost with the authority: asked again it is the same, and counted once."""
    activation = hasty.begin()
    evidence = hasty.evidence(hasty.claims(activation))
    first = hasty.submit(evidence, activation.challenge_id)
    brisk.authority.server.kill()
    brisk.restart_authority()
    assert hasty.submit(evidence, activation.challenge_id) == first
    assert hasty.standing()["answered"] == 2


def test_a_challenge_that_an_outage_outlived_is_undecided(brisk: Site, hasty: Insider) -> None:
    """It costs nothing, gives nothing, and the next one is due at once."""
    before, mark = hasty.standing(), brisk.since()
    hasty.link.renew()  # certificates last for seconds here, and nothing else renews this one
    activation = hasty.begin()
    evidence = hasty.evidence(hasty.claims(activation))
    brisk.authority.server.kill()
    rules = brisk.policy
    away = max(rules.challenge.activation_s, rules.scheduler.outage_s) + 1.0
    gone = brisk.clock()
    wait_for("a long outage", lambda: brisk.clock() - gone > away or None, away + 5)
    brisk.restart_authority()
    mark.audited("undecided", challenge=activation.challenge_id)
    hasty.link.renew()
    with pytest.raises(AuthorityRefused) as caught:
        hasty.submit(evidence, activation.challenge_id)
    assert code_of(caught.value) in {ErrorCode.CHALLENGE_CLOSED, ErrorCode.NONCE_EXPIRED}
    after = hasty.standing()
    assert after["answered"] == before["answered"]
    assert after["score"] <= before["score"]
    assert after["challenge"]["id"] != activation.challenge_id
    assert hasty.answer().outcome is Outcome.ACCEPTED
