"""Answering challenges, and looking at what came of it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row, select, update

from authority import challenges
from authority.store import schema
from protocol.messages import Activation, EvidenceSubmission, Outcome
from protocol.problems import ErrorCode
from tests.authority.nodes import Machine, Site

ELAPSED_S = 5.0


def activated(site: Site, node: Machine, elapsed_s: float = ELAPSED_S) -> Activation:
    """A challenge that somebody began `elapsed_s` ago."""
    activation = node.begin(site, site.summon(node.node_id))
    site.clock += elapsed_s
    return activation


def answered(site: Site, node: Machine, **changes: Any) -> Outcome:
    """The outcome of one more challenge with right evidence, but for `changes`."""
    activation = activated(site, node)
    return node.submit(site, activation.challenge_id, node.evidence(node.claims(activation, **changes))).outcome


def challenge(site: Site, challenge_id: str) -> Row[Any]:
    row = schema.challenge
    return site.read(lambda conn: conn.execute(select(row).where(row.c.id == challenge_id)).one())


def presentations(site: Site) -> list[str]:
    row = schema.presentation
    return site.read(lambda conn: [*conn.scalars(select(row.c.kind).order_by(row.c.seq))])


def set_profile(site: Site, **values: Any) -> None:
    site.read(lambda conn: conn.execute(update(schema.profile).values(**values)))


def refusal(site: Site, node: Machine, challenge_id: str, evidence: EvidenceSubmission) -> ErrorCode:
    submit = challenges.submit_evidence
    return site.refuses(submit, node.node_id, node.certificate, challenge_id, evidence).code


def reasons(site: Site) -> list[str]:
    """Why presentations were rejected, as the audit log has it."""
    return [json.loads(row.data)["reason"] for row in site.audit("rejected")]
