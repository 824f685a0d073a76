"""Replay tags and commitments at the authority: a sample given before is refused, as long as policy remembers it."""

from __future__ import annotations

import json
import types

import msgspec
import pytest
from msgspec import UNSET
from sqlalchemy import func, select

from authority import consent, enrolling, profiles
from authority.samples import RESUBMITTED, UNTAGGED
from authority.store import schema
from authority.trust.policy import DAY_S, OpeningRules, ReplayRules
from protocol.messages import ErasureOrder, Outcome
from protocol.openings import agreed_window_s, check_consent
from tests.authority.challenges.answers import activated, answered, reasons
from tests.authority.nodes import Machine, Site

SEEN, FRESH, OTHER = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32


def replay(site: Site, **rules: object) -> None:
    site.policy = msgspec.structs.replace(site.policy, replay=ReplayRules(**rules))


def tags(site: Site) -> int:
    return site.read(lambda conn: conn.scalar(select(func.count()).select_from(schema.replay_tag)))


def test_a_sample_is_taken_once(site: Site, enrolled: Machine):
    assert answered(site, enrolled, replay=[SEEN, FRESH]) is Outcome.ACCEPTED
    assert answered(site, enrolled, replay=[SEEN, OTHER]) is Outcome.REJECTED
    assert reasons(site) == [RESUBMITTED]


def test_fresh_samples_are_taken_and_so_are_bare_repetitions_without_tags_to_tell(site: Site, enrolled: Machine):
    """The control: without a tag the same commitments pass again, and again."""
    for _ in range(3):
        assert answered(site, enrolled) is Outcome.ACCEPTED
    assert answered(site, enrolled, replay=[SEEN, FRESH]) is Outcome.ACCEPTED
    assert answered(site, enrolled, replay=[OTHER, b"\x04" * 32]) is Outcome.ACCEPTED


def test_the_node_hears_the_same_as_of_any_other_refusal(site: Site, enrolled: Machine):
    def said(**changes: object) -> dict[str, object]:
        activation = activated(site, enrolled)
        evidence = enrolled.evidence(enrolled.claims(activation, **changes))
        verdict = enrolled.submit(site, activation.challenge_id, evidence)
        site.clock += 1000.0
        return {name: len(str(value)) if name == "ear" else value for name, value in _told(verdict).items()}

    answered(site, enrolled, replay=[SEEN, FRESH])
    replayed, foreign = said(replay=[SEEN, OTHER]), said(replay=[b"\x05" * 32, b"\x06" * 32], certificate="ff" * 32)
    assert (replayed["outcome"], replayed["reason"]) == (foreign["outcome"], foreign["reason"])
    assert replayed["reason"] == "evidence refused"
    assert "before" not in json.dumps(replayed, default=str)
    assert reasons(site)[0] == RESUBMITTED


def _told(verdict: msgspec.Struct) -> dict[str, object]:
    return msgspec.structs.asdict(verdict)


def test_a_sample_of_refused_evidence_is_not_fresh_either(site: Site, enrolled: Machine):
    assert answered(site, enrolled, replay=[SEEN, FRESH], sensors=[]) is Outcome.REJECTED
    assert answered(site, enrolled, replay=[SEEN, OTHER]) is Outcome.REJECTED
    assert reasons(site)[1] == RESUBMITTED


