"""What the TPM tests share: opening an emulated TPM, and looking into it past the interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from drivers.tpm2 import Tpm2Driver
from hal import Approval, Enclave, PcrSelection, SealAuthority
from simulators.devices.swtpm import Swtpm

NONCE, AUTH, DIGEST = bytes(range(32)), b"\x5a" * 32, b"\xd1" * 32


def opened(running: Swtpm, **options: object) -> Enclave:
    return cast(Enclave, Tpm2Driver().open({"tcti": running.tcti, **options}))


def on_tpm(enclave: Enclave, work: Callable[[Any], Any]) -> Any:
    """Do what the interface does not offer, on the TPM's own thread."""
    return enclave._run("a test's own command", work)  # type: ignore[attr-defined]


def left_loaded(enclave: Enclave) -> list[int]:
    return cast("list[int]", on_tpm(enclave, lambda tpm: tpm.in_slots()))


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def approve(
    enclave: Enclave,
    key: ec.EllipticCurvePrivateKey,
    authority: SealAuthority,
    version: int = 0,
    selection: PcrSelection = (0, 7),
) -> Approval:
    """What the authority signs when it approves the present state."""
    policy = enclave.pcr_policy(selection, authority, version)
    r, s = utils.decode_dss_signature(key.sign(policy + authority.reference, ec.ECDSA(hashes.SHA256())))
    return Approval(policy, r.to_bytes(32, "big") + s.to_bytes(32, "big"), selection, version)
