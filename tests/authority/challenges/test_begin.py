"""Beginning: a summons becomes a challenge once, for somebody who may answer."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from authority import challenges, drawing, enrolling, scheduler
from authority.keys import FileKek
from authority.store import schema
from protocol.gestures import rows
from protocol.messages import (
    BeginRequest,
    Outcome,
    StatusEvent,
    Summons,
)
from protocol.problems import ErrorCode
from tests.authority.challenges.answers import (
    activated,
    answered,
    challenge,
    presentations,
    set_profile,
)
from tests.authority.nodes import SELECTION, Machine, Site


def test_a_summons_is_activated_with_everything_that_the_person_needs(site: Site, enrolled: Machine):
    activation = enrolled.begin(site, site.summon(enrolled.node_id))
    assert len(activation.nonce) == 32
    assert activation.digits.isdecimal() and len(activation.digits) == 8
    assert tuple(activation.gestures) in rows(site.policy.challenge.gestures)
    assert activation.deadline_s == site.policy.challenge.activation_s
    assert tuple(activation.pcr_selection) == SELECTION


def test_the_release_share_is_the_one_of_the_enrolment(site: Site, enrolled: Machine, other: Machine):
    other.join(site)
    session = other.start_enrolment(site)
    site.run(enrolling.finish_enrolment, other.node_id, session.enrolment_id, other.enrolment(session))
    site.run(enrolling.approve, session.record_id, "operator")
    first = other.first_share(session)
    assert other.released(other.begin(site, site.summon(other.node_id))).present == first
    assert enrolled.released(enrolled.begin(site, site.summon(enrolled.node_id))).present != first


def test_what_to_speak_and_to_do_differs_from_time_to_time(site: Site):
    rt = site.rt
    assert len({drawing.draw_digits(rt) for _ in range(50)}) == 50
    drawn = {tuple(drawing.draw_gestures(rt)) for _ in range(3000)}
    assert drawn == set(rows(site.policy.challenge.gestures))
    assert not any(digit * 3 in drawing.draw_digits(rt) for _ in range(200) for digit in "0123456789")


def begin(node: Machine, challenge_id: str, record_id: str | None = None) -> tuple[Any, ...]:
    return challenges.begin, node.node_id, challenge_id, BeginRequest(record_id=record_id or node.record_id)


def test_a_summons_is_activated_once(site: Site, enrolled: Machine):
    challenge_id = site.summon(enrolled.node_id)
    first = site.run(*begin(enrolled, challenge_id))
    assert site.refuses(*begin(enrolled, challenge_id)).code is ErrorCode.CHALLENGE_CLOSED
    assert challenge(site, challenge_id).nonce == first.nonce


def test_a_summons_is_good_until_it_expires(site: Site, enrolled: Machine):
    challenge_id = site.summon(enrolled.node_id)
    site.clock += site.policy.challenge.grace_s - 1
    assert site.run(*begin(enrolled, challenge_id))


def test_an_expired_summons_is_over(site: Site, enrolled: Machine):
    challenge_id = site.summon(enrolled.node_id)
    site.clock += site.policy.challenge.grace_s
    assert site.refuses(*begin(enrolled, challenge_id)).code is ErrorCode.CHALLENGE_CLOSED


def test_another_node_s_challenge_does_not_exist(site: Site, enrolled: Machine, other: Machine):
    other.join(site)
    other.enrol(site)
    challenge_id = site.summon(enrolled.node_id)
    assert site.refuses(*begin(other, challenge_id)).code is ErrorCode.NOT_FOUND
    assert site.refuses(*begin(enrolled, "0" * 32)).code is ErrorCode.NOT_FOUND
    assert site.run(*begin(enrolled, challenge_id))


def test_another_node_s_profile_does_not_answer(site: Site, enrolled: Machine, other: Machine):
    other.join(site)
    other.enrol(site)
    challenge_id = site.summon(enrolled.node_id)
    assert site.refuses(*begin(enrolled, challenge_id, other.record_id)).code is ErrorCode.PROFILE_UNKNOWN
    assert challenge(site, challenge_id).state == "summoned"
    assert len(site.audit("begin-refused")) == 1


@pytest.mark.parametrize("state", ["open", "pending", "revoked"])
def test_only_an_approved_profile_answers(site: Site, enrolled: Machine, state: str):
    challenge_id = site.summon(enrolled.node_id)
    set_profile(site, state=state)
    assert site.refuses(*begin(enrolled, challenge_id)).code is ErrorCode.PROFILE_UNKNOWN
    set_profile(site, state="active")
    assert site.run(*begin(enrolled, challenge_id))


def test_a_revoked_administrator_answers_nowhere(site: Site, enrolled: Machine):
    challenge_id = site.summon(enrolled.node_id)
    site.read(lambda conn: conn.execute(update(schema.administrator).values(revoked_at=site.clock)))
    assert site.refuses(*begin(enrolled, challenge_id)).code is ErrorCode.PROFILE_UNKNOWN


def fail_in_row(site: Site, node: Machine, times: int) -> None:
    for _ in range(times):
        activation = activated(site, node)
        site.run(challenges.report_failure, node.node_id, activation.challenge_id, node.failure(activation))


def test_five_failures_in_a_row_lock_the_profile_for_a_while(site: Site, enrolled: Machine):
    fail_in_row(site, enrolled, site.policy.lockout.failures - 1)
    challenge_id = site.summon(enrolled.node_id)
    activation = site.run(*begin(enrolled, challenge_id))
    site.run(challenges.report_failure, enrolled.node_id, challenge_id, enrolled.failure(activation))
    assert site.profile(enrolled.record_id).locked_until == site.clock + site.policy.lockout.duration_s
    refused = site.refuses(scheduler.challenge_now, enrolled.node_id, "on-demand")
    assert refused.code is ErrorCode.CONFLICT
    site.clock += site.policy.lockout.duration_s
    assert answered(site, enrolled) is Outcome.ACCEPTED
    assert site.profile(enrolled.record_id).failures_in_row == 0


def test_a_profile_locked_after_the_summons_does_not_begin(site: Site, enrolled: Machine):
    challenge_id = site.summon(enrolled.node_id)
    set_profile(site, locked_until=site.clock + 1)
    assert site.refuses(*begin(enrolled, challenge_id)).code is ErrorCode.TOO_MANY_TRIES
    site.clock += 1
    assert site.run(*begin(enrolled, challenge_id))


def test_a_share_that_does_not_open_is_our_fault(site: Site, enrolled: Machine):
    assert answered(site, enrolled) is Outcome.ACCEPTED
    before = site.node(enrolled.node_id).score
    challenge_id = site.summon(enrolled.node_id)
    kek, site.kek = site.kek, FileKek(bytes(32))
    assert site.refuses(*begin(enrolled, challenge_id)).code is ErrorCode.UNAVAILABLE
    site.kek = kek
    assert challenge(site, challenge_id).state == "undecided"
    assert "authority-fault" in site.alerts()
    assert (site.node(enrolled.node_id).score, presentations(site)) == (before, ["accepted"])


def test_a_node_that_connects_is_told_where_it_stands(site: Site, enrolled: Machine):
    challenge_id = site.summon(enrolled.node_id)
    events = site.run(challenges.open_events, enrolled.node_id)
    kinds = {type(event): event for event in events}
    assert [type(event) for event in events] == [StatusEvent, Summons]
    assert kinds[Summons].challenge_id == challenge_id
    assert [(entry.admin, entry.record_id) for entry in kinds[Summons].roster] == [("ada", enrolled.record_id)]
    enrolled.begin(site, challenge_id)
    assert [type(event) for event in site.run(challenges.open_events, enrolled.node_id)] == [StatusEvent]
