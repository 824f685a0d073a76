"""CVE-2022-36056 (cosign): valid parts of different bundles, put together, were taken for one valid bundle."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from authority import appraisal
from protocol.messages import EvidenceSubmission, Outcome
from tests.authority.challenges.answers import activated
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, passes, replaced


def check_sessions_do_not_mix(site: Site, node: Machine) -> None:
    """Token and quote of two sessions of one node, in every mixture, answer a third one never."""
    first, second = (genuine(site, node) for _ in range(2))
    third = activated(site, node)
    own = node.evidence(node.claims(third))
    mixed = [
        msgspec.structs.replace(one, quote=two.quote)
        for one, two in itertools.product((first, second, own), repeat=2)
        if (one, two) != (own, own)
    ]
    assert node.submit(site, third.challenge_id, mixed.pop()).outcome is Outcome.REJECTED
    for evidence in mixed:
        site.read(lambda conn: conn.exec_driver_sql("UPDATE profile SET failures_in_row=0, locked_until=NULL"))
        later = activated(site, node)
        assert node.submit(site, later.challenge_id, evidence).outcome is Outcome.REJECTED


def genuine(site: Site, node: Machine) -> EvidenceSubmission:
    activation = activated(site, node)
    evidence = node.evidence(node.claims(activation))
    assert node.submit(site, activation.challenge_id, evidence).outcome is Outcome.ACCEPTED
    return evidence


def check_nodes_do_not_mix(site: Site, node: Machine, foreign: Machine) -> None:
    """The person's token is this node's, the quote over it another node's."""
    activation = activated(site, node)
    evidence = node.evidence(node.claims(activation))
    quoted = foreign.evidence(foreign.claims(activation)).quote
    mixed = msgspec.structs.replace(evidence, quote=quoted)
    assert node.submit(site, activation.challenge_id, mixed).outcome is Outcome.REJECTED


@pytest.fixture
def joined(site: Site, other: Machine) -> Machine:
    other.join(site)
    other.enrol(site)
    return other


def test_sessions_do_not_mix(site: Site, enrolled: Machine) -> None:
    check_sessions_do_not_mix(site, enrolled)


def test_nodes_do_not_mix(site: Site, enrolled: Machine, joined: Machine) -> None:
    check_nodes_do_not_mix(site, enrolled, joined)


@pytest.mark.parametrize("taken_out", ["_check_binding", "check_quote"])
def test_either_half_of_the_binding_is_missed(site: Site, enrolled: Machine, taken_out: str) -> None:
    with replaced(appraisal, taken_out, passes), pytest.raises(NOTICED):
        check_sessions_do_not_mix(site, enrolled)


def test_a_quote_of_anybody_is_noticed(site: Site, enrolled: Machine, joined: Machine) -> None:
    with replaced(appraisal, "check_quote", passes), pytest.raises(NOTICED):
        check_nodes_do_not_mix(site, enrolled, joined)
