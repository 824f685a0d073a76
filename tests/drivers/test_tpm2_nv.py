"""The TPM driver's NV indices: where they lie, what they are taken for, and what the AK says about them."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

from tpm2_pytss import ESYS_TR, TPM2_ALG, TPM2_NT, TPM2B_NV_PUBLIC, TPMA_NV, TPMS_NV_PUBLIC

from authority.tpm import name, parse_public, parse_signature, public_key
from authority.tpm.keys import RH_ENDORSEMENT, qualified_name
from drivers.tpm2 import _blob
from drivers.tpm2._nv import CANDIDATES, COUNTER, MEASUREMENT, PIN, PURPOSES, Purpose
from drivers.tpm2._tpm import Tpm
from hal import AuthorisationFailed, Busy, Enclave, NvCertification, SealAuthority
from simulators.devices.swtpm import Swtpm
from tests.drivers.software_tpm import DIGEST, NONCE, approve, left_loaded, on_tpm, opened, point


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Swtpm]:
    (tmp_path / "tpm").mkdir()
    with Swtpm(tmp_path / "tpm") as running:
        yield running


@pytest.fixture
def tpm(emulator: Swtpm) -> Iterator[Enclave]:
    with opened(emulator) as enclave:
        yield enclave


def define(index: int, attributes: int, size: int, policy: bytes = b"") -> Callable[[Tpm], None]:
    """What another program, or an attacker with the owner's authorisation, does."""

    def work(tpm: Tpm) -> None:
        area = TPMS_NV_PUBLIC(
            nvIndex=index, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=size, authPolicy=policy
        )
        tpm.esys.tr_close(tpm.esys.nv_define_space(b"", TPM2B_NV_PUBLIC(nvPublic=area)))

    return work


def test_every_candidate_lies_in_the_owner_s_range_and_no_two_purposes_share_one():
    handles = {purpose: set(purpose.candidates("label")) for purpose in PURPOSES}
    for purpose, found in handles.items():
        assert 2 <= len(found) <= CANDIDATES
        assert all(0x01800000 <= handle <= 0x01BFFFFF and handle >> 16 & 0xFF == purpose.byte for handle in found)
    assert len({purpose.mark("label") for purpose in PURPOSES} | {COUNTER.mark("other")}) == 4


def test_indices_are_not_counted_by_the_lockout_and_counters_are_not_kept_in_memory():
    for purpose in PURPOSES:
        assert purpose.attributes & TPMA_NV.NO_DA
        assert not purpose.attributes & (TPMA_NV.ORDERLY | TPMA_NV.POLICYREAD | TPMA_NV.POLICYWRITE)
    assert MEASUREMENT.attributes & TPMA_NV.CLEAR_STCLEAR
    assert not COUNTER.attributes & (TPMA_NV.CLEAR_STCLEAR | TPMA_NV.OWNERWRITE)


def test_a_taken_handle_is_passed_over(tpm):
    first, second, *_ = COUNTER.candidates("label")
    on_tpm(tpm, define(first, TPMA_NV.OWNERWRITE | TPMA_NV.OWNERREAD | TPMA_NV.NO_DA, 8))
    value = tpm.counter("label")
    assert tpm.advance("label") == value + 1
    assert on_tpm(tpm, lambda context: context.handles(second, second)) == [second]
    tpm.forget("label")
    present = on_tpm(tpm, lambda context: context.handles(COUNTER.handles.start, COUNTER.handles.stop - 1))
    assert present == [first]


def test_two_labels_on_one_handle_are_told_apart(tpm):
    pair = colliding_labels()
    assert next(COUNTER.candidates(pair[0])) == next(COUNTER.candidates(pair[1]))
    values = [tpm.counter(label) for label in pair]
    tpm.advance(pair[0])
    assert [tpm.counter(label) for label in pair] == [values[0] + 1, values[1]]
    tpm.forget(pair[0])
    assert tpm.counter(pair[1]) == values[1]


def colliding_labels() -> tuple[str, str]:
    seen: dict[int, str] = {}
    for number in range(10_000):
        handle = next(COUNTER.candidates(f"label-{number}"))
        if handle in seen:
            return seen[handle], f"label-{number}"
        seen[handle] = f"label-{number}"
    raise AssertionError("no two labels collide")


