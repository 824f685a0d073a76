"""NV certifications and guarded keys of a TPM, verified without one; everything altered is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authority.tpm import (
    CertificationRejected,
    Guard,
    GuardCount,
    NvIndex,
    Reason,
    counter_index,
    measurement_index,
    nv_name,
    parse_nv_public,
    reset_message,
    verify_guard,
    verify_guarded_key,
    verify_nv,
)
from authority.tpm.policy import key_policy, signer_name
from hal import AuthorisationFailed, Enclave, GuardedKey, NvCertification

NONCE, DIGEST = bytes(range(32)), b"\xd1" * 32
PIN, AUTH = b"\x51" * 32, b"\x52" * 32
KEY, STRANGER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    halves = utils.decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return b"".join(half.to_bytes(32, "big") for half in halves)


@pytest.fixture(scope="module")
def guarded(first: Enclave) -> GuardedKey:
    return first.create_guarded_key("alice", PIN, AUTH, 15, point(KEY), NONCE)


def guard_of(key: GuardedKey) -> Guard:
    return Guard(key.label, key.reset_key, key.change[:65])


def nv(certification: NvCertification, ak: bytes, expected: NvIndex, qualifying: bytes = NONCE) -> bytes:
    given = certification.attest, certification.signature, ak, qualifying, certification.public
    return verify_nv(*given, expected)


def refusal(work: Callable[[], object]) -> Reason:
    with pytest.raises(CertificationRejected) as caught:
        work()
    return caught.value.reason


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_counters_and_measurements_are_read_from_their_certifications(first):
    first.measure("agent", DIGEST)
    value, ak = first.advance("failures"), first.attestation_key()
    counter, measured = first.certify_counter("failures", NONCE), first.certify_measurement("agent", NONCE)
    assert nv(counter, ak, counter_index("failures")) == value.to_bytes(8, "big")
    assert nv(measured, ak, measurement_index("agent")) == first.measurement("agent")
    first.forget("agent")


def test_a_certification_counts_for_its_index_nonce_and_tpm_alone(first, second):
    first.counter("failures")
    counter, ak = first.certify_counter("failures", NONCE), first.attestation_key()
    assert refusal(lambda: nv(counter, ak, counter_index("others"))) is Reason.UNFIT_OBJECT
    assert refusal(lambda: nv(counter, ak, measurement_index("failures"))) is Reason.UNFIT_OBJECT
    assert refusal(lambda: nv(counter, ak, counter_index("failures"), DIGEST)) is Reason.WRONG_QUALIFYING_DATA
    other = second.attestation_key()
    assert refusal(lambda: nv(counter, other, counter_index("failures"))) is Reason.BAD_SIGNATURE
    first.measure("failures", DIGEST)
    measured = first.certify_measurement("failures", NONCE)
    mixed = replace(counter, public=measured.public)
    assert refusal(lambda: nv(mixed, ak, measurement_index("failures"))) is Reason.OTHER_OBJECT
    quote = first.quote(NONCE, (0,))
    quoted = replace(counter, attest=quote.attest, signature=quote.signature)
    assert refusal(lambda: nv(quoted, ak, counter_index("failures"))) is Reason.WRONG_TYPE
    first.forget("failures")


@pytest.mark.parametrize("part", ["attest", "public"])
def test_every_changed_bit_of_an_nv_certification_is_refused(first, part):
    first.counter("failures")
    certification, ak = first.certify_counter("failures", NONCE), first.attestation_key()
    whole = getattr(certification, part)
    for bit in range(8 * len(whole)):
        broken = replace(certification, **{part: flipped(whole, bit)})
        refusal(lambda broken=broken: nv(broken, ak, counter_index("failures")))
    for other in (whole + b"\0", whole[:-1], b""):
        refusal(lambda other=other: nv(replace(certification, **{part: other}), ak, counter_index("failures")))


def check_key(
    guarded: GuardedKey, ak: bytes, guard: Guard | None = None, **changes: bytes
) -> ec.EllipticCurvePublicKey:
    key = guarded.key
    given = {
        "attest": key.attest,
        "signature": key.signature,
        "ak_public": ak,
        "qualifying": NONCE,
        "object_public": key.public,
        "index_public": guarded.index.public,
    }
    return verify_guarded_key(**{**given, **changes}, guard=guard or guard_of(guarded))


def test_a_guarded_key_is_verified_and_its_signature_too(first, guarded):
    public = check_key(guarded, first.attestation_key())
    raw = first.guarded_sign(guarded, PIN, AUTH, DIGEST)
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public.verify(der, DIGEST, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    index = guarded.index
    count = verify_guard(index.attest, index.signature, first.attestation_key(), NONCE, index.public, guard_of(guarded))
    assert count == GuardCount(0, 15)


def test_a_guarded_key_of_another_guard_is_refused(first, second, guarded):
    ak, ours = first.attestation_key(), guard_of(guarded)
    for other in (
        replace(ours, label="bob"),
        replace(ours, reset_key=point(STRANGER)),
        replace(ours, change_key=point(STRANGER)),
    ):
        assert refusal(lambda other=other: check_key(guarded, ak, other)) is Reason.UNFIT_OBJECT
    for unreadable in (replace(ours, reset_key=b"\4" + bytes(64)), replace(ours, change_key=b"")):
        assert refusal(lambda one=unreadable: check_key(guarded, ak, one)) is Reason.MALFORMED
    elsewhere = second.create_guarded_key("alice", PIN, AUTH, 15, point(KEY), NONCE)
    theirs = guard_of(elsewhere)
    assert refusal(lambda: check_key(elsewhere, ak, theirs)) is Reason.BAD_SIGNATURE
    swapped = {"guard": theirs, "index_public": elsewhere.index.public}
    assert refusal(lambda: check_key(guarded, ak, **swapped)) is Reason.UNFIT_OBJECT


def test_a_key_without_a_guard_is_refused(first, guarded):
    from hal import KeyUse

    plain = first.create_key(KeyUse.SIGN, AUTH, NONCE)
    ak, fields = first.attestation_key(), {"attest": plain.attest, "signature": plain.signature}
    assert refusal(lambda: check_key(guarded, ak, object_public=plain.public, **fields)) is Reason.UNFIT_OBJECT


@pytest.mark.parametrize("part", ["attest", "object_public", "index_public"])
def test_every_changed_bit_of_a_guarded_key_is_refused(first, guarded, part):
    ak = first.attestation_key()
    whole = {"attest": guarded.key.attest, "object_public": guarded.key.public, "index_public": guarded.index.public}
    for bit in range(8 * len(whole[part])):
        refusal(lambda bit=bit: check_key(guarded, ak, **{part: flipped(whole[part], bit)}))


def test_policies_and_names_are_those_that_the_tpm_computes(first, guarded):
    """The differential oracle: trial sessions of the TPM itself."""
    from tpm2_pytss import ESYS_TR, TPM2_CC, TPML_DIGEST, TPMT_SIGNATURE

    from drivers.tpm2 import _guard, _pcrs, _policy, _templates

    def digests(tpm):
        branches = _guard.branches_of(guarded)
        found = {}
        with tpm.known(_guard.handle_of(guarded)) as index:
            found["name"] = tpm.name(index)
            tpm.esys.tr_set_auth(index, PIN)
            with _pcrs.trial(tpm) as session:
                tpm.esys.policy_secret(index, session, expiration=0)
                tpm.esys.policy_auth_value(session)
                found["key"] = bytes(tpm.esys.policy_get_digest(session))
        signer = tpm.esys.load_external(_templates.approving_key(point(KEY)), hierarchy=ESYS_TR.NULL)
        with tpm.flushed(signer), _pcrs.trial(tpm) as session:
            found["signer"] = tpm.name(signer)
            unsigned = TPMT_SIGNATURE(sigAlg=0x18)
            unsigned.signature.ecdsa.hash = 0xB
            tpm.esys.policy_signed(signer, session, auth=unsigned, policy_ref=_policy.RESET_REFERENCE, expiration=0)
            tpm.esys.policy_command_code(session, TPM2_CC.NV_Write)
            found["reset"] = bytes(tpm.esys.policy_get_digest(session))
            tpm.esys.policy_or(session, TPML_DIGEST(list(branches.branches)))
            found["index"] = bytes(tpm.esys.policy_get_digest(session))
        with _pcrs.trial(tpm) as session:
            tpm.esys.policy_nv_written(session, False)
            tpm.esys.policy_command_code(session, TPM2_CC.NV_Write)
            tpm.esys.policy_or(session, TPML_DIGEST(list(branches.branches)))
            found["first"] = bytes(tpm.esys.policy_get_digest(session))
        return found

    found, public = first._run("computing policies", digests), parse_nv_public(guarded.index.public)
    assert found["name"] == nv_name(public)
    assert found["key"] == key_policy(nv_name(public))
    assert found["signer"] == signer_name(point(KEY))
    assert found["index"] == found["first"] == guard_of(guarded).policy == public.auth_policy
    assert found["reset"] == _guard.branches_of(guarded).reset


def test_a_count_is_certified_whatever_it_is(first, guarded):
    with pytest.raises(AuthorisationFailed):
        first.guarded_sign(guarded, AUTH, AUTH, DIGEST)
    now, ak = first.certify_guard(guarded, DIGEST), first.attestation_key()
    assert verify_guard(now.attest, now.signature, ak, DIGEST, now.public, guard_of(guarded)) == GuardCount(1, 15)
    other = replace(guard_of(guarded), label="bob")
    given = now.attest, now.signature, ak, DIGEST, now.public
    assert refusal(lambda: verify_guard(*given, other)) is Reason.UNFIT_OBJECT
    first.guarded_sign(guarded, PIN, AUTH, DIGEST)


def test_the_authority_s_signature_lifts_a_lock(first):
    key = first.create_guarded_key("locked", PIN, AUTH, 1, point(KEY), NONCE)
    with pytest.raises(AuthorisationFailed):
        first.guarded_sign(key, AUTH, AUTH, DIGEST)
    message = reset_message(first.reset_nonce(key), key.index.public, guard_of(key), 1)
    first.reset_pin(key, raw_signature(KEY, message))
    assert first.guarded_sign(key, PIN, AUTH, DIGEST)
    first.remove_guard(key)


def test_no_reset_is_signed_for_another_index(guarded):
    other = replace(guard_of(guarded), label="bob")
    assert refusal(lambda: reset_message(NONCE, guarded.index.public, other, 15)) is Reason.UNFIT_OBJECT
    with pytest.raises(ValueError, match="nonce"):
        reset_message(b"", guarded.index.public, guard_of(guarded), 15)
