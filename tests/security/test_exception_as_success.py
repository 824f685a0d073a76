"""CVE-2022-3500: an exception left the node attested and ended the checks; every fault must leave trust no better."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

from authority import appraisal, challenges
from authority.store import Store
from authority.verdict import Accepted
from protocol.messages import EvidenceSubmission, Outcome
from tests.authority.challenges.answers import activated, challenge, presentations
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, replaced

STATEMENTS = 200
"""More than a decision has."""


class Fault(Exception):
    """Something that nobody foresaw."""


@contextmanager
def fault_at(number: int) -> Iterator[Callable[[], bool]]:
    """The statement of this number, from 0, raises `Fault`; gives whether it came to that."""
    left = number

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise Fault

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield lambda: left < 0
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def submit(site: Site, node: Machine, challenge_id: str, evidence: EvidenceSubmission) -> None:
    with suppress(Fault):
        node.submit(site, challenge_id, evidence)


def check_no_fault_leaves_anything(site: Site, node: Machine) -> None:
    """At every statement of a decision in turn: nothing of it is kept, and in the end the same evidence counts once."""
    activation = activated(site, node)
    evidence = node.evidence(node.claims(activation))
    before, reached = standing(site, node, activation.challenge_id), 0
    for number in range(STATEMENTS):
        with fault_at(number) as happened:
            submit(site, node, activation.challenge_id, evidence)
        if not happened():
            break
        reached += 1
        assert standing(site, node, activation.challenge_id) == before
    assert 5 < reached < STATEMENTS
    assert presentations(site) == ["accepted"]


def standing(site: Site, node: Machine, challenge_id: str) -> tuple[Any, ...]:
    row = site.node(node.node_id)
    return row.score, row.tier, row.state, challenge(site, challenge_id).state, presentations(site)


def check_a_fault_in_a_check_accepts_nothing(site: Site, node: Machine) -> None:
    def faulty(*_: Any) -> Any:
        raise Fault

    activation = activated(site, node)
    evidence = node.evidence(node.claims(activation))
    for name in ("read_claims", "_check_binding", "_check_content", "check_quote"):
        with replaced(appraisal, name, faulty), suppress(Fault):
            assert node.submit(site, activation.challenge_id, evidence).outcome is not Outcome.ACCEPTED
        assert presentations(site) == []


def commits_whatever_happens(store: Store, action: Callable[[Connection], Any], _asked_at: float) -> Any:
    with store._engine.connect() as conn:
        try:
            return action(conn)
        finally:
            conn.commit()


def test_no_fault_leaves_anything(site: Site, enrolled: Machine) -> None:
    check_no_fault_leaves_anything(site, enrolled)


def test_a_store_that_keeps_half_a_decision_is_noticed(site: Site, enrolled: Machine) -> None:
    """Half a decision even shows by itself where the next one meets the audit record that was kept."""
    with replaced(Store, "_transact", commits_whatever_happens), pytest.raises((*NOTICED, IntegrityError)):
        check_no_fault_leaves_anything(site, enrolled)


def test_a_fault_in_a_check_accepts_nothing(site: Site, enrolled: Machine) -> None:
    check_a_fault_in_a_check_accepts_nothing(site, enrolled)


def test_an_appraisal_that_takes_a_fault_as_success_is_noticed(site: Site, enrolled: Machine) -> None:
    genuine = challenges.appraise

    def lenient(*arguments: Any) -> Any:
        try:
            return genuine(*arguments)
        except Fault:
            return Accepted(speed=1000, quality=1000, counter=enrolled.counter)

    with replaced(challenges, "appraise", lenient), pytest.raises(NOTICED):
        check_a_fault_in_a_check_accepts_nothing(site, enrolled)
