"""Enrolling: tickets and PINs, the profile key's certification, approval and revocation."""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec import UNSET
from sqlalchemy import select, update

from authority import enrolling, profiles, releases, scheduler
from authority.keys import KekError
from authority.refusal import Refused
from authority.runtime import Refusal
from authority.store import schema
from authority.trust import default_policy
from authority.trust.policy import EnrolmentRules
from hal import KeyUse
from protocol.digests import enrol_digest
from protocol.messages import EnrolStart, Summons
from protocol.problems import ErrorCode
from protocol.tokens import Ticket, parse_ticket
from tests.authority.nodes import MODALITIES, Machine, Site, model, sensor

SENSORS = [sensor(name) for name in MODALITIES]


@pytest.fixture
def joined(site: Site, machine: Machine) -> Machine:
    machine.join(site)
    return machine


def ticket(site: Site, node: Machine, admin: str = "ada", ttl: float = 600) -> tuple[str, str]:
    return site.run(enrolling.create_ticket, admin, node.node_id, ttl)


def start(node: Machine, text: str, pin: str, admin: str = "ada") -> tuple:
    return enrolling.start_enrolment, node.node_id, EnrolStart(admin=admin, ticket=text, pin=pin)


def finish(node: Machine, session, request) -> tuple:
    return enrolling.finish_enrolment, node.node_id, session.enrolment_id, request


def causes(site: Site) -> list[str]:
    return [json.loads(row.data)["cause"] for row in site.audit("enrolment-refused")]


def another_pin(pin: str) -> str:
    return f"{(int(pin) + 1) % 10**8:08d}"


def test_an_administrator_enrols_and_answers_after_approval(site: Site, joined: Machine):
    session = joined.start_enrolment(site)
    assert session.modalities == ["fingerprint", "face", "voice"]
    result = site.run(*finish(joined, session, joined.enrolment(session)))
    assert result.state == "pending"
    assert site.profile(session.record_id).state == "pending"
    with pytest.raises((Refused, Refusal)):
        site.summon(joined.node_id)
    site.run(enrolling.approve, session.record_id, "operator")
    assert (site.profile(session.record_id).state, site.profile(session.record_id).approved_by) == (
        "active",
        "operator",
    )
    (push,) = site.run(scheduler.challenge_now, joined.node_id, "on-demand")
    assert isinstance(push[1], Summons)
    assert [(entry.admin, entry.record_id) for entry in push[1].roster] == [("ada", session.record_id)]


def test_the_release_share_is_stored_wrapped_and_bound_to_its_record(site: Site, joined: Machine):
    session = joined.start_enrolment(site)
    row = site.profile(session.record_id)
    share = joined.first_share(session)
    assert share not in row.release_share
    assert releases.open_present(site.rt, row) == share
    swapped = site.profile(joined.start_enrolment(site).record_id)
    for record, number in ((swapped.record_id, 1), (session.record_id, 2)):
        moved = {"release_share": row.release_share, "record_id": record, "share_number": number}
        with pytest.raises(KekError):
            releases.open_present(site.rt, type("Row", (), moved))


def test_neither_ticket_nor_pin_is_stored(site: Site, joined: Machine):
    text, pin = ticket(site, joined)
    row = site.read(lambda conn: conn.execute(select(schema.ticket)).one())
    assert parse_ticket(text).secret.hex() not in str(row)
    assert text.split(".")[2] not in str(row) and pin not in str(row)
    assert len(pin) == 8 and pin.isdecimal()


