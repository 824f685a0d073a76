"""The verifier against a TPM behind our driver: what one makes, the other accepts, and only that."""

from __future__ import annotations

import secrets

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from authority.tpm import (
    CertificationRejected,
    CertifiedUse,
    EndorsementRejected,
    QuoteRejected,
    Reason,
    load_roots,
    make_credential,
    name,
    node_id,
    verify_certify,
    verify_endorsement,
    verify_quote,
)
from hal import AuthorisationFailed, KeyUse
from simulators.devices.swtpm import SwtpmFactory

NONCE = bytes(range(32))
SELECTION = tuple(range(10))
SECRET = b"0123456789abcdef0123456789abcdef"


def test_a_manufactured_tpm_is_endorsed_by_its_maker(maker, first, second, now):
    roots = load_roots(maker.ca_certificates)
    identities = [
        verify_endorsement(endorsement.ek_public, endorsement.certificates, roots, now)
        for endorsement in (first.endorsement(), second.endorsement())
    ]
    assert identities[0].manufacturer == "id:00001014"
    assert identities[0].node_id == node_id(first.endorsement().ek_public)
    assert len({identity.node_id for identity in identities}) == 2


def test_another_tpm_s_certificate_is_refused(maker, first, second, now):
    roots = load_roots(maker.ca_certificates)
    with pytest.raises(EndorsementRejected) as caught:
        verify_endorsement(first.endorsement().ek_public, second.endorsement().certificates, roots, now)
    assert caught.value.reason is Reason.OTHER_KEY


def test_another_maker_s_root_is_refused(first, now, tmp_path):
    endorsement, roots = first.endorsement(), load_roots(SwtpmFactory(tmp_path).ca_certificates)
    with pytest.raises(EndorsementRejected) as caught:
        verify_endorsement(endorsement.ek_public, endorsement.certificates, roots, now)
    assert caught.value.reason is Reason.UNKNOWN_ROOT


def test_a_credential_opens_in_its_tpm_alone(first, second):
    ak_name = name(first.attestation_key())
    credential = make_credential(first.endorsement().ek_public, ak_name, SECRET, secrets.token_bytes)
    assert first.activate(credential.blob, credential.encrypted_secret) == SECRET
    with pytest.raises(AuthorisationFailed):
        second.activate(credential.blob, credential.encrypted_secret)


def test_a_credential_for_another_attestation_key_does_not_open(first, second):
    other = name(second.attestation_key())
    credential = make_credential(first.endorsement().ek_public, other, SECRET, secrets.token_bytes)
    with pytest.raises(AuthorisationFailed):
        first.activate(credential.blob, credential.encrypted_secret)


@pytest.mark.parametrize("part", [0, 1])
def test_a_damaged_credential_does_not_open(first, part):
    credential = make_credential(
        first.endorsement().ek_public, name(first.attestation_key()), SECRET, secrets.token_bytes
    )
    parts = [bytearray(credential.blob), bytearray(credential.encrypted_secret)]
    parts[part][-1] ^= 1
    for blob, encrypted in ((bytes(parts[0]), bytes(parts[1])), (b"", b""), (credential.blob + b"\0", b"\0\0")):
        with pytest.raises(AuthorisationFailed):
            first.activate(blob, encrypted)


def test_a_quote_is_verified_and_bound_to_nonce_registers_and_tpm(first, second):
    quote, ak = first.quote(NONCE, SELECTION), first.attestation_key()
    verified = verify_quote(quote.attest, quote.signature, ak, NONCE, SELECTION, quote.pcrs)
    assert verified.pcrs == first.read_pcrs(SELECTION)
    assert verified.clock.reset_count >= 1
    for changes, reason in (
        ({"ak_public": second.attestation_key()}, Reason.BAD_SIGNATURE),
        ({"expected_extra_data": bytes(32)}, Reason.WRONG_QUALIFYING_DATA),
        ({"required_selection": SELECTION[1:]}, Reason.WRONG_SELECTION),
        ({"pcr_values": {**quote.pcrs, 3: b"\x01" * 32}}, Reason.WRONG_PCR_DIGEST),
    ):
        right = {"ak_public": ak, "expected_extra_data": NONCE, "required_selection": SELECTION}
        with pytest.raises(QuoteRejected) as caught:
            verify_quote(quote.attest, quote.signature, **{**right, "pcr_values": quote.pcrs, **changes})
        assert caught.value.reason is reason


def test_certified_keys_are_verified_for_their_use_alone(first):
    ak = first.attestation_key()
    for use, other in ((KeyUse.SIGN, CertifiedUse.AGREE), (KeyUse.AGREE, CertifiedUse.SIGN)):
        key = first.create_key(use, b"auth", NONCE)
        public = verify_certify(key.attest, key.signature, ak, NONCE, key.public, CertifiedUse(use.value))
        assert isinstance(public.curve, ec.SECP256R1)
        with pytest.raises(CertificationRejected) as caught:
            verify_certify(key.attest, key.signature, ak, NONCE, key.public, other)
        assert caught.value.reason is Reason.UNFIT_OBJECT


def test_signatures_verify_under_the_certified_key(first):
    key = first.create_key(KeyUse.SIGN, b"auth", NONCE)
    public = verify_certify(key.attest, key.signature, first.attestation_key(), NONCE, key.public, CertifiedUse.SIGN)
    raw = first.sign(key, b"auth", NONCE)
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public.verify(der, NONCE, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


def test_a_p384_endorsement_key_opens_its_credential(first):
    """The driver uses the RSA key; this drives the TPM's P-384 key by the software stack itself."""
    from tpm2_pytss import ESYS_TR, TPM2B_ENCRYPTED_SECRET, TPM2B_ID_OBJECT
    from tpm2_pytss.utils import create_ek_template

    from drivers.tpm2._endorsement import EndorsementKey
    from drivers.tpm2._tpm import Tpm

    def activate(tpm: Tpm) -> bytes:
        _, template = create_ek_template("EK-HIGH-ECC384", EndorsementKey(tpm)._read)
        with tpm.primary(ESYS_TR.ENDORSEMENT, template) as (ek, public), tpm.attestation_key() as (ak, ak_public):
            made = make_credential(public, name(ak_public), SECRET, secrets.token_bytes)
            blob, _ = TPM2B_ID_OBJECT.unmarshal(made.blob)
            encrypted, _ = TPM2B_ENCRYPTED_SECRET.unmarshal(made.encrypted_secret)
            answer = tpm.esys.activate_credential(ak, ek, blob, encrypted)
            return bytes(answer)

    assert first._run("activating", activate) == SECRET
