"""Every check of a certification, each with one that fails that check alone."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from authority.tpm import CertificationRejected, CertifiedUse, Reason, verify_certify
from tests.authority.tpm import forge
from tests.authority.tpm.forge import QUALIFYING, Forger

SIGN, AGREE = CertifiedUse.SIGN, CertifiedUse.AGREE
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def forger() -> Forger:
    return Forger()


def check(forger: Forger, public: bytes, use: CertifiedUse = SIGN, attest: bytes | None = None, **changes: object):
    attest = attest or forger.certification(public)
    return verify_certify(attest, forger.sign(attest), forger.public, QUALIFYING, public, use, **changes)


def refused(forger: Forger, public: bytes, use: CertifiedUse = SIGN, attest: bytes | None = None) -> Reason:
    with pytest.raises(CertificationRejected) as caught:
        check(forger, public, use, attest)
    return caught.value.reason


def signer(attributes: int = forge.SIGNER, **fields: object) -> bytes:
    return forge.ecc_public(KEY, attributes, **fields)


def agreer(attributes: int = forge.AGREER, **fields: object) -> bytes:
    return forge.ecc_public(KEY, attributes, **{"scheme": (forge.ECDH, forge.SHA256), **fields})


def test_a_certified_key_is_returned(forger):
    assert check(forger, signer()) == KEY.public_key()
    assert check(forger, agreer(), AGREE) == KEY.public_key()
    assert check(forger, agreer(scheme=(forge.NULL,)), AGREE) == KEY.public_key()


def test_the_uses_are_not_interchangeable(forger):
    assert refused(forger, signer(), AGREE) is Reason.UNFIT_OBJECT
    assert refused(forger, agreer(), SIGN) is Reason.UNFIT_OBJECT


@pytest.mark.parametrize("bit", [forge.FIXED_TPM, forge.FIXED_PARENT, forge.ORIGIN, forge.USER_AUTH, forge.SIGN])
def test_a_key_that_lacks_an_attribute_is_refused(forger, bit):
    assert refused(forger, signer(forge.SIGNER & ~bit)) is Reason.UNFIT_OBJECT


@pytest.mark.parametrize("bit", [forge.RESTRICTED, forge.DECRYPT, forge.ADMIN_POLICY])
def test_a_key_with_an_attribute_too_many_is_refused(forger, bit):
    assert refused(forger, signer(forge.SIGNER | bit)) is Reason.UNFIT_OBJECT


@pytest.mark.parametrize("bit", [forge.FIXED_TPM, forge.FIXED_PARENT, forge.ORIGIN, forge.USER_AUTH, forge.DECRYPT])
def test_an_agreement_key_that_lacks_an_attribute_is_refused(forger, bit):
    assert refused(forger, agreer(forge.AGREER & ~bit), AGREE) is Reason.UNFIT_OBJECT


@pytest.mark.parametrize("bit", [forge.RESTRICTED, forge.SIGN])
def test_an_agreement_key_that_signs_or_is_restricted_is_refused(forger, bit):
    assert refused(forger, agreer(forge.AGREER | bit), AGREE) is Reason.UNFIT_OBJECT


def test_a_policy_is_a_second_way_to_use_the_key_and_must_be_the_expected_one(forger):
    policy = b"\x77" * 32
    with_policy = signer(policy=policy)
    assert refused(forger, with_policy) is Reason.UNFIT_OBJECT
    assert check(forger, with_policy, policy=policy) == KEY.public_key()


def test_another_key_than_the_certified_one_is_refused(forger):
    attest = forger.certification(signer())
    other = forge.ecc_public(ec.generate_private_key(ec.SECP256R1()), forge.SIGNER)
    assert refused(forger, other, attest=attest) is Reason.OTHER_OBJECT


def test_the_same_key_with_other_attributes_is_another_object(forger):
    attest = forger.certification(signer(forge.SIGNER & ~forge.FIXED_TPM))
    assert refused(forger, signer(), attest=attest) is Reason.OTHER_OBJECT


def test_a_quote_is_not_a_certification(forger):
    assert refused(forger, signer(), attest=forger.quote()) is Reason.WRONG_TYPE


def test_other_qualifying_data_is_refused(forger):
    attest = forger.certification(signer(), extra=bytes(32))
    assert refused(forger, signer(), attest=attest) is Reason.WRONG_QUALIFYING_DATA


def test_another_tpm_s_certification_is_refused(forger):
    other, public = Forger(), signer()
    attest = other.certification(public)
    with pytest.raises(CertificationRejected) as caught:
        verify_certify(attest, other.sign(attest), forger.public, QUALIFYING, public, SIGN)
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_every_changed_byte_is_refused(forger):
    public = signer()
    attest = forger.certification(public)
    signature = forger.sign(attest)
    for at in range(len(attest)):
        changed = attest[:at] + bytes([attest[at] ^ 1]) + attest[at + 1 :]
        with pytest.raises(CertificationRejected):
            verify_certify(changed, signature, forger.public, QUALIFYING, public, SIGN)


def test_other_curves_algorithms_and_hashes_are_refused(forger):
    p384 = forge.ecc_public(ec.generate_private_key(ec.SECP384R1()), forge.SIGNER)
    rsa_key = forge.rsa_public(rsa.generate_private_key(65537, 2048), forge.SIGNER, storage=False)
    assert refused(forger, p384) is Reason.UNFIT_OBJECT
    assert refused(forger, rsa_key) is Reason.UNFIT_OBJECT
    assert refused(forger, signer(scheme=(forge.ECDSA, forge.SHA1))) is Reason.UNFIT_OBJECT
    assert refused(forger, signer(scheme=(forge.ECDH, forge.SHA256))) is Reason.UNFIT_OBJECT
