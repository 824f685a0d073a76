"""Keys of IPsec ESP, made from an association's key; RFC 4106 (AES-GCM in ESP)."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.codec import length_prefixed
from protocol.key_schedule import KEY_BYTES

ESP_KEY_BYTES = 36
"""An AES-256 key and the salt of 4 bytes (RFC 4106, section 8.1)."""


def esp_keys(key: bytes) -> bytes:
    """36 bytes: the AES-256 key, then the salt of the nonce.

    HKDF-SHA256 (RFC 5869) over an association's key of 32 bytes, so that no other sink ever works with these bytes;
    raises `ValueError` on a wrong length.
    """
    if len(key) != KEY_BYTES:
        raise ValueError("an association's key has 32 bytes")
    info = length_prefixed("keyvigil/esp/1")
    return HKDF(algorithm=SHA256(), length=ESP_KEY_BYTES, salt=None, info=info).derive(key)
