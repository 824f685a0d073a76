"""A SoftHSM2 token for the PKCS#11 driver's tests, opened here and in processes of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

pytest.importorskip("pkcs11", reason="no python-pkcs11: pip install 'keyvigil[pkcs11]'")

from hal import (
    Enclave,
)
from simulators.devices.softhsm import SoftHsm
from tests.drivers.token_rigs import EnclaveRig, pkcs11_rig

NONCE, AUTH, DIGEST = bytes(range(32)), b"\x5a" * 32, b"\xd1" * 32
SECRET = b"a secret that a token keeps"
STALL = 0.3


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[EnclaveRig]:
    with pkcs11_rig(tmp_path) as made:
        yield made


@pytest.fixture
def token(rig: EnclaveRig) -> SoftHsm:
    assert isinstance(rig.device, SoftHsm)
    return rig.device


@pytest.fixture
def enclave(rig: EnclaveRig) -> Iterator[Enclave]:
    with rig.open() as opened:
        yield opened


def verify(public: bytes, signature: bytes) -> None:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    halves = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.verify(utils.encode_dss_signature(*halves), DIGEST, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


def opened_elsewhere(rig: EnclaveRig, wrapper: list[str] | None = None) -> str:
    """What opening the token in another process gives."""
    program = (
        "import json, sys\nfrom drivers.pkcs11 import Pkcs11Driver\nfrom hal import DeviceError\n"
        "try: Pkcs11Driver().open(json.loads(sys.argv[1])).close(); print('opened')\n"
        "except DeviceError as error: print(type(error).__name__)\n"
    )
    import json

    argv = [*(wrapper or []), sys.executable, "-c", program, json.dumps(rig.options)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
