"""The rigs on which every enclave is held to its contract, and what the suites share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.point import uncompressed_point
from hal import (
    Approval,
    Capability,
    CertifiedKey,
    Enclave,
    GuardedKey,
    NvCertification,
    PcrSelection,
    SealAuthority,
)
from tests.drivers import enclave_rigs, token_rigs
from tests.drivers.enclave_rigs import Rig

NONCE, AUTH, DIGEST = bytes(range(32)), b"\x5a" * 32, b"\xd1" * 32
SELECTION = (0, 7)
STRANGER = ec.generate_private_key(ec.SECP256R1())


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


AUTHORITY = SealAuthority(point(STRANGER), b"reference")
NO_GUARD = GuardedKey("label", CertifiedKey(b"", b""), NvCertification(b"", b"", b""), b"", b"", b"")


def guarded(enclave: Enclave, label: str = "label") -> GuardedKey:
    return enclave.create_guarded_key(label, AUTH, DIGEST, 2, point(STRANGER), NONCE)


RIGS = enclave_rigs.RIGS | token_rigs.RIGS


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with RIGS[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def enclave(rig: Rig) -> Iterator[Enclave]:
    with rig.open() as opened:
        yield opened


def needs(enclave: Enclave, *capabilities: str) -> None:
    missing = set(capabilities) - enclave.info.capabilities
    if missing:
        pytest.skip(f"{enclave.info.driver} lacks {', '.join(sorted(missing))}")


def selection_for(enclave: Enclave) -> PcrSelection:
    return SELECTION if Capability.PCRS in enclave.info.capabilities else ()


def approval(enclave: Enclave, key: ec.EllipticCurvePrivateKey, authority: SealAuthority, version: int = 0) -> Approval:
    """The authority's approval of the enclave's present state."""
    policy = enclave.pcr_policy(SELECTION, authority, version)
    r, s = utils.decode_dss_signature(key.sign(policy + authority.reference, ec.ECDSA(hashes.SHA256())))
    return Approval(policy, r.to_bytes(32, "big") + s.to_bytes(32, "big"), SELECTION, version)


def verified(key: CertifiedKey, raw: bytes, digest: bytes) -> None:
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), uncompressed_point(key.public))
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public.verify(der, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
