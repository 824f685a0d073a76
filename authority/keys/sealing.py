"""Sealing a key bundle to a key in a node's enclave and signing the envelope."""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from authority.enclaves import enclave_key
from authority.runtime import Runtime
from authority.tpm import TpmFormatError
from protocol.codec import encode
from protocol.delivery import Envelope, KeyBundle, SealedDelivery, delivery_info, envelope_signing_input
from protocol.hpke import POINT_BYTES

_SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class DeliveryKeyUnusable(Exception):
    """A node's registered delivery key is not a P-256 key."""


def delivery_key(kind: str, public: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 delivery key of a node whose enclave is of this kind; raises `DeliveryKeyUnusable`."""
    try:
        key = enclave_key(kind, public)
    except (TpmFormatError, ValueError) as error:
        raise DeliveryKeyUnusable(str(error)) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise DeliveryKeyUnusable("it is not a P-256 key")
    return key


def seal_to(recipient: ec.EllipticCurvePublicKey, info: bytes, plaintext: bytes) -> bytes:
    """Encapsulated point (65 bytes) and ciphertext that `recipient` alone opens, in the context `info` (RFC 9180)."""
    return _SUITE.encrypt(plaintext, recipient, info=info)


def seal(
    rt: Runtime, node_id: str, recipient: ec.EllipticCurvePublicKey, number: int, bundle: KeyBundle, now: float
) -> bytes:
    """Encoded `Envelope` that opens at this node only, as delivery `number` of this generation."""
    info = delivery_info(node_id, bundle.network, rt.generation, number)
    sealed = seal_to(recipient, info, msgspec.json.encode(bundle))
    payload = encode(
        SealedDelivery(
            node_id=node_id,
            network=bundle.network,
            generation=rt.generation,
            number=number,
            issued_at=now,
            enc=sealed[:POINT_BYTES],
            ciphertext=sealed[POINT_BYTES:],
        )
    )
    return encode(Envelope(payload=payload, signature=_sign(rt.kos_key, envelope_signing_input(payload))))


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
