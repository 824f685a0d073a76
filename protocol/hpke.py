"""Opening HPKE (RFC 9180, base mode) when the private key never leaves a TPM.

Suite: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. Sealing is done by `cryptography`'s own HPKE.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from protocol.codec import ProtocolViolation

POINT_BYTES = 65
_KEM_SUITE = b"KEM" + (0x0010).to_bytes(2, "big")
_SUITE = b"HPKE" + bytes.fromhex("001000010002")


def open_sealed(enc: bytes, ciphertext: bytes, info: bytes, recipient: bytes, agree: Callable[[bytes], bytes]) -> bytes:
    """The plaintext of one sealed message.

    `enc` and `recipient` are 65-byte uncompressed points, `agree` gives the 32-byte x-coordinate shared with a point.
    Raises `ProtocolViolation` when the message was not sealed to this key in this context.
    """
    _check_point(enc)
    _check_point(recipient)
    shared = _shared_secret(agree(enc), enc + recipient)
    key, nonce = _key_schedule(shared, info)
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, b"")
    except InvalidTag:
        raise ProtocolViolation("a delivery was not sealed to this node in this context") from None


def _check_point(encoded: bytes) -> None:
    """RFC 9180 §7.1.4: a point that is not on the curve would give away bits of the private key."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encoded)
    except ValueError:
        encoded = b""
    if len(encoded) != POINT_BYTES:
        raise ProtocolViolation("the encapsulated key of a delivery is not an uncompressed P-256 point")


def _extract(salt: bytes, suite: bytes, label: bytes, ikm: bytes) -> bytes:
    return HKDF.extract(hashes.SHA256(), salt or None, b"HPKE-v1" + suite + label + ikm)


def _expand(prk: bytes, suite: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return HKDFExpand(hashes.SHA256(), length, labelled).derive(prk)


def _shared_secret(dh: bytes, kem_context: bytes) -> bytes:
    prk = _extract(b"", _KEM_SUITE, b"eae_prk", dh)
    return _expand(prk, _KEM_SUITE, b"shared_secret", kem_context, 32)


def _key_schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    psk_id_hash = _extract(b"", _SUITE, b"psk_id_hash", b"")
    info_hash = _extract(b"", _SUITE, b"info_hash", info)
    context = b"\x00" + psk_id_hash + info_hash
    secret = _extract(shared, _SUITE, b"secret", b"")
    return _expand(secret, _SUITE, b"key", context, 32), _expand(secret, _SUITE, b"base_nonce", context, 12)