def test_a_label_whose_handles_are_all_taken_is_refused(tpm):
    for handle in set(COUNTER.candidates("label")):
        on_tpm(tpm, define(handle, TPMA_NV.OWNERWRITE | TPMA_NV.OWNERREAD | TPMA_NV.NO_DA, 8))
    with pytest.raises(Busy, match="taken") as caught:
        tpm.counter("label")
    assert "tpm2_nvundefine" in caught.value.remedy
    assert left_loaded(tpm) == []


@pytest.mark.parametrize(
    ("purpose", "attributes", "size"),
    [
        (COUNTER, TPMA_NV.OWNERWRITE | COUNTER.attributes & ~(TPM2_NT.COUNTER << 4), 8),
        (COUNTER, COUNTER.attributes | TPMA_NV.OWNERWRITE, 8),
        (COUNTER, COUNTER.attributes | TPMA_NV.ORDERLY, 8),
        (MEASUREMENT, MEASUREMENT.attributes & ~TPMA_NV.CLEAR_STCLEAR, 32),
    ],
)
def test_an_index_that_only_looks_like_ours_is_not_taken_for_it(tpm, purpose, attributes, size):
    """One that can be written at will, with our mark on it, at our handle."""
    first = next(purpose.candidates("label"))
    on_tpm(tpm, define(first, attributes, size, purpose.mark("label")))
    certify = tpm.certify_counter if purpose is COUNTER else measured_and_certified(tpm)
    assert index_of(certify("label", NONCE)) != first


def measured_and_certified(tpm: Enclave) -> Callable[[str, bytes], NvCertification]:
    tpm.measure("label", DIGEST)
    return tpm.certify_measurement


def index_of(certification: NvCertification) -> int:
    return int.from_bytes(certification.public[2:6], "big")


def verify(certification: NvCertification, ak: bytes, purpose: Purpose, label: str, qualifying: bytes) -> bytes:
    """What an authority checks, in plain Python: signature, signer, nonce, and which index of which kind it is."""
    signature = parse_signature(certification.signature)
    der = utils.encode_dss_signature(signature.r, signature.s)
    public_key(ak).verify(der, certification.attest, ec.ECDSA(hashes.SHA256()))
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        assert at <= len(certification.attest)
        return certification.attest[at - count : at]

    def sized() -> bytes:
        return take(int.from_bytes(take(2), "big"))

    assert take(6) == bytes.fromhex("ff544347 8014")
    assert sized() == qualified_name(parse_public(ak), RH_ENDORSEMENT)
    assert sized() == qualifying
    take(8 + 4 + 4 + 1 + 8)
    area = certification.public[2:]
    assert sized() == b"\x00\x0b" + hashlib.sha256(area).digest()
    assert take(2) == bytes(2)
    content = sized()
    assert at == len(certification.attest)
    handle, algorithm, attributes = struct.unpack(">IHI", area[:10])
    assert handle in set(purpose.candidates(label))
    assert algorithm == 0x000B
    assert attributes == purpose.attributes | TPMA_NV.WRITTEN
    assert area[10:] == b"\x00\x20" + purpose.mark(label) + purpose.size.to_bytes(2, "big")
    return content


def test_a_certified_counter_is_verified_without_a_tpm(tpm):
    tpm.counter("label")
    value, ak = tpm.advance("label"), tpm.attestation_key()
    certification = tpm.certify_counter("label", NONCE)
    assert verify(certification, ak, COUNTER, "label", NONCE) == value.to_bytes(8, "big")
    for label, nonce in (("other", NONCE), ("label", DIGEST)):
        with pytest.raises(AssertionError):
            verify(certification, ak, COUNTER, label, nonce)
    changed = certification.attest[:-1] + bytes([certification.attest[-1] ^ 1])
    with pytest.raises(InvalidSignature):
        verify(replace(certification, attest=changed), ak, COUNTER, "label", NONCE)


def test_a_certified_measurement_is_verified_without_a_tpm(tpm):
    tpm.measure("agent", DIGEST)
    certification = tpm.certify_measurement("agent", NONCE)
    content = verify(certification, tpm.attestation_key(), MEASUREMENT, "agent", NONCE)
    assert content == hashlib.sha256(bytes(32) + DIGEST).digest()
    with pytest.raises(AssertionError):
        verify(certification, tpm.attestation_key(), COUNTER, "agent", NONCE)


