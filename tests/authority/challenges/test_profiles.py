"""Registered profiles over their life: shares in turn, states approved, locks lifted, renewal, erasure."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from authority import approvals, challenges, enrolling, profiles, references, releases
from authority.keys import KekError
from authority.tpm import nv_name, parse_nv_public
from drivers.tpm2 import Tpm2Driver
from hal import Approval, AuthorisationFailed, Enclave, SealAuthority
from protocol.guard import FLOOR_LABEL, STATE_REFERENCE
from protocol.messages import EnrolStart, ErasureOrder, Outcome, ResetRequest
from protocol.problems import ErrorCode
from protocol.release import ReleasedShares
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from tests.authority.nodes import AUTH, PIN, Machine, Site


@pytest.fixture
def joined(enrolled: Machine) -> Machine:
    return enrolled


def answered(site: Site, node: Machine, share: int | None = None) -> tuple[Outcome, ReleasedShares]:
    """What the authority made of a good answer, and what it released for it."""
    activation = node.begin(site, site.summon(node.node_id))
    site.clock += 5.0
    more = {} if share is None else {"share": share}
    evidence = node.evidence(node.claims(activation), **more)
    return node.submit(site, activation.challenge_id, evidence).outcome, node.released(activation)


def answer(site: Site, node: Machine) -> Outcome:
    return answered(site, node)[0]


# Release shares.


def test_an_activation_brings_the_present_share_and_the_next_and_counts_them(site: Site, enrolled: Machine):
    first = enrolled.released(enrolled.begin(site, site.summon(enrolled.node_id)))
    assert (first.number, first.following is not None) == (1, True)
    assert site.profile(enrolled.record_id).releases == 1


def test_the_old_share_is_destroyed_when_the_node_says_that_it_uses_the_next(site: Site, enrolled: Machine):
    outcome, shares = answered(site, enrolled, 2)
    assert outcome is Outcome.ACCEPTED
    row = site.profile(enrolled.record_id)
    assert (row.share_number, row.following_share) == (2, b"")
    assert releases.open_present(site.rt, row) == shares.following
    again = enrolled.released(enrolled.begin(site, site.summon(enrolled.node_id)))
    assert (again.number, again.present) == (2, shares.following)
    assert len(site.audit("share-destroyed")) == 1


@pytest.mark.parametrize("said", [None, 1, 3, 7])
def test_any_other_number_keeps_both_shares(site: Site, enrolled: Machine, said: int | None):
    _, before = answered(site, enrolled, said)
    assert enrolled.released(enrolled.begin(site, site.summon(enrolled.node_id))) == before


def test_evidence_that_is_refused_destroys_nothing(site: Site, enrolled: Machine):
    activation = enrolled.begin(site, site.summon(enrolled.node_id))
    site.clock += 5.0
    bad = enrolled.evidence(enrolled.claims(activation, iss="0" * 64), share=2)
    assert enrolled.submit(site, activation.challenge_id, bad).outcome is Outcome.REJECTED
    assert site.profile(enrolled.record_id).share_number == 1


def test_a_share_opens_in_its_own_challenge_at_its_own_node_only(site: Site, enrolled: Machine, other: Machine):
    from protocol.codec import ProtocolViolation

    activation = enrolled.begin(site, site.summon(enrolled.node_id))
    for changed in (
        msgspec.structs.replace(activation, nonce=bytes(32)),
        msgspec.structs.replace(activation, record_id="0" * 32),
        msgspec.structs.replace(activation, challenge_id="c"),
    ):
        with pytest.raises(ProtocolViolation):
            enrolled.released(changed)
    other.join(site)
    with pytest.raises(ProtocolViolation):
        other.released(activation)


def test_a_profile_is_presented_only_so_often_in_a_day(site: Site, enrolled: Machine):
    rules = msgspec.structs.replace(site.policy.lockout, releases_per_day=2)
    site.policy = msgspec.structs.replace(site.policy, lockout=rules)
    assert [answer(site, enrolled) for _ in range(2)] == [Outcome.ACCEPTED] * 2
    challenge = site.summon(enrolled.node_id)
    request = challenges.begin, enrolled.node_id, challenge
    from protocol.messages import BeginRequest

    refused = site.refuses(*request, BeginRequest(record_id=enrolled.record_id))
    assert refused.code is ErrorCode.TOO_MANY_TRIES
    assert len(site.audit("begin-refused")) == 1


# States.


def approved(node: Machine, site: Site) -> Approval:
    row = site.node(node.node_id)
    given = site.read(lambda conn: approvals.approval(conn, site.rt, row))
    assert not isinstance(given, msgspec.UnsetType)
    return Approval(given.policy, given.signature, tuple(given.selection), given.version)


def authority_of(site: Site) -> SealAuthority:
    return SealAuthority(approvals.approval_point(site.rt), STATE_REFERENCE, FLOOR_LABEL)


def test_the_state_that_the_node_joined_in_is_approved_and_its_tpm_takes_it(site: Site, enrolled: Machine):
    """The policy is computed here without a TPM; the TPM computes the same, or it would open nothing."""
    activation = enrolled.begin(site, site.summon(enrolled.node_id))
    assert activation.approval is not msgspec.UNSET
    authority, approval = authority_of(site), approved(enrolled, site)
    assert approval.policy == enrolled.enclave.pcr_policy(approval.selection, authority, approval.version)
    blob = enrolled.enclave.seal(b"pepper", (), authority)
    assert enrolled.enclave.unseal(blob, approval) == b"pepper"


def test_an_approval_of_other_registers_opens_nothing(site: Site, enrolled: Machine):
    blob = enrolled.enclave.seal(b"pepper", (), authority_of(site))
    pcrs = {str(index): (bytes(31) + b"x").hex() for index in (0, 2, 4, 7)}
    version = site.node(enrolled.node_id).state_version
    site.read(
        lambda conn: references.learn(conn, enrolled.node_id, references.Kind.PCRS, pcrs, site.clock, afresh=True)
    )
    with pytest.raises(AuthorisationFailed):
        enrolled.enclave.unseal(blob, approved(enrolled, site))
    assert approved(enrolled, site).version == version


def test_every_decision_on_a_state_makes_the_approvals_of_before_outdated(site: Site, enrolled: Machine):
    given = approved(enrolled, site)
    site.read(lambda conn: references.await_next(conn, enrolled.node_id, references.Kind.PCRS, "ada", site.clock))
    assert site.node(enrolled.node_id).state_version == given.version + 1


def test_the_floor_is_the_node_s_own_counter(site: Site, enrolled: Machine):
    public = site.node(enrolled.node_id).floor_public
    certified = enrolled.enclave.certify_counter(FLOOR_LABEL, bytes(32))
    assert nv_name(parse_nv_public(public)) == nv_name(parse_nv_public(certified.public))


# What an enrolment must register.


@pytest.mark.parametrize("flaw", ["no guard", "no floor", "limit", "label", "other floor", "tried before"])
def test_a_tpm_s_profile_key_must_be_behind_an_untried_guard_of_ours(site: Site, joined: Machine, flaw: str):
    from protocol.digests import enrol_digest

    session = joined.start_enrolment(site)
    digest = enrol_digest(session.enrolment_id, session.record_id, session.nonce)
    sound = joined.enrolment(session)
    flawed = {
        "no guard": lambda: msgspec.structs.replace(sound, guard=msgspec.UNSET),
        "no floor": lambda: msgspec.structs.replace(sound, floor=msgspec.UNSET),
        "limit": lambda: msgspec.structs.replace(sound, **joined.guarded(session, digest, 1000)),
        "label": lambda: msgspec.structs.replace(
            sound, **joined.guarded(msgspec.structs.replace(session, record_id="another"), digest)
        ),
        "other floor": lambda: msgspec.structs.replace(sound, floor=other_counter(joined.enclave, digest)),
        "tried before": lambda: msgspec.structs.replace(sound, guard=tried(joined, sound, digest)),
    }[flaw]()
    refused = site.refuses(enrolling.finish_enrolment, joined.node_id, session.enrolment_id, flawed)
    assert refused.code is ErrorCode.ATTESTATION_REJECTED
    assert site.profile(session.record_id).state == "open"


def other_counter(enclave: Enclave, digest: bytes) -> object:
    from protocol.messages import CertifiedIndex

    enclave.counter("another")
    found = enclave.certify_counter("another", digest)
    return CertifiedIndex(public=found.public, attest=found.attest, signature=found.signature)


def tried(node: Machine, sound: object, digest: bytes) -> object:
    """The guard certified after a wrong answer."""
    assert node.guard is not None
    with pytest.raises(AuthorisationFailed):
        node.enclave.guarded_sign(node.guard, bytes(31) + b"x", AUTH, bytes(32))
    found = node.enclave.certify_guard(node.guard, digest)
    return msgspec.structs.replace(sound.guard, attest=found.attest, signature=found.signature)  # type: ignore[attr-defined,type-var]


# Locks.


def test_an_operator_unlocks_and_the_tpm_takes_the_reset_once(site: Site, enrolled: Machine):
    guard, enclave = enrolled.guard, enrolled.enclave
    assert guard is not None
    for _ in range(15):
        with pytest.raises(AuthorisationFailed):
            enclave.guarded_sign(guard, b"w" * 32, AUTH, bytes(32))
    with pytest.raises(AuthorisationFailed):
        enrolled.sign(bytes(32))
    request = enrolling.grant_reset, enrolled.node_id, enrolled.record_id
    assert site.refuses(*request, ResetRequest(nonce=bytes(32))).code is ErrorCode.TOO_MANY_TRIES
    site.run(enrolling.unlock_profile, enrolled.record_id, "operator")
    nonce = enclave.reset_nonce(guard)
    grant = site.run(*request, ResetRequest(nonce=nonce))
    enclave.reset_pin(guard, grant.signature)
    assert enrolled.sign(bytes(32))
    assert site.refuses(*request, ResetRequest(nonce=bytes(32))).code is ErrorCode.TOO_MANY_TRIES
    assert [len(site.audit(kind)) for kind in ("unlocked", "reset-granted", "reset-refused")] == [1, 1, 2]


def test_another_node_gets_no_reset_for_a_profile(site: Site, enrolled: Machine, other: Machine):
    other.join(site)
    site.run(enrolling.unlock_profile, enrolled.record_id, "operator")
    request = enrolling.grant_reset, other.node_id, enrolled.record_id, ResetRequest(nonce=bytes(32))
    assert site.refuses(*request).code is ErrorCode.TOO_MANY_TRIES


# The end of a profile.


def renewed(site: Site, node: Machine, replaces: str) -> str:
    ticket, pin = site.run(enrolling.create_ticket, "ada", node.node_id, 600)
    start = EnrolStart(admin="ada", ticket=ticket, pin=pin, replaces=replaces)
    session = site.run(enrolling.start_enrolment, node.node_id, start)
    site.run(enrolling.finish_enrolment, node.node_id, session.enrolment_id, node.enrolment(session))
    return session.record_id


def test_a_renewed_profile_takes_the_place_of_the_old_one_when_it_is_approved(site: Site, enrolled: Machine):
    old = enrolled.record_id
    new = renewed(site, enrolled, old)
    assert (site.profile(old).state, site.profile(new).state) == ("active", "pending")
    pushes = site.run(enrolling.approve, new, "operator")
    assert pushes == [(enrolled.node_id, ErasureOrder(record_id=old))]
    row = site.profile(old)
    assert (row.state, row.release_share, row.following_share) == ("revoked", b"", b"")
    with pytest.raises(KekError):
        releases.open_present(site.rt, row)
    assert answer(site, enrolled) is Outcome.ACCEPTED


def test_only_one_s_own_profile_at_the_same_node_is_renewed(site: Site, enrolled: Machine, other: Machine):
    other.join(site)
    for node, admin in ((other, "ada"), (enrolled, "bea")):
        ticket, pin = site.run(enrolling.create_ticket, admin, node.node_id, 600)
        start = EnrolStart(admin=admin, ticket=ticket, pin=pin, replaces=enrolled.record_id)
        assert site.refuses(enrolling.start_enrolment, node.node_id, start).code is ErrorCode.PROFILE_UNKNOWN


def test_an_erased_profile_leaves_no_share_no_consent_and_two_lines_in_the_log(site: Site, enrolled: Machine):
    record = enrolled.record_id
    assert site.run(enrolling.erase_profile, record, "operator") == [(enrolled.node_id, ErasureOrder(record_id=record))]
    row = site.profile(record)
    assert (row.state, row.release_share, row.following_share, row.guard_public) == ("erased", b"", b"", b"")
    assert (row.consent, row.sensors, row.modalities) == ("{}", "[]", "[]")
    orders = site.read(lambda conn: profiles.orders(conn, enrolled.node_id))
    assert orders == [ErasureOrder(record_id=record)]
    site.run(lambda conn, rt, now: profiles.note_gone(conn, enrolled.node_id, record, now))
    assert site.read(lambda conn: profiles.orders(conn, enrolled.node_id)) == []
    assert [len(site.audit(kind)) for kind in ("erased", "erased-at-node")] == [1, 1]


def test_a_node_that_erased_a_profile_by_itself_erases_it_here_too(site: Site, enrolled: Machine, other: Machine):
    other.join(site)
    record = enrolled.record_id
    site.run(lambda conn, rt, now: profiles.note_gone(conn, other.node_id, record, now))
    assert site.profile(record).state == "active"
    site.run(lambda conn, rt, now: profiles.note_gone(conn, enrolled.node_id, record, now))
    assert site.profile(record).state == "erased"
    assert site.audit("erased")[-1].actor == enrolled.node_id


def test_a_lost_tpm_is_another_node_that_joins_and_enrols(
    site: Site, enrolled: Machine, tpm_maker: SwtpmFactory, tmp_path: Path
):
    """Nothing of the old one opens there; the old profile stays what it was until an operator erases it."""
    old = enrolled.record_id
    with (
        Swtpm(tpm_maker.manufacture("third").copy(tmp_path / "new")) as tpm,
        Tpm2Driver().open({"tcti": tpm.tcti}) as enclave,
    ):
        fresh = Machine("n1-again", enclave)
        fresh.join(site)
        fresh.enrol(site)
        assert fresh.node_id != enrolled.node_id
        assert answer(site, fresh) is Outcome.ACCEPTED
        assert fresh.guard is not None and enrolled.guard is not None
        with pytest.raises(Exception, match=r"gone|another"):
            enclave.guarded_sign(enrolled.guard, PIN, AUTH, bytes(32))
    site.run(enrolling.erase_profile, old, "operator")
    assert site.profile(old).state == "erased"
