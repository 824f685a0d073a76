"""The infrared camera beside that of the face: pinned at enrolment, and demanded of a face where the policy does."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from authority import challenges, driver_followers, enrolling, profiles
from authority.store import schema
from authority.trust import parse_policy
from authority.trust.policy import ChallengeRules
from protocol.codec import b64url, encode
from protocol.evidence import merkle_root
from protocol.messages import InfraredClaim, Outcome, SensorIdentity, Verdict
from protocol.problems import ErrorCode
from tests.authority.challenges.answers import activated, reasons, set_profile
from tests.authority.nodes import Machine, Site, model, sensor

UNSAID = msgspec.UNSET
SECOND = SensorIdentity(kind="camera", driver="opencv", driver_sha256="00", transport="v4l2", port="video-index2")
FACE_CAMERA = msgspec.structs.replace(SECOND, port="video-index0")
OTHER = msgspec.structs.replace(SECOND, port="video-index4")
SEEN = InfraredClaim(sensor=SECOND, strobe=True, looks=5)
BY_ANOTHER = msgspec.structs.replace(SEEN, sensor=OTHER)
SIMULATED = msgspec.structs.replace(SECOND, transport="virtual")
NOTHING = "too few modalities; the face does not count: "
REPLACED = "the infrared camera is not the one that was pinned at enrolment"


@pytest.fixture
def demanding(site: Site) -> Site:
    rules = parse_policy('version = "1"\n[challenge]\nrequire_infrared = true').challenge
    site.policy = msgspec.structs.replace(site.policy, challenge=rules)
    return site


def enrolled_with(site: Site, node: Machine, infrared: SensorIdentity | msgspec.UnsetType) -> Machine:
    """The node with a profile that names this second camera."""
    session = node.start_enrolment(site)
    finish = node.enrolment(session, infrared=infrared)
    site.run(enrolling.finish_enrolment, node.node_id, session.enrolment_id, finish)
    site.run(enrolling.approve, session.record_id, "operator")
    return node


@pytest.fixture
def pinned(site: Site, enrolled: Machine) -> Machine:
    return enrolled_with(site, enrolled, SECOND)


def verdict(site: Site, node: Machine, infrared: Any, *names: str) -> Verdict:
    """On evidence of these modalities, of fingerprint and face unless others are named."""
    activation = activated(site, node)
    changes: dict[str, Any] = {"infrared": infrared}
    if names:
        leaves = [bytes([number]) * 32 for number in range(len(names))]
        changes |= {"modalities": [model(name) for name in names], "sensors": [sensor(name) for name in names]}
        changes |= {"commitments": leaves, "commitment": merkle_root(leaves)}
    return node.submit(site, activation.challenge_id, node.evidence(node.claims(activation, **changes)))


def outcome(site: Site, node: Machine, infrared: Any, *names: str) -> Outcome:
    return verdict(site, node, infrared, *names).outcome


def test_by_default_it_is_not_demanded_and_evidence_of_before_holds(site: Site, enrolled: Machine):
    assert not ChallengeRules().require_infrared
    assert site.profile(enrolled.record_id).infrared == ""
    assert outcome(site, enrolled, UNSAID) is Outcome.ACCEPTED


def test_a_camera_that_no_enrolment_names_does_no_harm_and_is_not_held_against_anything(site: Site, enrolled: Machine):
    """A node that got one later, whose people are not enrolled anew."""
    assert [outcome(site, enrolled, seen) for seen in (SEEN, BY_ANOTHER)] == [Outcome.ACCEPTED] * 2


def test_what_looked_on_is_the_camera_of_the_enrolment(site: Site, pinned: Machine):
    assert outcome(site, pinned, SEEN) is Outcome.ACCEPTED
    assert outcome(site, pinned, BY_ANOTHER) is Outcome.REJECTED
    assert reasons(site) == [REPLACED]
    assert "evidence-refused" in site.alerts()


def test_another_code_of_its_driver_is_told_as_such_and_may_follow(site: Site, pinned: Machine):
    upgraded = msgspec.structs.replace(SEEN, sensor=msgspec.structs.replace(SECOND, driver_sha256="11"))
    assert outcome(site, pinned, upgraded) is Outcome.REJECTED
    assert reasons(site) == ["the code of driver opencv is another than at enrolment: see `driver follow`"]
    site.read(lambda conn: driver_followers.allow(conn, "00", "11", "an upgrade", "op", site.clock))
    assert outcome(site, pinned, upgraded) is Outcome.ACCEPTED


def test_a_face_that_the_camera_of_its_enrolment_did_not_see_counts_for_nothing(site: Site, pinned: Machine):
    """Whoever takes it out of the node's configuration gains nothing, whatever the policy says."""
    assert outcome(site, pinned, UNSAID) is Outcome.REJECTED
    unseen = "the infrared camera of its enrolment did not look on: put it back, or enrol anew"
    assert reasons(site) == [NOTHING + unseen]


def test_whoever_answers_without_the_face_needs_no_second_camera(demanding: Site, pinned: Machine):
    assert outcome(demanding, pinned, UNSAID, "fingerprint", "voice") is Outcome.ACCEPTED


def test_an_answer_that_is_enough_without_the_face_says_that_it_did_not_count(site: Site, pinned: Machine):
    whole = verdict(site, pinned, SEEN, "fingerprint", "face", "voice")
    without = verdict(site, pinned, UNSAID, "fingerprint", "face", "voice")
    assert (whole.outcome, without.outcome) == (Outcome.ACCEPTED, Outcome.ACCEPTED)
    assert "face" not in whole.explanation
    assert "; the face does not count: " in without.explanation
    notes = [json.loads(row.data).get("note", "") for row in site.audit("presentation")]
    assert notes[0] == "" and notes[1].startswith("the face does not count")
    row = schema.presentation
    models = site.read(lambda conn: [*conn.scalars(schema.presentation.select().with_only_columns(row.c.models))])
    assert [len(json.loads(each)) for each in models] == [3, 2]


