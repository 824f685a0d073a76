"""Enclaves that attest to nothing: who lets them in, what they are worth, and that no proof stands in for another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select

from authority import challenges, enrolling, joining, scheduler
from authority.enclaves import StatementRejected, check_key, statement_node_id, verify_statement
from authority.keys import networks
from authority.store import schema
from authority.tpm import CertifiedUse, Reason, TpmRejected, node_id
from authority.trust.policy import Caps, EnclaveRules
from authority.views import find_node, node_detail, node_list
from drivers.software_enclave import SoftwareEnclaveDriver
from hal import Enclave, KeyUse
from protocol.codec import decode, encode
from protocol.delivery import Envelope, KeyBundle, SealedDelivery, delivery_info
from protocol.digests import attest_digest, evidence_digest, join_digest
from protocol.hpke import open_sealed
from protocol.levels import EnclaveKind, ResourceClass
from protocol.messages import CertifiedPublic, DeliveryEvent, Outcome, QuoteEvidence
from protocol.problems import ErrorCode
from protocol.statements import evidence_digest as statement_digest
from protocol.statements import evidence_marker, key_digest, key_marker
from tests.authority.nodes import DELIVERY_KEY_AUTH, Machine, Site, sensor
from tests.authority.statement_nodes import StatementMachine

DIGEST = bytes(range(32))
SOFTWARE, PKCS11, TPM2 = EnclaveKind.SOFTWARE, EnclaveKind.PKCS11, EnclaveKind.TPM2


@pytest.fixture
def enclave(tmp_path: Path) -> Iterator[Enclave]:
    with SoftwareEnclaveDriver().open({"folder": str(tmp_path / "enclave")}) as opened:
        yield opened


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Enclave]:
    with SoftwareEnclaveDriver().open({"folder": str(tmp_path / "another")}) as opened:
        yield opened


@pytest.fixture
def mixed(site: Site) -> Site:
    """The site, with a policy that lets every kind in."""
    site.policy = msgspec.structs.replace(
        site.policy, enclaves=EnclaveRules(allowed=("tpm2", "pkcs11", "software")), caps=Caps(pkcs11_enclave=700)
    )
    return site


@pytest.fixture
def node(enclave: Enclave) -> StatementMachine:
    return StatementMachine("n1", enclave)


def attest(site: Site, machine: Machine, quote: QuoteEvidence | None = None) -> Outcome:
    """The outcome of a machine attestation, by `quote` where one is given."""
    nonce = site.rt.random(32)
    values = {"value": nonce.hex(), "node_id": machine.node_id, "purpose": scheduler.ATTEST_PURPOSE}

    site.read(lambda conn: conn.execute(schema.nonce.insert().values(**values, expires_at=site.clock + 60)))
    submission = machine.attestation(nonce)
    if quote is not None:
        submission = msgspec.structs.replace(submission, quote=quote)
    result, _ = site.run(challenges.attest, machine.node_id, submission)
    return result.outcome


def answer(site: Site, machine: Machine) -> tuple[int, str]:
    """Score and explanation after one good presentation."""
    challenge_id = site.summon(machine.node_id)
    activation = machine.begin(site, challenge_id)
    site.clock += 8
    verdict = machine.submit(site, challenge_id, machine.evidence(machine.claims(activation)))
    assert verdict.outcome is Outcome.ACCEPTED
    site.clock += 6 * 3600
    return verdict.score, verdict.explanation


# Who gets in.


@pytest.mark.parametrize("kind", ["pkcs11", "software", "confidential-vm", "", "TPM2"])
def test_no_other_kind_joins_until_an_operator_allows_it(site: Site, node: StatementMachine, kind: str):
    refusal = site.refuses(joining.start_join, node.request(site.token(), enclave_kind=kind), [], [])
    assert refusal.code is ErrorCode.ENDORSEMENT_REJECTED and "[enclaves] allowed" in refusal.remedy
    assert [row.kind for row in site.audit("join-refused")] == ["join-refused"]


def test_an_unknown_kind_is_refused_by_a_policy_that_allows_all(mixed: Site, node: StatementMachine):
    request = node.request(mixed.token(), enclave_kind="confidential-vm")
    assert mixed.refuses_join(request) is ErrorCode.ENDORSEMENT_REJECTED


@pytest.mark.parametrize("kind", [SOFTWARE, PKCS11])
def test_an_allowed_kind_joins_and_is_registered_as_what_it_is(mixed: Site, node: StatementMachine, kind: EnclaveKind):
    node.kind = kind
    result = node.join(mixed, lab=False)
    row = mixed.node(result.node_id)
    assert row.id == statement_node_id(node.identity_key.public)
    assert (row.enclave_kind, row.state, json.loads(row.reference_pcrs), row.ek_public) == (
        kind.value,
        "pending",
        {},
        b"",
    )
    (joined,) = mixed.audit("joined")
    assert json.loads(joined.data)["enclave"] == kind.value


def test_an_older_agent_s_request_is_a_tpm_s(site: Site, machine: Machine):
    """It does not know the field; what is sent for a TPM is byte for byte what it always was."""

    request = machine.request(site.token())
    assert request.enclave_kind == "tpm2" and b"enclave_kind" not in encode(request)
    machine.join(site)
    assert site.node(machine.node_id).enclave_kind == "tpm2"


@pytest.mark.parametrize(
    "changes",
    [
        {"ek_public": b"\x00"},
        {"ek_certificates": [b"certificate"]},
        {"ak_public": b""},
        {"ak_public": b"\x04" + bytes(64)},
        {"ak_public": b"\x02" + bytes(32)},
        {"csr": b"none"},
    ],
)
def test_a_malformed_request_is_refused(mixed: Site, node: StatementMachine, changes: dict[str, object]):
    assert mixed.refuses_join(node.request(mixed.token(), **changes)) is ErrorCode.MALFORMED
    assert mixed.start_join(node.request(mixed.token()))


def test_a_node_may_not_call_its_software_enclave_a_token(mixed: Site, node: StatementMachine):
    node.kind = PKCS11
    software = [sensor("enclave", driver="software", transport="software")]
    assert mixed.refuses_join(node.request(mixed.token(), devices=software)) is ErrorCode.MALFORMED


def test_a_simulated_token_needs_a_lab_token(mixed: Site, node: StatementMachine):
    node.kind, node.transport = PKCS11, "virtual"
    assert mixed.refuses_join(node.request(mixed.token(lab=False))) is ErrorCode.VIRTUAL_DEVICE
    assert mixed.start_join(node.request(mixed.token(lab=True)))


def join_flaws(node: StatementMachine, other: StatementMachine, tpm: Machine) -> dict[str, Callable[[bytes], dict]]:
    """What may be wrong with a proof; each gives the fields of `JoinProof` to replace, for a digest."""
    return {
        "another digest": lambda digest: {"quote": node.quote(bytes(32))},
        "another key": lambda digest: {"quote": other.quote(digest)},
        "a tpm's quote": lambda digest: {"quote": tpm.quote(digest)},
        "registers": lambda digest: {"quote": msgspec.structs.replace(node.quote(digest), pcrs={0: bytes(32)})},
        "no signature": lambda digest: {"quote": msgspec.structs.replace(node.quote(digest), signature=b"")},
        "an r of zero": lambda digest: {"quote": msgspec.structs.replace(node.quote(digest), signature=bytes(64))},
        "a secret": lambda digest: {"secret": b"x"},
        "a delivery key to sign with": lambda digest: {"delivery_key": node.certified(KeyUse.SIGN, digest)[1]},
        "another node's delivery key": lambda digest: {"delivery_key": other.certified(KeyUse.AGREE, digest)[1]},
        "a tpm's delivery key": lambda digest: {"delivery_key": tpm.certified(KeyUse.AGREE, digest)[1]},
        "a bare delivery key": lambda digest: {"delivery_key": CertifiedPublic(public=b"", attest=b"", signature=b"")},
    }


@pytest.mark.parametrize("flaw", join_flaws(None, None, None))  # type: ignore[arg-type]
def test_every_flaw_of_a_proof_is_refused(
    mixed: Site, node: StatementMachine, another: Enclave, machine: Machine, flaw: str
):
    other = StatementMachine("n2", another)
    request = node.request(mixed.token())
    challenge = mixed.start_join(request)
    assert (challenge.credential_blob, challenge.encrypted_secret, challenge.pcr_selection) == (b"", b"", [])
    digest = join_digest(challenge.join_id, challenge.nonce, request.csr)
    proof = msgspec.structs.replace(
        node.prove(challenge, request.csr), **join_flaws(node, other, machine)[flaw](digest)
    )
    assert mixed.refuses(joining.finish_join, mixed.ca, challenge.join_id, proof).code is ErrorCode.ATTESTATION_REJECTED
    again = mixed.start_join(request)
    assert mixed.finish_join(again.join_id, node.prove(again, request.csr))


# A kind and a name stay.


def test_a_name_never_moves_between_kinds(mixed: Site, node: StatementMachine, machine: Machine, another: Enclave):
    machine.join(mixed)
    assert mixed.refuses_join(node.request(mixed.token())) is ErrorCode.NAME_TAKEN
    node.name = "n2"
    node.join(mixed)
    assert mixed.refuses_join(machine.request(mixed.token("n2"), name="n2")) is ErrorCode.NAME_TAKEN
    replaced = StatementMachine("n2", another)
    assert mixed.refuses_join(replaced.request(mixed.token("n2"))) is ErrorCode.NAME_TAKEN
    row = schema.alert
    told = mixed.read(lambda conn: conn.execute(select(row.c.kind, row.c.repeats)).all())
    assert sum(1 + repeats for kind, repeats in told if kind == "re-registration-refused") == 3


def test_a_registered_key_never_becomes_another_kind(mixed: Site, node: StatementMachine):
    node.join(mixed)
    node.kind = PKCS11
    assert mixed.refuses_join(node.request(mixed.token())) is ErrorCode.CONFLICT
    node.kind = SOFTWARE
    node.join(mixed)
    assert len(mixed.audit("re-joined")) == 1


# No proof stands in for another: downgrades in both directions.


def test_a_tpm_node_s_statement_is_refused_whoever_signs_it(mixed: Site, machine: Machine, node: StatementMachine):
    """The statement is sound in itself, by a key that would be good at a software node."""
    machine.join(mixed)
    digest = attest_digest(machine.node_id, DIGEST)
    verify_statement(SOFTWARE, node.identity_key.public, node.quote(digest), digest)
    for kind in (SOFTWARE, PKCS11, TPM2):
        node.kind = kind
        assert attest(mixed, machine, node.quote(digest)) is Outcome.REJECTED
    assert mixed.node(machine.node_id).attestation_failed


def test_a_tpm_registration_with_a_point_for_its_ak_accepts_no_statement(mixed: Site, node: StatementMachine):
    """Even where the row held the very key that signs, the kind alone would decide."""
    node.join(mixed)
    mixed.set_node(node.node_id, enclave_kind="tpm2")
    assert attest(mixed, node) is Outcome.UNDECIDED
    mixed.set_node(node.node_id, enclave_kind="software")
    assert attest(mixed, node) is Outcome.ACCEPTED


def test_a_statement_node_s_quote_is_refused(mixed: Site, node: StatementMachine, other: Machine):
    node.join(mixed)
    other.node_id = node.node_id
    assert attest(mixed, node) is Outcome.ACCEPTED
    assert attest(mixed, other) is Outcome.REJECTED


def test_a_statement_of_another_kind_is_refused(mixed: Site, node: StatementMachine):
    node.join(mixed)
    node.kind = PKCS11
    assert attest(mixed, node) is Outcome.REJECTED
    node.kind = SOFTWARE
    assert attest(mixed, node) is Outcome.ACCEPTED


def test_evidence_of_a_tpm_node_with_a_statement_fails_the_machine(
    mixed: Site, machine: Machine, node: StatementMachine
):
    machine.join(mixed)
    machine.enrol(mixed)
    challenge_id = mixed.summon(machine.node_id)
    activation = machine.begin(mixed, challenge_id)
    mixed.clock += 8
    claims = machine.claims(activation)
    sound = machine.evidence(claims)
    forged = msgspec.structs.replace(sound, quote=node.quote(evidence_digest(sound.token)))
    verdict = machine.submit(mixed, challenge_id, forged)
    assert (verdict.outcome, verdict.score) == (Outcome.REJECTED, 0)
    assert "attestation-failed" in mixed.alerts()


def test_a_kind_that_cannot_be_read_decides_nothing(mixed: Site, node: StatementMachine):
    node.join(mixed)
    mixed.set_node(node.node_id, enclave_kind="unheard-of")
    assert attest(mixed, node) is Outcome.UNDECIDED


def test_a_tpm_s_request_cannot_be_finished_by_a_statement(mixed: Site, machine: Machine, node: StatementMachine):
    request = machine.request(mixed.token())
    challenge = mixed.start_join(request)
    proof = machine.prove(challenge, request.csr)
    digest = join_digest(challenge.join_id, challenge.nonce, request.csr)
    forged = msgspec.structs.replace(
        proof, quote=node.quote(digest), delivery_key=node.certified(KeyUse.AGREE, digest)[1]
    )
    refused = mixed.refuses(joining.finish_join, mixed.ca, challenge.join_id, forged)
    assert refused.code is ErrorCode.ATTESTATION_REJECTED


def test_a_profile_key_is_stated_by_the_node_s_own_identity_key(
    mixed: Site, node: StatementMachine, another: Enclave, machine: Machine
):
    node.join(mixed)
    stranger = StatementMachine("n2", another)
    for wrong in (stranger, machine):
        session = node.start_enrolment(mixed)
        finish = wrong.enrolment(session)
        refused = mixed.refuses(enrolling.finish_enrolment, node.node_id, session.enrolment_id, finish)
        assert refused.code is ErrorCode.ATTESTATION_REJECTED
    assert node.enrol(mixed)


def test_verifiers_refuse_the_other_form_by_themselves(node: StatementMachine, machine: Machine):
    """The functions alone, without the rows: each with the negative of the other."""
    ak = machine.enclave.attestation_key()
    stated, certified = node.certified(KeyUse.SIGN, DIGEST)[1], machine.certified(KeyUse.SIGN, DIGEST)[1]
    check_key("software", node.identity_key.public, stated, DIGEST, CertifiedUse.SIGN)
    check_key("tpm2", ak, certified, DIGEST, CertifiedUse.SIGN)
    for kind, public, key in (
        ("tpm2", node.identity_key.public, stated),
        ("tpm2", ak, stated),
        ("software", node.identity_key.public, certified),
        ("software", ak, certified),
        ("pkcs11", node.identity_key.public, stated),
    ):
        with pytest.raises(TpmRejected):
            check_key(kind, public, key, DIGEST, CertifiedUse.SIGN)
    with pytest.raises(StatementRejected) as caught:
        verify_statement(TPM2, node.identity_key.public, node.quote(DIGEST), DIGEST)
    assert caught.value.reason is Reason.WRONG_TYPE


@pytest.mark.parametrize("use", CertifiedUse)
def test_the_identity_key_is_no_other_key_as_well(node: StatementMachine, use: CertifiedUse):
    """It is used without a value, so that as a profile's key it would sign without anybody at the sensors."""
    public = node.identity_key.public
    sound = node.certified(KeyUse(use.value), DIGEST)[1]
    check_key("software", public, sound, DIGEST, use)
    signature = node.enclave.sign(node.identity_key, b"", key_digest(SOFTWARE, use.value, public, DIGEST))
    itself = CertifiedPublic(public=public, attest=key_marker(SOFTWARE, use.value), signature=signature)
    with pytest.raises(StatementRejected) as caught:
        check_key("software", public, itself, DIGEST, use)
    assert caught.value.reason is Reason.UNFIT_OBJECT