def test_every_bad_ticket_is_refused_in_the_same_words(site: Site, joined: Machine, other: Machine):
    other.join(site)
    text, pin = ticket(site, joined)
    known = parse_ticket(text)
    late, late_pin = ticket(site, joined, ttl=-1)
    tries = {
        "unknown ticket": start(joined, Ticket("0" * 16, bytes(32)).format(), pin),
        "wrong secret": start(joined, Ticket(known.ticket_id, bytes(32)).format(), pin),
        "wrong PIN": start(joined, text, another_pin(pin)),
        "of another node": start(other, text, pin),
        "of another administrator": start(joined, text, pin, admin="bob"),
        "expired": start(joined, late, late_pin),
    }
    refusals = [site.refuses(*each) for each in tries.values()]
    assert {(each.code, each.detail, each.remedy) for each in refusals} == {
        (ErrorCode.TICKET_INVALID, refusals[0].detail, refusals[0].remedy)
    }
    assert causes(site) == [
        "unknown ticket",
        "unknown ticket",
        "wrong PIN",
        "ticket of another node or administrator",
        "ticket of another node or administrator",
        "ticket expired",
    ]
    assert site.run(*start(joined, text, pin))


def test_a_ticket_is_good_once(site: Site, joined: Machine):
    text, pin = ticket(site, joined)
    site.run(*start(joined, text, pin))
    assert site.refuses(*start(joined, text, pin)).code is ErrorCode.TICKET_INVALID
    assert causes(site) == ["ticket used before"]


def test_five_wrong_pins_kill_a_ticket_and_four_do_not(site: Site, joined: Machine):
    living, living_pin = ticket(site, joined)
    dead, dead_pin = ticket(site, joined)
    for _ in range(4):
        assert site.refuses(*start(joined, living, another_pin(living_pin))).code is ErrorCode.TICKET_INVALID
    for _ in range(5):
        assert site.refuses(*start(joined, dead, another_pin(dead_pin))).code is ErrorCode.TICKET_INVALID
    assert site.run(*start(joined, living, living_pin))
    assert site.refuses(*start(joined, dead, dead_pin)).code is ErrorCode.TOO_MANY_TRIES
    assert "ticket-dead" in site.alerts()


def test_garbage_is_no_ticket(site: Site, joined: Machine):
    refusal = site.refuses(*start(joined, "kvt1.secret-that-must-not-be-echoed", "1"))
    assert refusal.code is ErrorCode.MALFORMED
    assert "echoed" not in refusal.detail


def test_a_revoked_administrator_gets_no_ticket(site: Site, joined: Machine):
    ticket(site, joined)
    site.read(lambda conn: conn.execute(update(schema.administrator).values(revoked_at=1.0)))
    assert site.refuses(enrolling.create_ticket, "ada", joined.node_id, 600).code is ErrorCode.CONFLICT


def test_an_enrolment_is_finished_once_and_repeated_without_harm(site: Site, joined: Machine):
    session = joined.start_enrolment(site)
    request = joined.enrolment(session)
    first = site.run(*finish(joined, session, request))
    assert site.run(*finish(joined, session, request)) == first
    assert len(site.audit("enrolled")) == 1
    assert site.refuses(*finish(joined, session, joined.enrolment(session))).code is ErrorCode.NOT_FOUND


def test_an_enrolment_ends(site: Site, joined: Machine):
    session = joined.start_enrolment(site)
    site.clock = session.expires_at
    assert site.refuses(*finish(joined, session, joined.enrolment(session))).code is ErrorCode.NOT_FOUND


def test_an_enrolment_belongs_to_its_node(site: Site, joined: Machine, other: Machine):
    other.join(site)
    session = joined.start_enrolment(site)
    assert site.refuses(*finish(other, session, joined.enrolment(session))).code is ErrorCode.NOT_FOUND
    assert site.run(*finish(joined, session, joined.enrolment(session)))


