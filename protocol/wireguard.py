"""Preshared keys of WireGuard tunnels, from the keys of ordered pairs."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.codec import length_prefixed
from protocol.key_schedule import KEY_BYTES


def wireguard_psk(key: bytes, network: str) -> bytes:
    """32-byte preshared key of a tunnel (WireGuard paper, section 5.2); raises `ValueError` on a wrong length.

    A tunnel has one for both directions: `key` is the pair key of the direction from the lower public key to the
    higher.
    """
    if len(key) != KEY_BYTES:
        raise ValueError("a pair key has 32 bytes")
    info = length_prefixed("keyvigil/wireguard-psk/1", network)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)
