"""CVE-2024-55655 (sigstore): a time that nobody had signed was believed; here only the authority's own clock counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from authority import challenges
from authority.appraisal import Presented, appraise
from authority.runtime import Runtime
from authority.verdict import Appraisal
from protocol.evidence import read_claims
from protocol.messages import EvidenceSubmission
from tests.authority.challenges.answers import activated
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, replaced

TOOK_S = 40.0
SECONDS_A_BUCKET = 10.0


def speed(site: Site, node: Machine, claimed: int) -> int:
    """What a presentation of forty seconds is worth to which the node claims this bucket of elapsed time."""
    activation = activated(site, node, TOOK_S)
    node.submit(site, activation.challenge_id, node.evidence(node.claims(activation, elapsed=claimed)))
    newest = "SELECT speed FROM presentation ORDER BY at DESC"
    return int(site.read(lambda conn: conn.exec_driver_sql(newest).scalar()))


def check_a_claimed_time_is_worth_nothing(site: Site, node: Machine) -> None:
    assert speed(site, node, 0) == speed(site, node, 3)


def test_a_claimed_time_is_worth_nothing(site: Site, enrolled: Machine) -> None:
    check_a_claimed_time_is_worth_nothing(site, enrolled)


def test_an_authority_that_believes_it_is_noticed(site: Site, enrolled: Machine) -> None:
    def believing(
        conn: Connection, rt: Runtime, presented: Presented, evidence: EvidenceSubmission, now: float
    ) -> Appraisal:
        claimed = SECONDS_A_BUCKET * (1 + read_claims(evidence.token).elapsed)
        return appraise(conn, rt, replace(presented, elapsed_s=claimed), evidence, now)

    with replaced(challenges, "appraise", believing), pytest.raises(NOTICED):
        check_a_claimed_time_is_worth_nothing(site, enrolled)