@pytest.mark.parametrize("flaw", ["key for agreement", "key of another enrolment", "key of another TPM", "no key"])
def test_a_profile_key_must_be_certified_for_this_enrolment(site: Site, joined: Machine, other: Machine, flaw: str):
    session = joined.start_enrolment(site)
    digest = enrol_digest(session.enrolment_id, session.record_id, session.nonce)
    good = joined.enrolment(session)
    forged = {
        "key for agreement": lambda: joined.certified(KeyUse.AGREE, digest)[1],
        "key of another enrolment": lambda: joined.certified(KeyUse.SIGN, bytes(32))[1],
        "key of another TPM": lambda: other.certified(KeyUse.SIGN, digest)[1],
        "no key": lambda: msgspec.structs.replace(good.profile_key, public=b""),
    }[flaw]()
    refusal = site.refuses(*finish(joined, session, msgspec.structs.replace(good, profile_key=forged)))
    assert refusal.code is ErrorCode.ATTESTATION_REJECTED
    assert len(causes(site)) == 1
    assert site.run(*finish(joined, session, good)).state == "pending"


def test_two_profiles_never_share_a_key(site: Site, joined: Machine):
    first, session = joined.start_enrolment(site, "bob"), joined.start_enrolment(site)
    request = joined.enrolment(session)
    row, public = schema.profile, request.profile_key.public
    taken = update(row).where(row.c.record_id == first.record_id)
    site.read(lambda conn: conn.execute(taken.values(public=public)))
    assert site.refuses(*finish(joined, session, request)).code is ErrorCode.CONFLICT
    site.read(lambda conn: conn.execute(taken.values(public=b"")))
    assert site.run(*finish(joined, session, request)).state == "pending"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"modalities": [model("face")]}, ErrorCode.MALFORMED),
        ({"modalities": [model("face"), model("face", model="again")]}, ErrorCode.MALFORMED),
        ({"modalities": [model("face"), model("gait"), model("voice")]}, ErrorCode.MALFORMED),
        ({"sensors": []}, ErrorCode.MALFORMED),
        ({"consent_version": "0"}, ErrorCode.CONFLICT),
        ({"consent_sha256": "0" * 64}, ErrorCode.CONFLICT),
    ],
)
def test_content_is_checked(site: Site, joined: Machine, change, code):
    session = joined.start_enrolment(site)
    assert site.refuses(*finish(joined, session, joined.enrolment(session, **change))).code is code
    assert site.run(*finish(joined, session, joined.enrolment(session))).state == "pending"


def test_simulated_sensors_enrol_at_lab_nodes_only(site: Site, joined: Machine):
    session = joined.start_enrolment(site)
    site.set_node(joined.node_id, lab=False)
    assert site.refuses(*finish(joined, session, joined.enrolment(session))).code is ErrorCode.VIRTUAL_DEVICE
    real = [sensor(name, transport="usb") for name in MODALITIES]
    assert site.run(*finish(joined, session, joined.enrolment(session, sensors=real))).state == "pending"


def test_a_site_may_ask_for_all_modalities(site: Site, joined: Machine):
    policy = default_policy()
    strict = msgspec.structs.replace(policy.challenge, min_modalities=3)
    session = joined.start_enrolment(site)
    two = joined.enrolment(session, modalities=[model(each) for each in MODALITIES[:2]], sensors=SENSORS[:2])
    site.policy = msgspec.structs.replace(policy, challenge=strict)
    assert site.refuses(*finish(joined, session, two)).code is ErrorCode.MALFORMED
    site.policy = policy
    assert site.run(*finish(joined, session, two))


def test_a_modality_that_the_policy_adds_is_offered_consented_to_and_enrolled(site: Site, joined: Machine):
    """Nothing here knows "gait" but the policy; without it the same profile is refused, as a test above shows."""
    rules = EnrolmentRules(modalities=("face", "gait"))
    site.policy = msgspec.structs.replace(default_policy(), enrolment=rules)
    session = joined.start_enrolment(site)
    assert session.modalities == ["face", "gait"]
    assert "your face and gait," in session.consent_text
    names = ["face", "gait"]
    both = joined.enrolment(session, modalities=list(map(model, names)), sensors=list(map(sensor, names)))
    assert site.run(*finish(joined, session, both)).state == "pending"


TWO = ("two-fingers",)