def test_where_it_is_demanded_a_face_without_counts_for_nothing(demanding: Site, pinned: Machine):
    assert outcome(demanding, pinned, UNSAID) is Outcome.REJECTED
    assert outcome(demanding, pinned, SEEN) is Outcome.ACCEPTED


def test_where_it_is_demanded_whoever_is_enrolled_without_enrols_anew(demanding: Site, enrolled: Machine):
    """What a node says of a camera that nobody pinned is not taken for one."""
    enrolled_with(demanding, enrolled, UNSAID)
    assert outcome(demanding, enrolled, UNSAID) is Outcome.REJECTED
    assert outcome(demanding, enrolled, SEEN) is Outcome.REJECTED
    unpinned = "no infrared camera is in its enrolment: enrol anew at a node that has one"
    assert {*reasons(demanding)} == {NOTHING + unpinned}
    assert outcome(demanding, enrolled_with(demanding, enrolled, SECOND), SEEN) is Outcome.ACCEPTED


def test_where_it_is_demanded_it_looked_at_each_gesture_and_at_the_end(demanding: Site, pinned: Machine):
    gestures = demanding.policy.challenge.gestures
    fewer = msgspec.structs.replace(SEEN, looks=gestures)
    assert outcome(demanding, pinned, fewer) is Outcome.REJECTED
    assert reasons(demanding) == [f"{NOTHING}the infrared camera looked on 4 times only"]
    assert outcome(demanding, pinned, msgspec.structs.replace(SEEN, looks=gestures + 1)) is Outcome.ACCEPTED


def test_a_simulated_camera_counts_in_the_lab_only(demanding: Site, enrolled: Machine):
    enrolled_with(demanding, enrolled, SIMULATED)
    seen = msgspec.structs.replace(SEEN, sensor=SIMULATED)
    assert outcome(demanding, enrolled, seen) is Outcome.ACCEPTED
    demanding.set_node(enrolled.node_id, lab=False)
    assert outcome(demanding, enrolled, seen) is Outcome.REJECTED
    assert reasons(demanding) == [f"{NOTHING}a simulated infrared camera looked on"]


def test_a_simulated_camera_enrols_at_lab_nodes_only(site: Site, enrolled: Machine):
    site.set_node(enrolled.node_id, lab=False)
    session = enrolled.start_enrolment(site)
    real = [msgspec.structs.replace(sensor(name), transport="usb") for name in ("fingerprint", "face", "voice")]
    finish = enrolled.enrolment(session, sensors=real, infrared=SIMULATED)
    refused = site.refuses(enrolling.finish_enrolment, enrolled.node_id, session.enrolment_id, finish)
    assert refused.code is ErrorCode.VIRTUAL_DEVICE
    finish = msgspec.structs.replace(finish, infrared=SECOND)
    assert site.run(enrolling.finish_enrolment, enrolled.node_id, session.enrolment_id, finish).state == "pending"


@pytest.mark.parametrize("beside", [FACE_CAMERA, msgspec.structs.replace(SECOND, kind="microphone")])
def test_one_camera_is_not_two_and_nothing_else_is_one(site: Site, enrolled: Machine, beside: SensorIdentity):
    session = enrolled.start_enrolment(site)
    own = [sensor("fingerprint"), FACE_CAMERA, sensor("voice")]
    finish = enrolled.enrolment(session, sensors=own, infrared=beside)
    refused = site.refuses(enrolling.finish_enrolment, enrolled.node_id, session.enrolment_id, finish)
    assert (refused.code, refused.status) == (ErrorCode.MALFORMED, 422)
    assert "[infrared]" in refused.remedy


def test_nothing_of_it_is_kept_of_a_profile_that_was_erased(site: Site, pinned: Machine):
    assert SECOND.port in site.profile(pinned.record_id).infrared
    row = site.profile(pinned.record_id)
    site.read(lambda conn: profiles.erase(conn, row, "op", site.clock))
    assert site.profile(pinned.record_id).infrared == ""


def test_a_registration_that_cannot_be_read_is_our_fault(site: Site, pinned: Machine):
    set_profile(site, infrared="{")
    assert outcome(site, pinned, SEEN) is Outcome.UNDECIDED


def test_the_claim_is_signed(site: Site, pinned: Machine):
    """Somebody in between cannot add that a camera looked on."""
    activation = activated(site, pinned)
    silent = pinned.evidence(pinned.claims(activation))
    head, _, signature = silent.token.split(".")
    added = b64url(encode(pinned.claims(activation, counter=pinned.counter, infrared=SEEN)))
    forged = msgspec.structs.replace(silent, token=f"{head}.{added}.{signature}")
    found, _ = site.run(challenges.submit_evidence, pinned.node_id, pinned.certificate, activation.challenge_id, forged)
    assert found.outcome is Outcome.REJECTED
    assert reasons(site) == ["the token is not signed by the profile's key"]


@pytest.mark.parametrize("value", ['"yes"', "1", "[]"])
def test_a_policy_that_says_it_otherwise_is_refused(value: str):
    with pytest.raises(Exception, match="bool"):
        parse_policy(f'version = "1"\n[challenge]\nrequire_infrared = {value}')
