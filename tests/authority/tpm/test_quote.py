"""Every check of a quote, each with a quote that fails that check alone."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from authority.tpm import QuoteRejected, Reason, verify_quote
from tests.authority.tpm import forge
from tests.authority.tpm.forge import PCRS, QUALIFYING, Forger

SELECTION = tuple(PCRS)


@pytest.fixture(scope="module")
def forger() -> Forger:
    return Forger()


def check(forger: Forger, attest: bytes, **changes: object):
    arguments = {
        "signature": forger.sign(attest),
        "ak_public": forger.public,
        "expected_extra_data": QUALIFYING,
        "required_selection": SELECTION,
        "pcr_values": PCRS,
    }
    return verify_quote(attest, **{**arguments, **changes})


def refused(forger: Forger, attest: bytes, **changes: object) -> Reason:
    with pytest.raises(QuoteRejected) as caught:
        check(forger, attest, **changes)
    return caught.value.reason


def test_a_right_quote_is_accepted_with_its_values_and_clock(forger):
    quote = check(forger, forger.quote())
    assert quote.pcrs == PCRS
    assert (quote.clock.clock, quote.clock.reset_count, quote.clock.restart_count) == (90_000, 4, 0)
    assert quote.clock.safe is True
    assert quote.firmware_version == 0x2019102300163636


def test_an_unsafe_clock_is_reported(forger):
    assert check(forger, forger.quote(safe=0)).clock.safe is False


def test_every_changed_byte_of_the_attestation_is_refused(forger):
    attest = forger.quote()
    signature = forger.sign(attest)
    for at in range(len(attest)):
        changed = attest[:at] + bytes([attest[at] ^ 1]) + attest[at + 1 :]
        refused(forger, changed, signature=signature)


def test_every_changed_byte_of_the_signature_is_refused(forger):
    attest = forger.quote()
    signature = forger.sign(attest)
    for at in range(len(signature)):
        refused(forger, attest, signature=signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :])


def test_every_truncation_is_refused_as_malformed(forger):
    attest = forger.quote()
    for length in range(len(attest)):
        assert refused(forger, attest[:length]) is Reason.MALFORMED


def test_a_wrong_magic_is_refused_though_signed(forger):
    assert refused(forger, forger.quote(magic=0xFF544348)) is Reason.MALFORMED


def test_trailing_bytes_are_refused_though_signed(forger):
    assert refused(forger, forger.quote(trailing=b"\0")) is Reason.MALFORMED


def test_a_certification_is_not_a_quote(forger):
    assert refused(forger, forger.certification(forger.public)) is Reason.WRONG_TYPE


def test_another_attestation_type_is_refused(forger):
    assert refused(forger, forger.quote(kind=0x8019)) is Reason.MALFORMED


def test_another_nonce_is_refused(forger):
    assert refused(forger, forger.quote(extra=b"\xff" * 32)) is Reason.WRONG_QUALIFYING_DATA
    assert refused(forger, forger.quote(extra=b"")) is Reason.WRONG_QUALIFYING_DATA


def test_another_tpm_s_quote_is_refused(forger):
    other = Forger()
    attest = other.quote()
    assert refused(forger, attest, signature=other.sign(attest)) is Reason.BAD_SIGNATURE
    assert check(other, attest).pcrs == PCRS


def test_a_quote_that_names_another_signer_is_refused(forger):
    elsewhere = Forger(key=forger.key, hierarchy=forge.OWNER)
    assert refused(forger, elsewhere.quote()) is Reason.FOREIGN_SIGNER
    assert check(forger, elsewhere.quote(), hierarchy=forge.OWNER).pcrs == PCRS
    assert check(forger, elsewhere.quote(), hierarchy=None).pcrs == PCRS


@pytest.mark.parametrize("bit", [forge.FIXED_TPM, forge.FIXED_PARENT, forge.ORIGIN, forge.RESTRICTED, forge.SIGN])
def test_a_signer_that_lacks_an_attribute_is_refused(bit):
    lacking = Forger(attributes=forge.AK & ~bit)
    assert refused(lacking, lacking.quote()) is Reason.UNFIT_SIGNER


def test_a_signer_that_also_decrypts_is_refused():
    surplus = Forger(attributes=forge.AK | forge.DECRYPT)
    assert refused(surplus, surplus.quote()) is Reason.UNFIT_SIGNER


def test_sha1_is_refused_as_the_signature_s_hash(forger):
    attest = forger.quote()
    assert refused(forger, attest, signature=forger.sign(attest, forge.SHA1)) is Reason.WEAK_HASH


def test_another_hash_than_the_key_s_own_is_refused(forger):
    attest = forger.quote()
    assert refused(forger, attest, signature=forger.sign(attest, forge.SHA384)) is Reason.UNFIT_SIGNER


@pytest.mark.parametrize(
    "pcrs",
    [
        forge.selection((forge.SHA256, (0, 7))),
        forge.selection((forge.SHA256, (0, 7, 16, 17))),
        forge.selection((forge.SHA1, SELECTION)),
        forge.selection((forge.SHA256, SELECTION), (forge.SHA1, (0,))),
        forge.selection((forge.SHA256, SELECTION), (forge.SHA256, SELECTION)),
    ],
)
def test_another_selection_is_refused(forger, pcrs):
    assert refused(forger, forger.quote(pcrs)) is Reason.WRONG_SELECTION


@pytest.mark.parametrize(
    "pcrs", [forge.selection(), forge.selection((forge.SHA256, ())), forge.selection((forge.SHA1, ()))]
)
def test_the_empty_selection_of_an_absent_bank_is_refused(forger, pcrs):
    """Signature, nonce and digest of such a quote hold: only the comparison of the selection tells."""
    attest = forger.quote(pcrs, forge.pcr_digest([]))
    assert refused(forger, attest) is Reason.WRONG_SELECTION
    assert refused(forger, attest, pcr_values={}) is Reason.WRONG_SELECTION


def test_a_longer_bitmap_of_the_same_registers_is_the_same_selection(forger):
    assert check(forger, forger.quote(forge.selection((forge.SHA256, SELECTION), size=4))).pcrs == PCRS


def test_requiring_no_register_is_a_mistake_of_the_caller(forger):
    with pytest.raises(ValueError, match="at least one"):
        check(forger, forger.quote(), required_selection=())


@pytest.mark.parametrize(
    "values",
    [
        {**PCRS, 16: b"\x34" * 32},
        {0: PCRS[0], 7: PCRS[7]},
        {**PCRS, 17: bytes(32)},
        {0: PCRS[7], 7: PCRS[0], 16: PCRS[16]},
        {0: PCRS[0] + PCRS[7], 7: b"", 16: PCRS[16]},
    ],
)
def test_other_values_than_the_signed_ones_are_refused(forger, values):
    assert refused(forger, forger.quote(), pcr_values=values) is Reason.WRONG_PCR_DIGEST


def test_a_digest_of_other_values_is_refused(forger):
    assert refused(forger, forger.quote(digest=b"\0" * 32)) is Reason.WRONG_PCR_DIGEST


def test_a_key_off_its_curve_is_refused(forger):
    public = bytearray(forger.public)
    public[-1] ^= 1
    assert refused(forger, forger.quote(), ak_public=bytes(public)) is Reason.MALFORMED


def test_an_rsa_attestation_key_works_and_is_told_apart(forger):
    key = rsa.generate_private_key(65537, 2048)
    public = forge.rsa_public(key, forge.AK, scheme=(forge.RSASSA, forge.SHA256), storage=False)
    attest = forger.quote()
    signature = forge.rsa_signature(key, attest)
    assert check(forger, attest, ak_public=public, signature=signature, hierarchy=None).pcrs == PCRS
    assert refused(forger, attest, ak_public=public) is Reason.UNFIT_SIGNER
    assert refused(forger, attest, signature=signature) is Reason.UNFIT_SIGNER


def test_a_p384_attestation_key_works(forger):
    big = Forger(key=ec.generate_private_key(ec.SECP384R1()))
    assert check(big, big.quote()).pcrs == PCRS
    assert refused(forger, forger.quote(), ak_public=big.public, hierarchy=None) is Reason.BAD_SIGNATURE