def test_a_statement_is_no_signature_over_anything_else(node: StatementMachine):
    """The bare digest under the identity key, and a key's statement as evidence: both are something else."""
    bare = QuoteEvidence(
        attest=evidence_marker(SOFTWARE), signature=node.enclave.sign(node.identity_key, b"", DIGEST), pcrs={}
    )
    key = node.certified(KeyUse.SIGN, DIGEST)[1]
    as_evidence = QuoteEvidence(attest=key_marker(SOFTWARE, "sign"), signature=key.signature, pcrs={})
    for wrong in (bare, as_evidence, msgspec.structs.replace(as_evidence, attest=evidence_marker(SOFTWARE))):
        with pytest.raises(StatementRejected):
            verify_statement(SOFTWARE, node.identity_key.public, wrong, DIGEST)
    sound = node.enclave.sign(node.identity_key, b"", statement_digest(SOFTWARE, DIGEST))
    verify_statement(SOFTWARE, node.identity_key.public, msgspec.structs.replace(bare, signature=sound), DIGEST)


# What such a node is worth, and that it works.


@pytest.mark.parametrize(("kind", "cap"), [(SOFTWARE, 800), (PKCS11, 700)])
def test_it_enrols_answers_and_is_capped(mixed: Site, node: StatementMachine, kind: EnclaveKind, cap: int):
    node.kind = kind
    node.join(mixed)
    node.enrol(mixed)
    scores = [answer(mixed, node) for _ in range(4)]
    assert scores[-1][0] == cap and max(score for score, _ in scores) == cap
    assert scores[-1][1].endswith(f"capped at {cap / 1000:.2f}: {kind.value} enclave, which attests to nothing")
    mixed.policy = msgspec.structs.replace(mixed.policy, enclaves=EnclaveRules())
    assert answer(mixed, node)[0] == 0, "the policy allows the kind no more"


