"""Keylime b382aa0d: a policy that was changed meanwhile was still decided by, from a cache."""

from __future__ import annotations

import msgspec
import pytest

from protocol.messages import Outcome
from tests.authority.challenges.answers import activated
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, CachedPolicy, variant


def check_the_newest_policy_decides(site: Site, node: Machine) -> None:
    """Three modalities are demanded between the challenge and its answer by two."""
    first = activated(site, node)
    accepted = node.submit(site, first.challenge_id, node.evidence(node.claims(first)))
    assert accepted.outcome is Outcome.ACCEPTED
    activation = activated(site, node)
    stricter = msgspec.structs.replace(site.policy.challenge, min_modalities=3)
    site.policy = msgspec.structs.replace(site.policy, challenge=stricter)
    verdict = node.submit(site, activation.challenge_id, node.evidence(node.claims(activation)))
    assert verdict.outcome is Outcome.REJECTED


def test_the_newest_policy_decides(site: Site, enrolled: Machine) -> None:
    check_the_newest_policy_decides(site, enrolled)


def test_a_cached_policy_is_noticed(site: Site, enrolled: Machine) -> None:
    with pytest.raises(NOTICED):
        check_the_newest_policy_decides(variant(CachedPolicy, site), enrolled)
