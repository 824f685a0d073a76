"""What the agent's tests stand on: a TPM to open, an authority that keeps its half of the contract, made-up bundles."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.identity import Identity, StoredKey
from agent.point import uncompressed_point
from drivers.tpm2 import Tpm2Driver
from hal import CertifiedKey, Enclave, KeyUse
from protocol.codec import encode
from protocol.delivery import (
    Association,
    Direction,
    Envelope,
    KeyBundle,
    SealedDelivery,
    delivery_info,
    envelope_signing_input,
)
from protocol.levels import Access, ResourceClass, Rotation, Tier
from protocol.messages import DeliveryEvent
from simulators.devices.swtpm import Swtpm

NODE = "ab" * 32
SELECTION = [0, 1, 2, 7]


@dataclass
class Tpm:
    """A running swtpm and the driver for it."""

    swtpm: Swtpm
    driver: Tpm2Driver

    def open(self) -> Enclave:
        enclave: Enclave = self.driver.open({"tcti": self.swtpm.tcti})
        return enclave

    def extend(self) -> None:
        """Change PCR 7, as another boot would."""
        import subprocess

        command = ["tpm2_pcrextend", "-T", self.swtpm.tcti, "7:sha256=" + "11" * 32]
        subprocess.run(command, check=True, capture_output=True)


def delivery_key(enclave: Enclave) -> CertifiedKey:
    return enclave.create_key(KeyUse.AGREE, b"", bytes(32))


def spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def raw_signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@dataclass
class Kos:
    """A Key Orchestration Service for one node: seals with `cryptography`'s own HPKE, signs, numbers."""

    recipient: bytes
    node_id: str = NODE
    generation: int = 1
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def deliver(self, bundle: KeyBundle, number: int, **changes: object) -> DeliveryEvent:
        """A delivery; `changes` replaces fields of what is signed, after sealing."""
        info = delivery_info(self.node_id, bundle.network, self.generation, number)
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.recipient)
        sealed = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM).encrypt(encode(bundle), public, info)
        fields: dict[str, object] = {
            "node_id": self.node_id,
            "network": bundle.network,
            "generation": self.generation,
            "number": number,
            "issued_at": 1.0,
            "enc": sealed[:65],
            "ciphertext": sealed[65:],
        }
        payload = encode(SealedDelivery(**(fields | changes)))  # type: ignore[arg-type]
        envelope = Envelope(payload=payload, signature=raw_signature(self.key, envelope_signing_input(payload)))
        return DeliveryEvent(number=number, envelope=encode(envelope))


def identity(kos: Kos, key: CertifiedKey, node_id: str = NODE) -> Identity:
    return Identity(
        version=1,
        node_id=node_id,
        name="node-a",
        authority="https://localhost:1",
        ca="",
        kos_public=spki(kos.key.public_key()),
        tls_file="tls-x.pem",
        pcr_selection=SELECTION,
        delivery_key=StoredKey.of(key),
        joined_at=0.0,
    )


def kos_for(key: CertifiedKey) -> Kos:
    return Kos(uncompressed_point(key.public))


def bundle(network: str = "blue", version: int | None = 3, epoch: int = 1, expires_at: float = 2000.0) -> KeyBundle:
    associations = [
        Association(
            peer=hashlib.sha256(name.encode()).hexdigest(),
            peer_name=name,
            direction=direction,
            version=version or 0,
            epoch=epoch,
            resource_class=ResourceClass.NORMAL,
            key=os.urandom(32),
        )
        for name in ("node-b", "node-c")
        for direction in Direction
    ]
    return KeyBundle(
        network=network,
        tier=Tier.HIGH,
        access=Access.FULL if version is not None else Access.ISOLATED,
        rotation=Rotation.STANDARD,
        version=version,
        epoch=epoch,
        rotate_s=3600.0,
        expires_at=expires_at,
        associations=associations if version is not None else [],
    )