def test_a_tpm_beside_it_is_not_capped(mixed: Site, machine: Machine):
    machine.join(mixed)
    machine.enrol(mixed)
    assert [answer(mixed, machine)[0] for _ in range(4)][-1] > 800


def test_it_renews_and_attests_and_gets_its_keys(mixed: Site, node: StatementMachine):
    node.join(mixed)
    node.enrol(mixed)
    mixed.run(networks.create_network, "net")
    mixed.run(networks.add_member, "net", node.node_id, "10.0.0.1", ResourceClass.NORMAL)
    node.keep(mixed.run(joining.renew, mixed.ca, node.renewal(mixed)).certificate)
    assert attest(mixed, node) is Outcome.ACCEPTED
    answer(mixed, node)
    events = mixed.read(lambda conn: challenges.deliveries_after(conn, node.node_id, 0))
    assert [opened(node, event).network for event in events] == ["net"]


def opened(node: StatementMachine, event: DeliveryEvent) -> KeyBundle:
    """The bundle, opened by the delivery key in the node's enclave."""
    sealed = decode(decode(event.envelope, Envelope).payload, SealedDelivery)
    key = node.delivery_key
    assert key is not None
    info = delivery_info(sealed.node_id, sealed.network, sealed.generation, sealed.number)
    agree = lambda peer: node.enclave.agree(key, DELIVERY_KEY_AUTH, peer)  # noqa: E731
    return decode(open_sealed(sealed.enc, sealed.ciphertext, info, key.public, agree), KeyBundle)


def test_operators_see_the_kind_and_its_cap(mixed: Site, node: StatementMachine, other: Machine):
    node.join(mixed)
    other.join(mixed)
    listed = mixed.read(lambda conn: node_list(conn, mixed.rt))
    assert {each["name"]: (each["enclave"], each["enclave_cap"]) for each in listed} == {
        "n1": ("software", 800),
        "n2": ("tpm2", 1000),
    }
    shown = mixed.read(lambda conn: node_detail(conn, mixed.rt, find_node(conn, "n1")))
    assert shown["enclave"] == "software"


def test_ids_of_all_kinds_are_hashes_of_a_public_key(machine: Machine, node: StatementMachine):
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), node.identity_key.public)
    assert len(statement_node_id(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))) == 64
    assert statement_node_id(node.identity_key.public) != node_id(machine.enclave.endorsement().ek_public)
