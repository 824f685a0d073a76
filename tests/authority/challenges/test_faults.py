"""What we cannot read of our own decides nothing: the score is neither lowered nor held up."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from authority import standing
from authority.store import schema
from protocol.messages import (
    Outcome,
)
from tests.authority.challenges.answers import (
    activated,
    answered,
    challenge,
    presentations,
    set_profile,
)
from tests.authority.nodes import Machine, Site

DAMAGE: dict[str, tuple[str, dict[str, Any]]] = {
    "no key": ("profile", {"public": b""}),
    "half a key": ("profile", {"public": b"\0\x58" + b"\x11" * 40}),
    "models": ("profile", {"modalities": "{"}),
    "sensors": ("profile", {"sensors": "[]"}),
    "attestation key": ("node", {"ak_public": b"\0\x10" + b"\x22" * 16}),
    "reference": ("node", {"reference_pcrs": "[]"}),
    "reference value": ("node", {"reference_pcrs": '{"0": "no hex"}'}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_we_cannot_read_of_our_own_decides_nothing(site: Site, enrolled: Machine, damage: str):
    assert answered(site, enrolled) is Outcome.ACCEPTED
    before, table = site.node(enrolled.node_id), schema.metadata.tables[DAMAGE[damage][0]]
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    kept = site.read(lambda conn: conn.execute(select(*(table.c[name] for name in DAMAGE[damage][1]))).one())
    site.read(lambda conn: conn.execute(update(table).values(**DAMAGE[damage][1])))
    verdict = enrolled.submit(site, activation.challenge_id, evidence)
    assert (verdict.outcome, verdict.score) == (Outcome.UNDECIDED, before.score)
    assert enrolled.submit(site, activation.challenge_id, evidence) == verdict
    assert presentations(site) == ["accepted"]
    after = site.node(enrolled.node_id)
    assert (after.score, after.state, after.attestation_failed) == (before.score, before.state, False)
    assert challenge(site, activation.challenge_id).state == "undecided"
    assert "authority-fault" in site.alerts()
    site.read(lambda conn: conn.execute(update(table).values(**kept._mapping)))
    assert answered(site, enrolled) is Outcome.ACCEPTED


def test_undecided_does_not_hold_a_score_up(site: Site, enrolled: Machine):
    for _ in range(3):
        answered(site, enrolled)
    assert site.node(enrolled.node_id).tier == "high"
    activation = activated(site, enrolled)
    set_profile(site, public=b"")
    enrolled.submit(site, activation.challenge_id, enrolled.evidence(enrolled.claims(activation)))
    site.clock += site.policy.caps.stale_low_s + 1
    site.run(standing.refresh, enrolled.node_id)
    assert site.node(enrolled.node_id).tier == "low"