def test_tpm2_tools_know_the_index_by_the_certified_name_and_content(tpm, emulator):
    """A second implementation of the structures."""
    if not shutil.which("tpm2_nvreadpublic"):
        pytest.skip("no second implementation: apt-get install tpm2-tools")
    value = tpm.measure("agent", DIGEST)
    certification = tpm.certify_measurement("agent", NONCE)
    handle = hex(index_of(certification))
    environment = {**os.environ, "TPM2TOOLS_TCTI": emulator.tcti, "TSS2_LOG": "all+NONE"}

    def tool(*command: str) -> bytes:
        return subprocess.run(command, capture_output=True, check=True, timeout=30, env=environment).stdout

    assert tool("tpm2_nvread", handle) == value
    described = tool("tpm2_nvreadpublic", handle).decode()
    assert f"name: 000b{hashlib.sha256(certification.public[2:]).hexdigest()}" in described
    assert "clear_stclear" in described


def test_nobody_sets_a_measurement_back_without_a_reset(tpm):
    """The control is register 16, which anybody resets: nothing is measured there."""
    value = tpm.measure("agent", DIGEST)
    (handle,) = on_tpm(tpm, lambda context: context.handles(MEASUREMENT.handles.start, MEASUREMENT.handles.stop - 1))

    def overwrite(context: Tpm) -> Any:
        with context.known(handle) as index:
            return context.esys.nv_write(index, bytes(32))

    with pytest.raises(Exception, match="TPM"):
        on_tpm(tpm, overwrite)
    assert tpm.measurement("agent") == value
    on_tpm(tpm, lambda context: context.esys.pcr_reset(ESYS_TR.PCR16))
    assert tpm.read_pcrs((16,)) == {16: bytes(32)}


def test_a_pin_that_was_only_half_set_answers_nothing(tpm):
    """The power went between defining the index and writing its limit."""
    first = next(PIN.candidates("door"))
    on_tpm(tpm, define(first, PIN.attributes, PIN.size, PIN.mark("door")))
    with pytest.raises(AuthorisationFailed):
        tpm.try_pin("door", b"1234")
    tpm.set_pin("door", b"1234", 3)
    tpm.try_pin("door", b"1234")


def test_a_counter_that_was_only_half_made_is_completed(tpm):
    on_tpm(tpm, define(next(COUNTER.candidates("label")), COUNTER.attributes, COUNTER.size, COUNTER.mark("label")))
    assert tpm.counter("label") >= 1


def test_a_floor_cannot_be_taken_out_of_a_blob(tpm):
    key = ec.generate_private_key(ec.SECP256R1())
    authority = SealAuthority(point(key), b"purpose", "floor")
    blob, old = tpm.seal(b"secret", (), authority), approve(tpm, key, authority, tpm.counter("floor"))
    tpm.advance("floor")
    without = replace(_blob.SealedBlob.unpack(blob), authority=replace(authority, floor="")).pack()
    other = replace(_blob.SealedBlob.unpack(blob), authority=replace(authority, floor="another")).pack()
    tpm.counter("another")
    for broken in (blob, without, other):
        with pytest.raises(AuthorisationFailed):
            tpm.unseal(broken, old)
    assert tpm.unseal(blob, approve(tpm, key, authority, tpm.counter("floor"))) == b"secret"


def test_another_authority_cannot_be_put_into_a_blob(tpm):
    key, stranger = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority, other = (SealAuthority(point(one), b"purpose") for one in (key, stranger))
    blob = tpm.seal(b"secret", (), authority)
    swapped = replace(_blob.SealedBlob.unpack(blob), authority=other).pack()
    with pytest.raises(AuthorisationFailed):
        tpm.unseal(swapped, approve(tpm, stranger, other))
    assert tpm.unseal(blob, approve(tpm, key, authority)) == b"secret"


def test_a_cleared_tpm_keeps_no_index_and_says_what_happened(tpm, emulator):
    tpm.counter("label")
    tpm.set_pin("door", b"1234", 3)
    on_tpm(tpm, lambda context: context.esys.clear(ESYS_TR.LOCKOUT))
    with pytest.raises(AuthorisationFailed, match="cleared") as caught:
        tpm.counter("label")
    assert "enrol again" in caught.value.remedy
    with opened(emulator) as again:
        span = PURPOSES[0].handles.start, PURPOSES[-1].handles.stop - 1
        assert on_tpm(again, lambda context: context.handles(*span)) == []
        assert name(again.attestation_key()) == name(tpm.attestation_key())
