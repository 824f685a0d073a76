"""MakeCredential without a TPM: a secret that only the TPM with both the EK and the AK can open.

TCG TPM 2.0 Library Part 1, 24 (Credential Protection), B.10.3 (RSA secret sharing), C.6.3 (ECC secret sharing), 11.4.10
(KDFa, KDFe).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from authority.tpm._reader import TpmFormatError
from authority.tpm.keys import HASHES, key_of
from authority.tpm.wire import Algorithm, Public, parse_public

_LABEL = b"IDENTITY\0"


@dataclass(frozen=True)
class Credential:
    """What the node gets: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, both encrypted to its EK."""

    blob: bytes = field(repr=False)
    encrypted_secret: bytes = field(repr=False)


def make_credential(ek_public: bytes, ak_name: bytes, secret: bytes, random: Callable[[int], bytes]) -> Credential:
    """Encrypt `secret` (1 to 32 bytes) to the EK (TPM2B_PUBLIC), to be opened only beside the key named `ak_name`.

    `random(n)` gives n secure random bytes: the seed for an RSA EK, whose OAEP padding draws its own, or the ephemeral
    key for an ECC one. Raises `TpmFormatError` for an EK that cannot protect a credential.
    """
    if not 1 <= len(secret) <= 32:
        raise ValueError(f"a credential of {len(secret)} bytes: 1 to 32 are possible")
    ek = parse_public(ek_public)
    symmetric = ek.parameters.symmetric
    if symmetric is None or ek.name_algorithm not in HASHES:
        raise TpmFormatError("the endorsement key is not a storage key: no credential can be made for it")
    seed, encrypted_seed = _share_seed(ek, random)
    digest = ek.name_algorithm.name.lower()
    storage = _kdfa(digest, seed, b"STORAGE", ak_name, symmetric.key_bits)
    encryptor = Cipher(AES(storage), CFB(bytes(16))).encryptor()
    identity = encryptor.update(_sized(secret)) + encryptor.finalize()
    integrity = _kdfa(digest, seed, b"INTEGRITY", b"", hashlib.new(digest).digest_size * 8)
    outer = hmac.digest(integrity, identity + ak_name, digest)
    return Credential(_sized(_sized(outer) + identity), _sized(encrypted_seed))


def _share_seed(ek: Public, random: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """A seed as long as the EK's hash, and its encryption for the EK."""
    key, hash_algorithm = key_of(ek), HASHES[ek.name_algorithm]()
    if isinstance(key, rsa.RSAPublicKey):
        seed = random(hash_algorithm.digest_size)
        oaep = padding.OAEP(padding.MGF1(hash_algorithm), hash_algorithm, _LABEL)
        return seed, key.encrypt(seed, oaep)
    ephemeral = _ephemeral(key.curve, random)
    size = (key.curve.key_size + 7) // 8
    ours, theirs = ephemeral.public_key().public_numbers(), key.public_numbers()
    x, y = ours.x.to_bytes(size, "big"), ours.y.to_bytes(size, "big")
    shared = ephemeral.exchange(ec.ECDH(), key)
    seed = _kdfe(ek.name_algorithm, shared, x, theirs.x.to_bytes(size, "big"))
    return seed, _sized(x) + _sized(y)


def _ephemeral(curve: ec.EllipticCurve, random: Callable[[int], bytes]) -> ec.EllipticCurvePrivateKey:
    """A private key by rejection: uniform, and reproducible from `random`."""
    spare = -curve.key_size % 8
    while True:
        value = int.from_bytes(random((curve.key_size + spare) // 8), "big") >> spare
        if 0 < value < curve.group_order:
            return ec.derive_private_key(value, curve)


def _kdfa(digest: str, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """SP 800-108 in counter mode with HMAC."""
    found, counter = b"", 0
    while len(found) * 8 < bits:
        counter += 1
        block = counter.to_bytes(4, "big") + label + b"\0" + context + bits.to_bytes(4, "big")
        found += hmac.digest(key, block, digest)
    return found[: bits // 8]


def _kdfe(algorithm: Algorithm, shared: bytes, party_u: bytes, party_v: bytes) -> bytes:
    """SP 800-56A with one hash block, which is as long as the seed."""
    block = (1).to_bytes(4, "big") + shared + _LABEL + party_u + party_v
    return hashlib.new(algorithm.name.lower(), block).digest()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
