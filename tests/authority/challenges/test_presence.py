"""Presence in evidence: asked for by the policy only, and then not from a simulation outside the lab."""

from __future__ import annotations

import msgspec
import pytest

from authority.trust import parse_policy
from authority.trust.policy import ChallengeRules
from protocol.messages import Outcome, PresenceClaim
from tests.authority.challenges.answers import activated, reasons
from tests.authority.nodes import Machine, Site, sensor

SEAT = PresenceClaim(kind="seat", driver="logind-seat", driver_sha256="0" * 64, transport="system")
SIMULATED = PresenceClaim(kind="button", driver="evdev-button", driver_sha256="0" * 64, transport="virtual")
MISSING = "the evidence does not say that somebody was at the machine"
VIRTUAL = "somebody was seen at the machine by a simulated sensor only"


@pytest.fixture
def demanding(site: Site) -> Site:
    rules = parse_policy('version = "1"\n[challenge]\nrequire_presence = true').challenge
    site.policy = msgspec.structs.replace(site.policy, challenge=rules)
    return site


def outcome(site: Site, node: Machine, presence: PresenceClaim | msgspec.UnsetType) -> Outcome:
    activation = activated(site, node)
    return node.submit(site, activation.challenge_id, node.evidence(node.claims(activation, presence=presence))).outcome


def production(site: Site, node: Machine) -> None:
    """The node's real hardware is not what is tried here."""
    site.set_node(node.node_id, lab=False)


@pytest.mark.parametrize("presence", [msgspec.UNSET, SEAT, SIMULATED])
@pytest.mark.parametrize("lab", [True, False])
def test_by_default_presence_is_not_asked_for(site: Site, enrolled: Machine, presence, lab: bool):
    assert not ChallengeRules().require_presence
    site.set_node(enrolled.node_id, lab=lab)
    assert outcome(site, enrolled, presence) is Outcome.ACCEPTED


def test_somebody_at_the_machine_is_accepted(demanding: Site, enrolled: Machine):
    production(demanding, enrolled)
    assert outcome(demanding, enrolled, SEAT) is Outcome.ACCEPTED


@pytest.mark.parametrize("lab", [True, False])
def test_evidence_that_does_not_tell_is_rejected_with_the_reason(demanding: Site, enrolled: Machine, lab: bool):
    demanding.set_node(enrolled.node_id, lab=lab)
    assert outcome(demanding, enrolled, msgspec.UNSET) is Outcome.REJECTED
    assert reasons(demanding) == [MISSING]
    assert not demanding.node(enrolled.node_id).attestation_failed
    assert outcome(demanding, enrolled, SEAT) is Outcome.ACCEPTED


def test_a_simulated_sensor_counts_in_the_lab_only(demanding: Site, enrolled: Machine):
    assert outcome(demanding, enrolled, SIMULATED) is Outcome.ACCEPTED
    production(demanding, enrolled)
    assert outcome(demanding, enrolled, SIMULATED) is Outcome.REJECTED
    assert reasons(demanding) == [VIRTUAL]
    assert outcome(demanding, enrolled, SEAT) is Outcome.ACCEPTED


def test_a_presence_that_was_not_signed_is_refused(demanding: Site, enrolled: Machine):
    """The claim is added to a token that was signed without it."""
    from protocol.codec import b64url, encode
    from protocol.evidence import read_claims

    activation = activated(demanding, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    head, _, signature = evidence.token.split(".")
    claims = msgspec.structs.replace(read_claims(evidence.token), presence=SEAT)
    forged = msgspec.structs.replace(evidence, token=f"{head}.{b64url(encode(claims))}.{signature}")
    assert enrolled.submit(demanding, activation.challenge_id, forged).outcome is Outcome.REJECTED
    assert reasons(demanding) == ["the token is not signed by the profile's key"]


@pytest.mark.parametrize(("transport", "refused"), [("virtual", True), ("evdev", False)])
def test_a_node_of_production_does_not_join_with_a_simulated_button(
    site: Site, machine: Machine, transport: str, refused: bool
):
    """As with any device; the TPM is let through by its maker's root here."""
    site.roots = site.lab_roots
    button = sensor("presence", driver="evdev-button", transport=transport)
    enclave = sensor("enclave", driver="tpm2", transport="tpm")
    token = site.token("n1", lab=False)
    request = machine.request(token, devices=[button, enclave])
    if refused:
        assert site.refuses_join(request).value == "virtual-device"
    else:
        site.set_node(site.read(_only_node), lab=False)
        assert site.start_join(request).join_id


def _only_node(conn):
    from sqlalchemy import select

    from authority.store import schema

    return conn.scalar(select(schema.node.c.id))
