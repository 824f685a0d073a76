"""Bytes from disk and from the wire that the TPM driver takes apart: whatever they are, its own errors come out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")

from tpm2_pytss import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPMS_ATTEST,
)

from drivers.tpm2._blob import SealedBlob
from drivers.tpm2._endorsement import _trimmed
from drivers.tpm2._keys import _name, _qualified_name
from drivers.tpm2._probe import _is_manufacturer
from drivers.tpm2._templates import attestation_key, storage_root
from drivers.tpm2._tpm import whole
from hal import AuthorisationFailed, CertifiedKey, SealAuthority

PUBLIC = attestation_key().marshal()
AUTHORITY = SealAuthority(b"\x04" + bytes(64), b"reference", "floor")
BLOBS = (
    SealedBlob((0, 7, 23), bytes(34), PUBLIC, bytes(100)),
    SealedBlob((), bytes(34), PUBLIC, bytes(100), AUTHORITY),
)
ATTEST = bytes.fromhex("ff544347 8017 0000 0000") + bytes(25) + bytes.fromhex("0002000b 0002000b")
ANSWER = bytes.fromhex("8001 0000001b 00000000 01 00000006 00000001 00000105 49424d20")
STRUCTURES = (TPM2B_PUBLIC, TPM2B_PRIVATE, TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET, TPMS_ATTEST)
PARSERS = {
    "blob": (SealedBlob.unpack, [blob.pack() for blob in BLOBS]),
    "name": (lambda data: _name(CertifiedKey(data, b"")), [PUBLIC, storage_root().marshal()]),
    "qualified name": (lambda data: _qualified_name(CertifiedKey(b"", b"", data)), [ATTEST]),
    "certificate": (_trimmed, [b"\x30\x82\x00\x10" + bytes(40)]),
    "answer": (_is_manufacturer, [ANSWER]),
    **{kind.__name__: (lambda data, kind=kind: whole(kind, data), [PUBLIC, ATTEST]) for kind in STRUCTURES},
}


@st.composite
def spoiled(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """A right structure with bytes changed, left out or put in, or garbage."""
    data = bytearray(draw(st.sampled_from([*good, draw(st.binary(max_size=200))])))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data)


@pytest.mark.parametrize("parser", PARSERS)
@given(data=st.data())
def test_hostile_bytes_raise_nothing_but_the_driver_s_refusal(parser, data):
    parse, good = PARSERS[parser]
    try:
        parse(data.draw(spoiled(good)))
    except AuthorisationFailed as error:
        assert error.remedy


@pytest.mark.parametrize("blob", BLOBS)
def test_a_blob_comes_back_as_it_was_packed_and_every_cut_is_refused(blob):
    packed = blob.pack()
    assert SealedBlob.unpack(packed) == blob
    for length in range(len(packed)):
        with pytest.raises(AuthorisationFailed):
            SealedBlob.unpack(packed[:length])
    with pytest.raises(AuthorisationFailed):
        SealedBlob.unpack(packed + b"\0")
    with pytest.raises(AuthorisationFailed, match="not a blob"):
        SealedBlob.unpack(packed[:8] + b"\x03" + packed[9:])


def test_right_structures_are_taken():
    """The control: what is refused above is refused for what was spoiled."""
    assert whole(TPM2B_PUBLIC, PUBLIC).marshal() == PUBLIC
    assert _qualified_name(CertifiedKey(b"", b"", ATTEST)) == b"\x00\x0b"
    assert _is_manufacturer(ANSWER)
    assert not _is_manufacturer(ANSWER[:-1])


def test_a_key_named_by_another_hash_is_none_of_ours():
    """It once came out as a `ValueError` of the software stack."""
    other = PUBLIC[:4] + b"\x00\x2b" + PUBLIC[6:]
    assert _name(CertifiedKey(other, b"")) != _name(CertifiedKey(PUBLIC, b""))
