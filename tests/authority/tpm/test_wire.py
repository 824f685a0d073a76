"""Public areas, signatures and Names, right and broken."""

from __future__ import annotations

import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from authority.tpm import TpmFormatError, name, parse_attest, parse_public, parse_signature, public_key
from authority.tpm.wire import (
    Algorithm,
    Curve,
    EccParameters,
    EcdsaSignature,
    ObjectAttributes,
    RsaSignature,
    Symmetric,
)
from tests.authority.tpm import forge

P256, P384 = (ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1))
RSA = rsa.generate_private_key(65537, 2048)
PUBLIC = forge.ecc_public(P256, forge.AK)
PARSERS = (parse_public, parse_signature, parse_attest)


def test_the_fields_of_a_p384_storage_key():
    marshalled = forge.ecc_public(
        P384,
        forge.EK,
        scheme=(forge.NULL,),
        policy=b"p" * 48,
        name_algorithm=forge.SHA384,
        symmetric=(forge.AES, 256, forge.CFB),
    )
    public = parse_public(marshalled)
    assert public.parameters == EccParameters(Symmetric(256), None, Curve.P384)
    assert public.name_algorithm is Algorithm.SHA384
    assert public.auth_policy == b"p" * 48
    assert ObjectAttributes.RESTRICTED in public.attributes
    assert ObjectAttributes.SIGN not in public.attributes
    assert public_key(marshalled) == P384.public_key()
    assert name(marshalled) == b"\x00\x0c" + hashlib.sha384(marshalled[2:]).digest()


def test_the_key_and_name_of_an_rsa_key():
    marshalled = forge.rsa_public(RSA, forge.EK)
    assert public_key(marshalled) == RSA.public_key()
    assert name(marshalled) == b"\x00\x0b" + hashlib.sha256(marshalled[2:]).digest()


@pytest.mark.parametrize("marshalled", [PUBLIC, forge.rsa_public(RSA, forge.EK)], ids=["ecc", "rsa"])
def test_every_truncation_and_every_extra_byte_is_refused(marshalled):
    for length in range(len(marshalled)):
        with pytest.raises(TpmFormatError):
            parse_public(marshalled[:length])
    with pytest.raises(TpmFormatError):
        parse_public(marshalled + b"\0")
    with pytest.raises(TpmFormatError):
        parse_public(forge.sized(marshalled[2:] + b"\0"))


@pytest.mark.parametrize("bit", [0, 3, 8, 9, 12, 15, 20, 31])
def test_reserved_attribute_bits_are_refused(bit):
    with pytest.raises(TpmFormatError, match="unknown constant"):
        parse_public(forge.ecc_public(P256, forge.AK | 1 << bit))


@pytest.mark.parametrize(
    "fields",
    [
        {"scheme": (forge.RSASSA, forge.SHA256)},
        {"scheme": (forge.ECDSA, forge.NULL)},
        {"symmetric": (forge.AES, 127, forge.CFB)},
        {"symmetric": (forge.AES, 128, forge.AES)},
        {"symmetric": (forge.SHA256, 128, forge.CFB)},
        {"policy": b"p" * 65},
        {"name_algorithm": forge.NULL},
        {"name_algorithm": 0x1234},
    ],
)
def test_fields_that_no_such_key_has_are_refused(fields):
    with pytest.raises(TpmFormatError):
        parse_public(forge.ecc_public(P256, forge.AK, **fields))


def test_an_rsa_key_of_odd_size_exponent_or_modulus_is_refused():
    marshalled = bytearray(forge.rsa_public(RSA, forge.EK))
    at = len(marshalled) - 256 - 2
    for change in (
        lambda raw: raw.__setitem__(slice(at - 6, at - 4), struct.pack(">H", 1024)),
        lambda raw: raw.__setitem__(slice(at - 4, at), struct.pack(">I", 3)),
        lambda raw: raw.__setitem__(at + 2, 0),
        lambda raw: raw.__setitem__(-1, raw[-1] & 0xFE),
    ):
        broken = bytearray(marshalled)
        change(broken)
        with pytest.raises(TpmFormatError):
            public_key(bytes(broken))


def test_signatures_are_told_apart_and_taken_whole():
    ecdsa = forge.Forger(key=P256).sign(b"message")
    rsassa = forge.rsa_signature(RSA, b"message")
    assert isinstance(parse_signature(ecdsa), EcdsaSignature)
    assert isinstance(parse_signature(rsassa), RsaSignature)
    for signature in (ecdsa, rsassa):
        for broken in (signature[:-1], signature + b"\0", b"\x00\x1a" + signature[2:], b"\x00\x10" + signature[2:]):
            with pytest.raises(TpmFormatError):
                parse_signature(broken)


def test_a_clock_that_is_neither_safe_nor_unsafe_is_refused():
    forger = forge.Forger()
    assert parse_attest(forger.quote(safe=1)).clock_info.safe
    with pytest.raises(TpmFormatError):
        parse_attest(forger.quote(safe=2))


@pytest.mark.parametrize(
    "pcrs",
    [
        forge.selection(*[(forge.SHA256, (0,))] * 17),
        forge.selection((forge.SHA256, (0,)), size=5),
        forge.selection((forge.NULL, (0,))),
    ],
)
def test_selections_that_no_tpm_makes_are_refused(pcrs):
    with pytest.raises(TpmFormatError):
        parse_attest(forge.Forger().quote(pcrs))


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_format_errors(data):
    for parse in PARSERS:
        with pytest.raises(TpmFormatError):
            parse(data)


@given(st.data())
def test_changed_structures_raise_nothing_but_format_errors(data):
    parse, good = data.draw(st.sampled_from(list(zip(PARSERS, (PUBLIC, SIGNATURE, QUOTE), strict=True))))
    at, value = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 255))
    try:
        parse(good[:at] + bytes([value]) + good[at + 1 :])
    except TpmFormatError:
        return


SIGNATURE, QUOTE = forge.Forger(key=P256).sign(b"message"), forge.Forger(key=P256).quote()
