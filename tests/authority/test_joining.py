"""Joining: who gets in, and everything that is kept out."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import func, select

from authority import joining, scheduler, standing
from authority.keys import networks
from authority.store import schema
from authority.tpm import load_roots, node_id, public_key
from hal import KeyUse
from protocol.codec import decode
from protocol.delivery import Direction, Envelope, KeyBundle, SealedDelivery, delivery_info
from protocol.digests import join_digest, renew_digest
from protocol.hpke import open_sealed
from protocol.levels import ResourceClass
from protocol.messages import AttestRequest, NonceRequest, QuoteEvidence
from protocol.problems import ErrorCode
from protocol.tokens import JoinToken
from simulators.devices.swtpm import SwtpmFactory
from tests.authority.nodes import DELIVERY_KEY_AUTH, SELECTION, Machine, Site, sensor


def causes(site: Site, kind: str = "join-refused") -> list[str]:
    return [json.loads(row.data)["cause"] for row in site.audit(kind)]


def profile_states(site: Site) -> list[str]:
    return site.read(lambda conn: [*conn.scalars(select(schema.profile.c.state))])


def test_a_node_joins(site: Site, machine: Machine):
    result = machine.join(site)
    node = site.node(result.node_id)
    assert node.id == node_id(machine.enclave.endorsement().ek_public)
    assert (node.name, node.state, node.lab, node.tier) == ("n1", "pending", True, "low")
    assert json.loads(node.reference_pcrs) == {
        str(index): value.hex() for index, value in machine.enclave.read_pcrs(SELECTION).items()
    }
    assert [row.kind for row in site.audit("joined")] == ["joined"]


def test_a_node_that_joined_is_asked_to_attest_by_the_next_sweep(site: Site, machine: Machine):
    site.run(scheduler.sweep)
    result = machine.join(site)
    site.clock += 1
    asked = [node for node, told in site.run(scheduler.sweep) if isinstance(told, AttestRequest)]
    assert asked == [result.node_id]


def test_the_certificate_names_the_node_and_not_what_it_asked_for(site: Site, machine: Machine):
    result = machine.join(site)
    leaf = x509.load_pem_x509_certificate(result.certificate.encode())
    leaf.verify_directly_issued_by(site.ca.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"keyvigil://node/{result.node_id}"]
    assert leaf.subject.rfc4514_string() == "CN=n1"
    lifetime = leaf.not_valid_after_utc - datetime.fromtimestamp(site.clock, UTC)
    assert lifetime.total_seconds() == site.policy.certificate.lifetime_s
    assert site.node(result.node_id).certificate_sha256 == machine.certificate


@pytest.mark.parametrize("flaw", ["unknown token", "token used before", "token expired", "token of another name"])
def test_every_bad_token_is_refused_in_the_same_words(site: Site, machine: Machine, flaw: str):
    token = site.token("n9" if flaw == "token of another name" else "n1", ttl=60)
    if flaw == "unknown token":
        token = JoinToken(bytes(32), site.ca.ca_sha256).format()
    elif flaw == "token used before":
        machine.join(site)
        site.read(lambda conn: conn.execute(schema.join_token.update().values(used_at=site.clock)))
    elif flaw == "token expired":
        site.clock += 60
    refusal = site.refuses(joining.start_join, machine.request(token), site.roots, site.lab_roots)
    assert (refusal.code, refusal.detail) == (ErrorCode.TOKEN_INVALID, "the join token is not valid")
    assert causes(site) == [flaw]


def test_a_token_is_good_until_its_last_second(site: Site, machine: Machine):
    token = site.token(ttl=60)
    site.clock += 59
    assert site.start_join(machine.request(token)).join_id


def test_two_attempts_with_one_token_register_one_node(site: Site, machine: Machine, other: Machine):
    token = site.token()
    requests = machine.request(token), machine.request(token), other.request(token, name="n1")
    one, two, three = (site.start_join(request) for request in requests)
    site.finish_join(one.join_id, machine.prove(one, requests[0].csr))
    again = site.refuses(joining.finish_join, site.ca, two.join_id, machine.prove(two, requests[1].csr))
    foreign = site.refuses(joining.finish_join, site.ca, three.join_id, other.prove(three, requests[2].csr))
    assert (again.code, foreign.code) == (ErrorCode.TOKEN_INVALID, ErrorCode.NAME_TAKEN)
    assert site.read(lambda conn: conn.scalar(select(func.count(schema.node.c.id)))) == 1
    assert len(site.audit("joined")) == 1 and site.audit("re-joined") == []


def test_the_token_itself_is_stored_nowhere(site: Site, machine: Machine):
    token = site.token()
    site.start_join(machine.request(token))
    rows = site.read(
        lambda conn: [*conn.execute(select(schema.join_token)), *conn.execute(select(schema.join_attempt))]
    )
    assert token.split(".")[1] not in str(rows)


def test_a_tpm_of_an_unknown_maker_is_refused_with_the_reason(site: Site, machine: Machine, tmp_path):
    known, site.lab_roots = site.lab_roots, load_roots(SwtpmFactory(tmp_path / "other").ca_certificates)
    refusal = site.refuses(joining.start_join, machine.request(site.token()), site.roots, site.lab_roots)
    assert refusal.code is ErrorCode.ENDORSEMENT_REJECTED
    assert "unknown-root" in refusal.detail and "unknown-root" in causes(site)[0]
    site.lab_roots = known
    assert site.start_join(machine.request(site.token()))


def test_another_tpm_s_certificate_is_refused(site: Site, machine: Machine, other: Machine):
    stolen = list(other.enclave.endorsement().certificates)
    request = machine.request(site.token(), ek_certificates=stolen)
    assert site.refuses_join(request) is ErrorCode.ENDORSEMENT_REJECTED


def test_a_virtual_device_needs_a_lab_token(site: Site, machine: Machine):
    site.roots, site.lab_roots = site.lab_roots, []
    assert site.refuses_join(machine.request(site.token(lab=False))) is ErrorCode.VIRTUAL_DEVICE
    assert site.start_join(machine.request(site.token(lab=True)))
    machine.transport = "tpm"
    assert site.start_join(machine.request(site.token(lab=False)))
    cameras = [sensor("camera", transport="virtual")]
    assert site.refuses_join(machine.request(site.token(lab=False), devices=cameras)) is ErrorCode.VIRTUAL_DEVICE


def test_a_lab_root_is_no_production_root(site: Site, machine: Machine):
    machine.transport = "tpm"
    assert site.refuses_join(machine.request(site.token(lab=False))) is ErrorCode.VIRTUAL_DEVICE
    site.roots = site.lab_roots
    assert site.start_join(machine.request(site.token(lab=False)))


def test_a_name_never_moves_to_another_tpm(site: Site, machine: Machine, other: Machine):
    machine.join(site)
    before = site.node(machine.node_id)
    assert site.refuses_join(other.request(site.token(), name="n1")) is ErrorCode.NAME_TAKEN
    assert site.node(machine.node_id) == before
    assert "re-registration-refused" in site.alerts()
    assert len(site.audit("re-registration-refused")) == 1
    other.join(site)
    assert site.node(other.node_id).name == "n2"


def test_a_tpm_gets_no_second_name(site: Site, machine: Machine):
    machine.join(site)
    assert site.refuses_join(machine.request(site.token("n7"), name="n7")) is ErrorCode.CONFLICT


def test_the_same_machine_joins_again_and_keeps_its_profiles(site: Site, machine: Machine):
    machine.join(site)
    machine.enrol(site)
    old = machine.certificate
    machine.key = ec.generate_private_key(ec.SECP256R1())
    machine.join(site)
    assert site.node(machine.node_id).certificate_sha256 == machine.certificate != old
    assert profile_states(site) == ["active"]
    assert site.read(lambda conn: joining.node_of_certificate(conn, old, site.clock)) is None


def test_joining_again_brings_keys_for_the_new_delivery_key(site: Site, machine: Machine, other: Machine):
    for node in (machine, other):
        node.join(site)
        site.set_node(node.node_id, state="active", score=900, tier="high")
    site.run(networks.create_network, "net")
    for number, node in enumerate((machine, other), 1):
        site.run(networks.add_member, "net", node.node_id, f"10.0.0.{number}", ResourceClass.NORMAL)
    site.pushes = []
    machine.join(site)
    sealed = {to: decode(decode(event.envelope, Envelope).payload, SealedDelivery) for to, event in site.pushes}
    assert {*sealed} == {machine.node_id, other.node_id}
    mine = sealed[machine.node_id]
    key, info = machine.delivery_key, delivery_info(mine.node_id, mine.network, mine.generation, mine.number)
    point = public_key(key.public).public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    opened = open_sealed(
        mine.enc, mine.ciphertext, info, point, lambda peer: machine.enclave.agree(key, DELIVERY_KEY_AUTH, peer)
    )
    held = [(each.direction, each.peer) for each in decode(opened, KeyBundle).associations]
    assert held == [(Direction.INBOUND, other.node_id)]


def test_a_member_of_a_network_does_not_become_a_lab_node(site: Site, machine: Machine):
    site.roots, machine.transport = site.lab_roots, "tpm"
    machine.join(site, lab=False)
    site.run(networks.create_network, "net")
    site.run(networks.add_member, "net", machine.node_id, "10.0.0.1", ResourceClass.NORMAL)
    assert site.refuses_join(machine.request(site.token(lab=True))) is ErrorCode.CONFLICT
    assert machine.join(site, lab=False)
    site.run(networks.remove_member, "net", machine.node_id, "operator")
    assert machine.join(site, lab=True) and site.node(machine.node_id).lab


def test_a_refused_proof_does_not_use_the_token_up(site: Site, machine: Machine, other: Machine):
    """Another machine takes the name between the two steps."""
    token = site.token()
    request = machine.request(token)
    challenge = site.start_join(request)
    other.name = "n1"
    other.join(site)
    proof = machine.prove(challenge, request.csr)
    assert site.refuses(joining.finish_join, site.ca, challenge.join_id, proof).code is ErrorCode.NAME_TAKEN
    row = schema.join_token
    unused = site.read(lambda conn: [*conn.scalars(select(row.c.used_at).where(row.c.used_at.is_(None)))])
    assert len(unused) == 1


def test_joining_again_with_another_attestation_key_revokes_the_profiles(site: Site, machine: Machine, other: Machine):
    machine.join(site)
    machine.enrol(site)
    site.set_node(machine.node_id, ak_public=other.enclave.attestation_key())
    machine.join(site)
    assert profile_states(site) == ["revoked"]
    assert [json.loads(row.data)["reason"] for row in site.audit("revoked")] == [
        "joined again with another attestation key"
    ]


@pytest.mark.parametrize("order", [standing.ban, standing.retire])
def test_a_banned_or_retired_node_does_not_come_back_by_joining(site: Site, machine: Machine, order):
    machine.join(site)
    request = machine.request(site.token())
    challenge = site.start_join(request)
    site.run(order, machine.node_id, "operator", "stolen")
    proof = machine.prove(challenge, request.csr)
    assert site.refuses(joining.finish_join, site.ca, challenge.join_id, proof).code is ErrorCode.NODE_BANNED
    assert site.refuses_join(machine.request(site.token())) is ErrorCode.NODE_BANNED


def broken(machine: Machine, other: Machine, proof, challenge, csr) -> dict[str, dict]:
    digest = join_digest(challenge.join_id, challenge.nonce, csr)
    moved = QuoteEvidence(
        attest=proof.quote.attest, signature=proof.quote.signature, pcrs={**proof.quote.pcrs, 0: b"\x07" * 32}
    )
    return {
        "secret": {"secret": bytes(32)},
        "empty secret": {"secret": b""},
        "other digest": {"quote": machine.quote(bytes(32))},
        "other csr": {"quote": machine.quote(join_digest(challenge.join_id, challenge.nonce, b"another"))},
        "other TPM": {"quote": other.quote(digest)},
        "other selection": {"quote": machine.quote(digest, (0, 2, 4))},
        "other values": {"quote": moved},
        "no values": {"quote": msgspec.structs.replace(proof.quote, pcrs={})},
        "signing key": {"delivery_key": machine.certified(KeyUse.SIGN, digest)[1]},
        "key of another join": {"delivery_key": machine.certified(KeyUse.AGREE, bytes(32))[1]},
        "key of another TPM": {"delivery_key": other.certified(KeyUse.AGREE, digest)[1]},
        "garbage": {"quote": QuoteEvidence(attest=b"x", signature=b"", pcrs=proof.quote.pcrs)},
    }


FLAWS = [
    "secret",
    "empty secret",
    "other digest",
    "other csr",
    "other TPM",
    "other selection",
    "other values",
    "no values",
    "signing key",
    "key of another join",
    "key of another TPM",
    "garbage",
]


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_proof_that_does_not_hold_burns_the_attempt(site: Site, machine: Machine, other: Machine, flaw: str):
    request = machine.request(site.token())
    challenge = site.start_join(request)
    proof = machine.prove(challenge, request.csr)
    forged = msgspec.structs.replace(proof, **broken(machine, other, proof, challenge, request.csr)[flaw])
    refusal = site.refuses(joining.finish_join, site.ca, challenge.join_id, forged)
    assert refusal.code is ErrorCode.ATTESTATION_REJECTED
    assert len(causes(site)) == 1
    assert site.refuses(joining.finish_join, site.ca, challenge.join_id, proof).code is ErrorCode.NOT_FOUND
    assert site.read(lambda conn: conn.scalar(select(func.count(schema.node.c.id)))) == 0
    again = site.start_join(request)
    assert site.finish_join(again.join_id, machine.prove(again, request.csr))


def test_a_credential_is_activated_once_and_in_time(site: Site, machine: Machine):
    request = machine.request(site.token())
    challenge = site.start_join(request)
    proof = machine.prove(challenge, request.csr)
    site.finish_join(challenge.join_id, proof)
    assert site.refuses(joining.finish_join, site.ca, challenge.join_id, proof).code is ErrorCode.NOT_FOUND
    late = site.start_join(machine.request(site.token()))
    proof = machine.prove(late, request.csr)
    site.clock += joining.JOIN_S
    assert site.refuses(joining.finish_join, site.ca, late.join_id, proof).code is ErrorCode.NOT_FOUND


def test_attempts_that_nobody_finished_are_forgotten(site: Site, machine: Machine):
    for _ in range(3):
        site.start_join(machine.request(site.token()))
    site.clock += joining.JOIN_S
    site.start_join(machine.request(site.token()))
    assert site.read(lambda conn: conn.scalar(select(func.count(schema.join_attempt.c.id)))) == 1


@pytest.mark.parametrize(
    "changes",
    [{"csr": b"no request"}, {"ek_public": b""}, {"ak_public": b"\0\1x"}, {"version": 9}, {"name": "No Such Name"}],
)
def test_malformed_requests_are_refused(site: Site, machine: Machine, changes):
    code = site.refuses_join(machine.request(site.token(), **changes))
    assert code in {ErrorCode.MALFORMED, ErrorCode.ENDORSEMENT_REJECTED}


def renew(site: Site, request):
    return site.run(joining.renew, site.ca, request)


def refuses_renewal(site: Site, request) -> ErrorCode:
    return site.refuses(joining.renew, site.ca, request).code


def test_a_certificate_is_renewed_even_after_it_expired(site: Site, machine: Machine):
    machine.join(site)
    site.clock += 2 * site.policy.certificate.lifetime_s
    assert site.read(lambda conn: joining.node_of_certificate(conn, machine.certificate, site.clock)) is None
    old = machine.certificate
    machine.key = ec.generate_private_key(ec.SECP256R1())
    machine.keep(renew(site, machine.renewal(site)).certificate)
    found = site.read(lambda conn: joining.node_of_certificate(conn, machine.certificate, site.clock))
    assert found is not None and found.id == machine.node_id
    assert site.read(lambda conn: joining.node_of_certificate(conn, old, site.clock)) is None


def test_a_renewal_nonce_is_good_once_for_one_node_and_a_minute(site: Site, machine: Machine, other: Machine):
    machine.join(site)
    other.join(site)
    request = machine.renewal(site)
    renew(site, request)
    assert refuses_renewal(site, request) is ErrorCode.ATTESTATION_REJECTED
    foreign = site.run(joining.issue_nonce, NonceRequest(node_id=other.node_id)).nonce
    assert refuses_renewal(site, machine.renewal(site, foreign)) is ErrorCode.ATTESTATION_REJECTED
    late = machine.renewal(site)
    site.clock += joining.NONCE_S
    assert refuses_renewal(site, late) is ErrorCode.ATTESTATION_REJECTED
    assert refuses_renewal(site, machine.renewal(site, bytes(32))) is ErrorCode.ATTESTATION_REJECTED
    assert causes(site, "renewal-refused") == ["stale nonce"] * 4
    assert renew(site, machine.renewal(site))


def test_only_the_node_s_own_tpm_renews(site: Site, machine: Machine, other: Machine):
    machine.join(site)
    other.join(site)
    nonce = site.run(joining.issue_nonce, NonceRequest(node_id=machine.node_id)).nonce
    csr = machine.csr()
    for quote in (other.quote(renew_digest(machine.node_id, nonce, csr)), machine.quote(bytes(32))):
        fresh = site.run(joining.issue_nonce, NonceRequest(node_id=machine.node_id)).nonce
        assert refuses_renewal(site, machine.renewal(site, fresh, quote)) is ErrorCode.ATTESTATION_REJECTED


def test_a_machine_in_another_state_is_not_renewed(site: Site, machine: Machine):
    machine.join(site)
    kept = site.node(machine.node_id).reference_pcrs
    site.set_node(machine.node_id, reference_pcrs=json.dumps({**json.loads(kept), "7": "11" * 32}))
    assert refuses_renewal(site, machine.renewal(site)) is ErrorCode.ATTESTATION_REJECTED
    assert "PCR 7" in causes(site, "renewal-refused")[0]
    site.set_node(machine.node_id, reference_pcrs=kept)
    assert renew(site, machine.renewal(site))


def test_a_renewal_that_we_cannot_judge_is_no_refusal(site: Site, machine: Machine):
    machine.join(site)
    kept = site.node(machine.node_id).reference_pcrs
    site.set_node(machine.node_id, reference_pcrs="not JSON")
    assert refuses_renewal(site, machine.renewal(site)) is ErrorCode.UNAVAILABLE
    assert len(site.audit("renewal-undecided")) == 1 and site.audit("renewal-refused") == []
    site.set_node(machine.node_id, reference_pcrs=kept)
    assert renew(site, machine.renewal(site))


@pytest.mark.parametrize(
    ("order", "known"), [(standing.isolate, True), (standing.ban, False), (standing.retire, False)]
)
def test_the_certificate_of_a_banned_or_retired_node_is_worth_nothing(site: Site, machine: Machine, order, known):
    machine.join(site)
    site.run(order, machine.node_id, "operator", "stolen")
    found = site.read(lambda conn: joining.node_of_certificate(conn, machine.certificate, site.clock))
    assert (found is not None) is known


def test_a_banned_node_is_not_renewed_and_an_unknown_one_learns_nothing(site: Site, machine: Machine):
    machine.join(site)
    site.run(standing.ban, machine.node_id, "operator", "stolen")
    banned = site.refuses(joining.renew, site.ca, machine.renewal(site))
    machine.node_id = "0" * 64
    unknown = site.refuses(joining.renew, site.ca, machine.renewal(site))
    assert (banned.code, banned.detail) == (unknown.code, unknown.detail)
