"""CVE-2021-43310 and CVE-2023-38201: key shares could be fetched again, and a registration's challenge tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, update

from authority import challenges, joining
from authority.refusal import Refused
from authority.store import schema
from protocol.messages import BeginRequest
from protocol.problems import ErrorCode
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED

Action = Callable[..., Any]


def check_a_share_is_given_once(site: Site, node: Machine, begin: Action) -> None:
    challenge_id = site.summon(node.node_id)
    asked = begin, node.node_id, challenge_id, BeginRequest(record_id=node.record_id)
    assert len(site.run(*asked).sealed_share) > 0
    assert site.refuses(*asked).code is ErrorCode.CHALLENGE_CLOSED


def check_an_attempt_is_good_once(site: Site, machine: Machine, finish: Action) -> None:
    """A wrong proof ends it, so that trying teaches nothing; no refusal depends on the guess."""
    request = machine.request(site.token(machine.name))
    challenge = site.start_join(request)
    right = machine.prove(challenge, request.csr)
    wrong = msgspec.structs.replace(right, secret=bytes(32))
    said = str(site.refuses(finish, site.ca, challenge.join_id, wrong))
    assert site.refuses(finish, site.ca, challenge.join_id, right).code is ErrorCode.NOT_FOUND
    other = site.start_join(request)
    guess = msgspec.structs.replace(machine.prove(other, request.csr), secret=right.secret[:31] + b"\0")
    assert str(site.refuses(finish, site.ca, other.join_id, guess)) == said


def check_a_registration_is_not_replayed(site: Site, machine: Machine, finish: Action) -> None:
    request = machine.request(site.token(machine.name))
    challenge = site.start_join(request)
    proof = machine.prove(challenge, request.csr)
    site.run(finish, site.ca, challenge.join_id, proof)
    assert site.refuses(finish, site.ca, challenge.join_id, proof).code is ErrorCode.NOT_FOUND
    assert site.refuses_join(request) is ErrorCode.TOKEN_INVALID


def begin_resets(conn: Any, rt: Any, node_id: str, challenge_id: str, request: Any, now: float) -> Any:
    """The flaw: whoever asks again finds the challenge as it was before."""
    mine = schema.challenge.c.id == challenge_id
    conn.execute(update(schema.challenge).where(mine).values(state="summoned"))
    return challenges.begin(conn, rt, node_id, challenge_id, request, now)


def finish_keeps(conn: Any, rt: Any, ca: Any, join_id: str, proof: Any, now: float) -> Any:
    """The flaw: the attempt is still there afterwards."""
    row = conn.execute(select(schema.join_attempt).where(schema.join_attempt.c.id == join_id)).one()
    try:
        return joining.finish_join(conn, rt, ca, join_id, proof, now)
    except Refused:
        raise
    finally:
        conn.execute(insert(schema.join_attempt).values(**row._mapping))


def test_a_share_is_given_once(site: Site, enrolled: Machine) -> None:
    check_a_share_is_given_once(site, enrolled, challenges.begin)


def test_a_share_that_is_given_again_is_noticed(site: Site, enrolled: Machine) -> None:
    with pytest.raises(NOTICED):
        check_a_share_is_given_once(site, enrolled, begin_resets)


def test_an_attempt_is_good_once(site: Site, other: Machine) -> None:
    check_an_attempt_is_good_once(site, other, joining.finish_join)


def test_a_registration_is_not_replayed(site: Site, other: Machine) -> None:
    check_a_registration_is_not_replayed(site, other, joining.finish_join)


@pytest.mark.parametrize("check", [check_an_attempt_is_good_once, check_a_registration_is_not_replayed])
def test_an_attempt_that_stays_is_noticed(site: Site, other: Machine, check: Action) -> None:
    with pytest.raises(NOTICED):
        check(site, other, finish_keeps)
