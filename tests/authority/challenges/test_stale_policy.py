"""A policy that is replaced while a challenge is open: the evidence is judged by the new one."""

from __future__ import annotations

import json

import msgspec
import pytest

from authority import policies
from authority.runtime import Runtime
from authority.trust import Policy
from authority.trust.policy import ChallengeRules, EnrolmentRules
from protocol.messages import Outcome
from tests.authority.challenges.answers import activated, answered, reasons
from tests.authority.nodes import Machine, Site


def replaced(site: Site, rt: Runtime, **sections: object) -> Policy:
    """The runtime's policy, replaced as `policy reload` does it."""
    policy = msgspec.structs.replace(rt.policy, version="stricter", **sections)
    site.read(lambda conn: policies.adopt(conn, rt, policy, "olga", site.clock))
    return policy


STRICTER = {
    "more modalities": {
        "challenge": ChallengeRules(min_modalities=3),
    },
    "a modality that counts no more": {
        "enrolment": EnrolmentRules(modalities=("fingerprint", "voice")),
    },
    "somebody must have been seen": {
        "challenge": ChallengeRules(require_presence=True),
    },
}


@pytest.mark.parametrize("name", STRICTER)
def test_evidence_is_judged_by_the_policy_that_came_after_the_challenge(
    site: Site, enrolled: Machine, name: str
) -> None:
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    rt = site.rt
    site.policy = replaced(site, rt, **STRICTER[name])
    assert rt.policy is site.policy
    assert enrolled.submit(site, activation.challenge_id, evidence).outcome is Outcome.REJECTED
    assert reasons(site)
    assert json.loads(site.audit("presentation")[-1].data)["policy"] == rt.policy.identity


def test_a_policy_from_a_cache_would_have_accepted_it(site: Site, enrolled: Machine) -> None:
    """The flaw itself: whoever still holds the old policy lets the same evidence in."""
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    replaced(site, site.rt, challenge=ChallengeRules(min_modalities=3))
    assert enrolled.submit(site, activation.challenge_id, evidence).outcome is Outcome.ACCEPTED


def test_every_decision_names_its_policy(site: Site, enrolled: Machine) -> None:
    assert answered(site, enrolled) is Outcome.ACCEPTED
    for kind in ("presentation", "standing"):
        assert json.loads(site.audit(kind)[-1].data)["policy"] == site.policy.identity
    assert site.policy.sha256 != msgspec.structs.replace(site.policy, lab=True).sha256
    assert {*json.loads(site.audit("presentation")[-1].data)["models"]} == {"fingerprint-model", "face-model"}


def test_a_decision_that_fails_leaves_the_old_policy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    rt = site.rt
    before = rt.policy
    monkeypatch.setattr(policies.standing, "refresh_after", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        replaced(site, rt, challenge=ChallengeRules(min_modalities=3))
    assert rt.policy is before
    assert site.audit("policy") == []
