"""Attestation results: what they claim, in the draft's form, verified by a second implementation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jwt
import msgspec
import pytest

from authority import ear, results, standing
from authority.ear import Status, tier_of_claim, worst
from protocol.messages import Outcome
from tests.authority.challenges.answers import activated, answered
from tests.authority.challenges.ear_form import KEY, conforms, verified
from tests.authority.nodes import Machine, Site


@pytest.fixture
def signing(site: Site) -> Site:
    """A site whose authority signs results."""

    class Signing(Site):
        @property
        def rt(self):
            return replace(super().rt, ear_key=KEY, results_kept_s=86400.0)

    return Signing(site.store, site.ca, site.kek, site.roots, site.lab_roots, site.policy, site.clock)


def claims(site: Site, node: Machine) -> dict[str, Any]:
    token = site.run(lambda conn, rt, now: ear.signed(conn, rt, node.node_id, now, "a-nonce-of-theirs"))
    found = verified(token, ear.jwks(KEY))
    conforms(found)
    assert found["eat_nonce"] == "a-nonce-of-theirs"
    assert found["iat"] == int(site.clock) < found["exp"]
    return found["submods"]


def test_before_anybody_answered_nothing_is_claimed_of_a_person(signing: Site, enrolled: Machine):
    found = claims(signing, enrolled)
    assert found["admin"] == {**found["admin"], "ear_status": "none"}
    assert found["admin"]["ear_trustworthiness_vector"] == {"instance-identity": 0}


def test_an_accepted_answer_affirms_both_and_comes_with_the_verdict(signing: Site, enrolled: Machine):
    for _ in range(4):
        activation = activated(signing, enrolled)
        verdict = enrolled.submit(signing, activation.challenge_id, enrolled.evidence(enrolled.claims(activation)))
        signing.clock += 3600
    assert verdict.outcome is Outcome.ACCEPTED
    sent = verified(verdict.ear, ear.jwks(KEY))
    conforms(sent)
    issued = signing.read(lambda conn: results.listing(conn, 0, 100, enrolled.node_id))
    assert [each["ear"] for each in issued if each["cause"] == "verdict"][-1] == verdict.ear
    assert [each["cause"] for each in issued].count("verdict") == 4
    assert sent["submods"]["admin"]["ear_status"] == "affirming"
    assert sent["submods"]["node"]["ear_trustworthiness_vector"] == {"instance-identity": 2, "configuration": 2}
    assert sent["submods"]["node"]["ear_verifier_claims"]["keyvigil_score"] == verdict.score
    by_tier = {"high": "affirming", "medium": "warning", "low": "contraindicated"}
    assert sent["submods"]["node"]["ear_status"] == by_tier[verdict.tier]


def test_a_machine_in_another_state_and_a_failed_person_are_contraindicated(signing: Site, enrolled: Machine):
    activation = activated(signing, enrolled)
    enrolled.submit(
        signing,
        activation.challenge_id,
        enrolled.evidence(enrolled.claims(activation), quote=enrolled.quote(bytes(32))),
    )
    found = claims(signing, enrolled)
    assert found["node"]["ear_trustworthiness_vector"]["configuration"] == 96
    assert found["admin"]["ear_trustworthiness_vector"] == {"instance-identity": 97}
    assert {found[name]["ear_status"] for name in found} == {"contraindicated"}


def test_a_fault_of_ours_and_what_is_no_evidence_are_told_apart_from_a_verdict(signing: Site, enrolled: Machine):
    assert answered(signing, enrolled) is Outcome.ACCEPTED
    kept = signing.node(enrolled.node_id).reference_pcrs
    activation = activated(signing, enrolled)
    signing.set_node(enrolled.node_id, reference_pcrs="{")
    evidence = enrolled.evidence(enrolled.claims(activation))
    assert enrolled.submit(signing, activation.challenge_id, evidence).outcome is Outcome.UNDECIDED
    assert claims(signing, enrolled)["admin"]["ear_trustworthiness_vector"] == {"instance-identity": -1}
    assert claims(signing, enrolled)["admin"]["ear_status"] == "none"
    signing.set_node(enrolled.node_id, reference_pcrs=kept)
    activation = activated(signing, enrolled)
    good = enrolled.evidence(enrolled.claims(activation))
    enrolled.submit(signing, activation.challenge_id, msgspec.structs.replace(good, token="no.token.at-all"))
    assert claims(signing, enrolled)["admin"]["ear_trustworthiness_vector"] == {"instance-identity": 1}


def test_silence_makes_no_claim_and_a_ban_is_told(signing: Site, enrolled: Machine):
    assert answered(signing, enrolled) is Outcome.ACCEPTED
    signing.clock += 5 * 86400
    found = claims(signing, enrolled)
    assert found["node"]["ear_trustworthiness_vector"]["configuration"] == 0
    assert found["admin"]["ear_status"] == "contraindicated"
    signing.run(standing.ban, enrolled.node_id, "ada", "stolen")
    found = claims(signing, enrolled)
    assert found["node"]["ear_trustworthiness_vector"]["instance-identity"] == 96
    assert found["node"]["ear_status"] == "contraindicated"


def test_every_byte_of_a_result_counts(signing: Site, enrolled: Machine):
    token = signing.run(lambda conn, rt, now: ear.signed(conn, rt, enrolled.node_id, now))
    body = token.index(".") + 1
    for at in range(body, token.rindex(".")):
        other = "A" if token[at] != "A" else "B"
        with pytest.raises(jwt.InvalidTokenError):
            verified(token[:at] + other + token[at + 1 :], ear.jwks(KEY))


def test_an_authority_without_a_key_signs_nothing(site: Site, enrolled: Machine):
    assert site.run(lambda conn, rt, now: ear.signed(conn, rt, enrolled.node_id, now)) == ""


def test_the_tiers_are_those_of_ar4si():
    assert [tier_of_claim(value) for value in (-1, 0, 1)] == [Status.NONE] * 3
    assert [tier_of_claim(value) for value in (2, 31, -2, -32)] == [Status.AFFIRMING] * 4
    assert [tier_of_claim(value) for value in (32, 95, -33, -96)] == [Status.WARNING] * 4
    assert [tier_of_claim(value) for value in (96, 127, -97, -128)] == [Status.CONTRAINDICATED] * 4
    assert worst([Status.AFFIRMING, Status.NONE]) is Status.AFFIRMING
    assert worst([]) is Status.NONE
    for value in (-129, 128):
        with pytest.raises(ValueError, match="between"):
            tier_of_claim(value)
