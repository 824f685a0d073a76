"""SPIRE's FetchX509SVID and CVE-2026-45808 (OpenBao): what was one party's could be had, or ended, by another."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, Row, select

from authority import challenges
from authority.store import schema
from protocol.messages import BeginRequest, Outcome
from protocol.problems import ErrorCode
from tests.authority.challenges.answers import ELAPSED_S, challenge
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, replaced


def check_a_challenge_is_its_node_s(site: Site, node: Machine, other: Machine) -> None:
    """Another node, with a certificate of its own, neither begins, answers nor fails another's challenge."""
    other.join(site)
    waiting = site.summon(node.node_id)
    assert refused(site, challenges.begin, other, waiting, BeginRequest(record_id=node.record_id))
    activation = node.begin(site, waiting)
    site.clock += ELAPSED_S
    evidence = node.evidence(node.claims(activation))
    submit = challenges.submit_evidence
    assert refused(site, challenges.report_failure, other, waiting, other.failure(activation))
    assert site.refuses(submit, other.node_id, other.certificate, waiting, evidence).code is ErrorCode.NOT_FOUND
    assert challenge(site, waiting).state == "activated"
    assert node.submit(site, waiting, evidence).outcome is Outcome.ACCEPTED


def refused(site: Site, action: Any, node: Machine, *arguments: Any) -> bool:
    return site.refuses(action, node.node_id, *arguments).code is ErrorCode.NOT_FOUND


def test_a_challenge_is_its_node_s(site: Site, enrolled: Machine, other: Machine) -> None:
    check_a_challenge_is_its_node_s(site, enrolled, other)


def test_a_challenge_of_anybody_is_noticed(site: Site, enrolled: Machine, other: Machine) -> None:
    def by_id_alone(conn: Connection, _node_id: str, challenge_id: str) -> Row[Any]:
        row = schema.challenge
        return conn.execute(select(row).where(row.c.id == challenge_id)).one()

    with replaced(challenges, "_challenge", by_id_alone), pytest.raises(NOTICED):
        check_a_challenge_is_its_node_s(site, enrolled, other)