@pytest.mark.parametrize(
    ("traits", "named"),
    [
        ({}, "fingerprint must have two-fingers"),
        ({"fingerprint": ("gestures",)}, "fingerprint must have two-fingers"),
        ({"fingerprint": TWO, "voice": ("own-threshold",)}, "voice must not have own-threshold"),
        ({"fingerprint": TWO, "face": ("gestures",)}, ""),
    ],
)
def test_a_profile_has_the_traits_that_the_policy_demands(site: Site, joined: Machine, traits: dict, named: str):
    rules = EnrolmentRules(require={"fingerprint": TWO})
    site.policy = msgspec.structs.replace(default_policy(), enrolment=rules)
    session = joined.start_enrolment(site)
    request = joined.enrolment(session, modalities=[model(n, traits=traits.get(n, UNSET)) for n in MODALITIES])
    if named:
        assert named in site.refuses(*finish(joined, session, request)).detail
    else:
        assert site.run(*finish(joined, session, request)).state == "pending"


@pytest.mark.parametrize(("bare", "named"), [("face", "face must have gestures"), ("voice", "must have spoken-digits")])
def test_the_default_policy_takes_no_face_without_gestures_and_no_voice_without_digits(
    site: Site, joined: Machine, bare: str, named: str
):
    session = joined.start_enrolment(site)
    models = {name: model(name) for name in MODALITIES}
    request = joined.enrolment(session, modalities=[*(models | {bare: model(bare, traits=UNSET)}).values()])
    refused = site.refuses(*finish(joined, session, request))
    assert refused.code is ErrorCode.CONFLICT and named in refused.detail
    assert "Set the options of the modality" in refused.remedy
    loose = EnrolmentRules(require={})
    site.policy = msgspec.structs.replace(default_policy(), enrolment=loose)
    assert site.run(*finish(joined, session, request)).state == "pending"


def test_consent_to_other_modalities_than_the_policy_s_is_none(site: Site, joined: Machine):
    session = joined.start_enrolment(site)
    request = joined.enrolment(session)
    rules = EnrolmentRules(modalities=("fingerprint", "face", "voice", "gait"))
    site.policy = msgspec.structs.replace(default_policy(), enrolment=rules)
    assert site.refuses(*finish(joined, session, request)).code is ErrorCode.CONFLICT


def test_only_pending_profiles_are_approved(site: Site, joined: Machine):
    session = joined.start_enrolment(site)
    assert site.refuses(enrolling.approve, session.record_id, "operator").code is ErrorCode.CONFLICT
    assert site.refuses(enrolling.approve, "0" * 32, "operator").code is ErrorCode.PROFILE_UNKNOWN
    record = joined.enrol(site, "bob")
    assert site.run(enrolling.approve, record, "operator") == []
    site.run(enrolling.revoke_profile, record, "operator")
    assert site.refuses(enrolling.approve, record, "operator").code is ErrorCode.CONFLICT


def test_revocation_destroys_the_release_share(site: Site, joined: Machine):
    session = joined.start_enrolment(site)
    site.run(*finish(joined, session, joined.enrolment(session)))
    assert releases.open_present(site.rt, site.profile(session.record_id)) == joined.first_share(session)
    site.run(enrolling.revoke_profile, session.record_id, "operator")
    row = site.profile(session.record_id)
    assert (row.state, row.release_share) == ("revoked", b"")
    with pytest.raises(KekError):
        releases.open_present(site.rt, row)
    assert len(site.audit("revoked")) == 1
    site.run(enrolling.revoke_profile, session.record_id, "operator")
    assert len(site.audit("revoked")) == 1


def test_a_lock_doubles_with_every_failure_beyond_the_fifth():
    rules = default_policy().lockout
    locks = [profiles.lock_s(rules, failures) for failures in range(9)]
    assert locks == [0, 0, 0, 0, 0, 900, 1800, 3600, 7200]
    assert profiles.lock_s(rules, 10_000) == profiles.LONGEST_LOCK_S
