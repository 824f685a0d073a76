"""A profile key in an enclave without guards: one joint tag over what the root gives, and nothing else to try."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from agent.profile import ProfileKey
from agent.profile._key import AUTH_BYTES, Wanted, masked
from hal import AuthorisationFailed, Capability
from tests.drivers.token_rigs import EnclaveRig, pkcs11_rig, software_rig

RECORD, DIGEST = "0123456789abcdef", b"\xd1" * 32
ROOT = bytes(range(32))
RIGS = {"software": software_rig, "pkcs11": pkcs11_rig}


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EnclaveRig]:
    with RIGS[request.param](tmp_path) as made:
        yield made


def sealed_key(rig: EnclaveRig) -> tuple[ProfileKey, bytes]:
    """A new key, and the masked value that lies in the record."""
    auth = os.urandom(AUTH_BYTES)
    with rig.open() as enclave:
        assert Capability.GUARD not in enclave.info.capabilities
        key = ProfileKey.make(enclave, Wanted(RECORD, b"", bytes(32)), ROOT, auth)
    return key, masked(auth, ROOT, RECORD)


def signature_of(rig: EnclaveRig, key: ProfileKey, mask: bytes, root: bytes) -> bytes:
    with rig.open() as enclave:
        return key.sign(enclave, root, masked(mask, root, RECORD), DIGEST)


def test_the_whole_root_signs_and_no_other(rig: EnclaveRig) -> None:
    key, mask = sealed_key(rig)
    signature = signature_of(rig, key, mask, ROOT)
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.certified.public)
    public.verify(utils.encode_dss_signature(r, s), DIGEST, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    texts = set()
    for bit in (0, 77, 255):
        wrong = (int.from_bytes(ROOT, "big") ^ 1 << bit).to_bytes(32, "big")
        with pytest.raises(AuthorisationFailed) as caught:
            signature_of(rig, key, mask, wrong)
        texts.add(str(caught.value))
    assert len(texts) == 1


def test_what_lies_on_the_disk_signs_nothing_without_the_root(rig: EnclaveRig) -> None:
    key, mask = sealed_key(rig)
    with rig.open() as enclave:
        for tried in (mask, bytes(AUTH_BYTES), b"", ROOT):
            with pytest.raises((AuthorisationFailed, ValueError)):
                enclave.sign(key.certified, tried, DIGEST)
        assert len(enclave.sign(key.certified, masked(mask, ROOT, RECORD), DIGEST)) == 64


def test_another_enclave_of_the_kind_signs_nothing(rig: EnclaveRig) -> None:
    key, mask = sealed_key(rig)
    with rig.open_other() as other, pytest.raises(AuthorisationFailed):
        key.sign(other, ROOT, masked(mask, ROOT, RECORD), DIGEST)


def test_it_claims_no_guard(rig: EnclaveRig) -> None:
    """Nothing here counts, and nothing says that it does: the authority caps such a node."""
    key, _ = sealed_key(rig)
    with rig.open() as enclave:
        assert key.guard is None and key.guard_state(enclave) is None
        with pytest.raises(ValueError, match="no guard"):
            key.reset_nonce(enclave)
        key.forget(enclave)