def test_evidence_that_the_profile_key_did_not_sign_puts_no_tag_on_record(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    token = enrolled.evidence(enrolled.claims(activation, replay=[SEEN, FRESH])).token
    forged = token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB")
    evidence = msgspec.structs.replace(enrolled.evidence(enrolled.claims(activation)), token=forged)
    assert enrolled.submit(site, activation.challenge_id, evidence).outcome is Outcome.REJECTED
    assert tags(site) == 0 and site.audit("evidence") == []


def test_a_sample_is_remembered_for_the_policy_s_window(site: Site, enrolled: Machine):
    replay(site, window_s=2 * DAY_S)
    answered(site, enrolled, replay=[SEEN, FRESH])
    site.clock += 2 * DAY_S - 60
    assert answered(site, enrolled, replay=[SEEN, OTHER]) is Outcome.REJECTED
    site.clock += 2 * DAY_S + 60
    assert answered(site, enrolled, replay=[SEEN, b"\x04" * 32]) is Outcome.ACCEPTED
    assert tags(site) == 2, "what is past the window is gone"


def test_a_policy_without_a_window_remembers_nothing(site: Site, enrolled: Machine):
    replay(site, window_s=0)
    for _ in range(2):
        assert answered(site, enrolled, replay=[SEEN, FRESH]) is Outcome.ACCEPTED
    assert tags(site) == 0


def test_a_modality_that_had_a_tag_once_needs_one_from_then_on(site: Site, enrolled: Machine):
    assert answered(site, enrolled) is Outcome.ACCEPTED, "an agent of before there were tags"
    assert answered(site, enrolled, replay=[SEEN, b""]) is Outcome.ACCEPTED
    assert answered(site, enrolled, replay=[b"", FRESH]) is Outcome.REJECTED
    assert answered(site, enrolled) is Outcome.REJECTED
    assert reasons(site) == [UNTAGGED, UNTAGGED]
    assert answered(site, enrolled, replay=[OTHER, b""]) is Outcome.REJECTED, "the second has had one by now"


def test_a_policy_may_demand_tags_of_everybody(site: Site, enrolled: Machine):
    replay(site, require=True)
    assert answered(site, enrolled) is Outcome.REJECTED
    assert answered(site, enrolled, replay=[SEEN, b""]) is Outcome.REJECTED
    assert reasons(site) == [UNTAGGED, UNTAGGED]
    assert answered(site, enrolled, replay=[OTHER, FRESH]) is Outcome.ACCEPTED


def test_a_profile_s_tags_go_with_it(site: Site, enrolled: Machine):
    answered(site, enrolled, replay=[SEEN, FRESH])
    assert tags(site) == 2
    site.run(enrolling.erase_profile, enrolled.record_id, "operator")
    assert tags(site) == 0


def test_a_tag_tells_nothing_of_another_profile(site: Site, enrolled: Machine):
    """Equal tags of two profiles would be chance: each profile is looked at alone."""
    answered(site, enrolled, replay=[SEEN, FRESH])
    enrolled.enrol(site, "grace")
    assert answered(site, enrolled, replay=[SEEN, FRESH]) is Outcome.ACCEPTED


def test_what_evidence_committed_to_stands_in_the_log(site: Site, enrolled: Machine):
    activation = activated(site, enrolled)
    claims = enrolled.claims(activation)
    enrolled.submit(site, activation.challenge_id, enrolled.evidence(claims))
    (record,) = site.audit("evidence")
    said = json.loads(record.data)
    assert (said["challenge"], said["record"]) == (activation.challenge_id, enrolled.record_id)
    assert (said["nonce"], said["commitment"]) == (claims.eat_nonce, claims.commitment.hex())
    assert record.node_id == enrolled.node_id


def test_openings_are_kept_by_policy_and_consent_together(site: Site, enrolled: Machine):
    """The consent of before does not speak of them."""
    site.policy = msgspec.structs.replace(site.policy, openings=OpeningRules(window_s=7 * DAY_S))
    assert consent.opening_s(site.policy, site.profile(enrolled.record_id)) is UNSET
    record = enrolled.enrol(site, "grace")
    assert agreed_window_s(json.loads(site.profile(record).consent)["version"]) == 7 * DAY_S
    assert activated(site, enrolled).opening_s == 7 * DAY_S


@pytest.mark.parametrize(("policy_s", "allowed_s"), [(30 * DAY_S, 7 * DAY_S), (DAY_S, DAY_S), (0, UNSET)])
def test_neither_policy_nor_consent_alone_lengthens_the_window(policy_s: float, allowed_s: object, site: Site):
    row = types.SimpleNamespace(consent=json.dumps({"version": "1+openings-604800"}))
    policy = msgspec.structs.replace(site.policy, openings=OpeningRules(window_s=policy_s))
    assert consent.opening_s(policy, row) == allowed_s


def test_the_text_that_is_agreed_to_says_so(site: Site):
    site.policy = msgspec.structs.replace(site.policy, openings=OpeningRules(window_s=DAY_S))
    version, text = consent.offered(site.policy)
    check_consent(version, text)
    assert "For 1 day after each presentation this machine also keeps" in text
    assert "also keeps" not in consent.consent_text(site.policy.enrolment.modalities)


def test_consent_to_the_text_without_openings_is_not_taken_for_the_one_with_them(site: Site, enrolled: Machine):
    session = enrolled.start_enrolment(site, "grace")
    finish = enrolled.enrolment(session)
    site.policy = msgspec.structs.replace(site.policy, openings=OpeningRules(window_s=DAY_S))
    refused = site.refuses(enrolling.finish_enrolment, enrolled.node_id, session.enrolment_id, finish)
    assert "another text" in str(refused)


def test_a_revoked_profile_is_removed_from_its_node(site: Site, enrolled: Machine):
    answered(site, enrolled, replay=[SEEN, FRESH])
    pushes = site.run(enrolling.revoke_profile, enrolled.record_id, "operator")
    order = ErasureOrder(record_id=enrolled.record_id)
    assert pushes == [(enrolled.node_id, order)]
    assert site.read(lambda conn: profiles.orders(conn, enrolled.node_id)) == [order]
    assert tags(site) == 0
    site.read(lambda conn: profiles.note_gone(conn, enrolled.node_id, enrolled.record_id, site.clock))
    assert site.read(lambda conn: profiles.orders(conn, enrolled.node_id)) == []
    assert site.profile(enrolled.record_id).state == profiles.REVOKED
