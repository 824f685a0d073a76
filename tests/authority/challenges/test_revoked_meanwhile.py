"""An administrator is revoked at many nodes: where no pass has come yet, nothing of theirs is good any more either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, update

from authority import challenges, enrolling, fleet_orders, owning, passes, profiles, revoking, rosters, scheduler, views
from authority.refusal import Refused
from authority.store import schema
from protocol.messages import BeginRequest, EnrolStart, IndexRequest, Outcome, ResetRequest
from tests.authority.challenges.answers import activated, reasons
from tests.authority.nodes import Machine, Site


def crowd(site: Site, node: Machine) -> None:
    """So many records of hers, by name before all others, that the first pass comes no further."""
    row = {"node_id": node.node_id, "admin": "ada", "state": "active", "nonce": b"", "release_share": b""}
    named = [{"record_id": f"{n:032}", "enrolment_id": f"{n:032}"} for n in range(fleet_orders.AT_ONCE)]
    rows = [{**row, **each, "created_at": 0.0, "expires_at": 0.0} for each in named]
    site.read(lambda conn: conn.execute(insert(schema.profile), rows) and None)


def revoke(site: Site, node: Machine) -> None:
    crowd(site, node)
    before = site.profile(node.record_id).state
    site.read(lambda conn: revoking.revoke_everywhere(conn, "ada", "ann", "left", site.clock) and None)
    assert site.profile(node.record_id).state == before  # no pass has come to it


def set_state(site: Site, node: Machine, state: str, **more: Any) -> None:
    mine = schema.profile.c.record_id == node.record_id
    site.read(lambda conn: conn.execute(update(schema.profile).where(mine).values(state=state, **more)) and None)


def begin(site: Site, node: Machine) -> Callable[[], object]:
    challenge = site.summon(node.node_id)
    request = BeginRequest(record_id=node.record_id)
    return lambda: site.run(challenges.begin, node.node_id, challenge, request)


def summon(site: Site, node: Machine) -> Callable[[], object]:
    return lambda: site.run(scheduler.challenge_now, node.node_id, "on-demand")


def approve(site: Site, node: Machine) -> Callable[[], object]:
    set_state(site, node, profiles.PENDING)
    return lambda: site.run(enrolling.approve, node.record_id, "bob")


def unlock(site: Site, node: Machine) -> Callable[[], object]:
    return lambda: site.run(enrolling.unlock_profile, node.record_id, "bob")


def reset(site: Site, node: Machine) -> Callable[[], object]:
    set_state(site, node, profiles.ACTIVE, unlocked_at=site.clock)
    return lambda: site.run(enrolling.grant_reset, node.node_id, node.record_id, ResetRequest(nonce=bytes(32)))


def finish(site: Site, node: Machine) -> Callable[[], object]:
    session = node.start_enrolment(site)
    request = node.enrolment(session)
    return lambda: site.run(enrolling.finish_enrolment, node.node_id, session.enrolment_id, request)


def index(site: Site, node: Machine) -> Callable[[], object]:
    session = node.start_enrolment(site)
    command = node.enclave.plan_guard(session.record_id, session.approval_key)
    parts = {"nonce": command.nonce, "public": command.index, "initial": command.initial}
    request = IndexRequest(**parts, change_key=command.change_key)
    return lambda: site.run(owning.grant_index, node.node_id, session.enrolment_id, request)


def renew(site: Site, node: Machine) -> Callable[[], object]:
    ticket, pin = site.run(enrolling.create_ticket, "ada", node.node_id, 600)
    request = EnrolStart(admin="ada", ticket=ticket, pin=pin, replaces=node.record_id)
    return lambda: site.run(enrolling.start_enrolment, node.node_id, request)


DECISIONS = (summon, begin, approve, unlock, reset, finish, index, renew)


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda each: each.__name__)
def test_nothing_is_decided_for_whoever_was_revoked(
    site: Site, enrolled: Machine, decision: Callable[[Site, Machine], Callable[[], object]]
) -> None:
    decide = decision(site, enrolled)
    revoke(site, enrolled)
    with pytest.raises(Refused):
        decide()


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda each: each.__name__)
def test_it_would_be_for_anybody_else(
    site: Site, enrolled: Machine, decision: Callable[[Site, Machine], Callable[[], object]]
) -> None:
    """The control: the same without the revocation."""
    decide = decision(site, enrolled)
    crowd(site, enrolled)
    decide()


def test_evidence_that_was_on_its_way_is_rejected(site: Site, enrolled: Machine) -> None:
    activation = activated(site, enrolled)
    evidence = enrolled.evidence(enrolled.claims(activation))
    revoke(site, enrolled)
    assert enrolled.submit(site, activation.challenge_id, evidence).outcome is Outcome.REJECTED
    assert reasons(site) == ["the profile was revoked meanwhile"]


def test_what_is_shown_is_what_counts(site: Site, enrolled: Machine) -> None:
    revoke(site, enrolled)
    shown = site.read(lambda conn: views.profile_list(conn, enrolled.node_id, "revoked"))
    assert enrolled.record_id in {each["record_id"] for each in shown}
    assert site.read(lambda conn: views.profile_list(conn, enrolled.node_id, "active")) == []
    (person,) = site.read(lambda conn: rosters.person_roster(conn, rosters.PersonFilter(), "", None))
    assert {each["state"] for each in person["profiles"]} == {"revoked"}


def test_her_share_is_destroyed_by_the_pass_that_comes_to_it(site: Site, enrolled: Machine) -> None:
    revoke(site, enrolled)
    assert site.profile(enrolled.record_id).release_share
    told: set[str] = set()
    while (made := site.run(passes.go_on))[1]:
        told |= {push[1].record_id for push in made[0]}
    assert enrolled.record_id in told
    row = site.profile(enrolled.record_id)
    assert (row.state, row.release_share, row.following_share) == ("revoked", b"", b"")
