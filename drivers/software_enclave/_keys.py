"""What is made of the master key: wrapped P-256 keys, sealed secrets, counters with a check."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hal import AuthorisationFailed, CertifiedKey, KeyUse

MASTER_BYTES = 32
COUNTER_BYTES = 8
CHECK_BYTES = 32
_NONCE_BYTES = 12
_KEY_MAGIC = b"KVSWKEY\x01"
_SEAL_MAGIC = b"KVSWSEAL\x01"


@dataclass(frozen=True)
class MasterKey:
    """32 random bytes in a file, and everything that only they open."""

    secret: bytes = field(repr=False)

    def make(self, use: KeyUse, auth: bytes) -> CertifiedKey:
        """A P-256 key, wrapped by the master key and `auth` together."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        scalar = key.private_numbers().private_value.to_bytes(32, "big")
        return CertifiedKey(public, _KEY_MAGIC + self._seal(_key_label(use), auth, scalar, public))

    def load(self, use: KeyUse, key: CertifiedKey, auth: bytes) -> ec.EllipticCurvePrivateKey:
        """The private key; raises `AuthorisationFailed` for a wrong `auth`, another use, another enclave or damage."""
        scalar = self._open(_key_label(use), auth, _unwrapped(_KEY_MAGIC, key.private), key.public)
        return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())

    def seal(self, secret: bytes) -> bytes:
        """A sealed secret."""
        return _SEAL_MAGIC + self._seal(b"seal", b"", secret, _SEAL_MAGIC)

    def unseal(self, blob: bytes) -> bytes:
        """Inverse of `seal`; raises `AuthorisationFailed`."""
        return self._open(b"seal", b"", _unwrapped(_SEAL_MAGIC, blob), _SEAL_MAGIC)

    def pack_counter(self, name: str, value: int) -> bytes:
        """Value (8 bytes, big-endian) and a check: a damaged file is noticed, an old one put back is not."""
        raw = value.to_bytes(COUNTER_BYTES, "big")
        return raw + self._check(name, raw)

    def unpack_counter(self, name: str, data: bytes) -> int | None:
        """The value, or `None` for anything else than the output of `pack_counter` for this file name."""
        raw, check = data[:COUNTER_BYTES], data[COUNTER_BYTES:]
        good = len(raw) == COUNTER_BYTES and hmac.compare_digest(check, self._check(name, raw))
        return int.from_bytes(raw, "big") if good else None

    def _check(self, name: str, raw: bytes) -> bytes:
        return hmac.digest(self._derive(b"counter", name.encode()), raw, "sha256")

    def _derive(self, label: bytes, auth: bytes) -> bytes:
        info = b"keyvigil/software-enclave/1/" + label
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(self.secret + auth)

    def _seal(self, label: bytes, auth: bytes, plaintext: bytes, context: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._derive(label, auth)).encrypt(nonce, plaintext, context)

    def _open(self, label: bytes, auth: bytes, sealed: bytes, context: bytes) -> bytes:
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return AESGCM(self._derive(label, auth)).decrypt(nonce, rest, context)
        except (InvalidTag, ValueError):
            raise AuthorisationFailed(
                "software enclave: wrong authorisation value, or the data is damaged or of another enclave"
            ) from None


def sign(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    """64 bytes r ‖ s over a SHA-256 digest."""
    signature = key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    r, s = utils.decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _key_label(use: KeyUse) -> bytes:
    return b"key/" + use.value.encode()


def _unwrapped(magic: bytes, blob: bytes) -> bytes:
    if not blob.startswith(magic):
        raise AuthorisationFailed("not made by a software enclave of this driver")
    return blob[len(magic) :]
