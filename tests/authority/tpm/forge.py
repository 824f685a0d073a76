"""A TPM that lies at will: builds public areas, quotes and certifications from their fields, and signs them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

SHA1, SHA256, SHA384, NULL = 0x0004, 0x000B, 0x000C, 0x0010
ECDSA, ECDH, RSASSA, AES, CFB = 0x0018, 0x0019, 0x0014, 0x0006, 0x0043
MAGIC, QUOTE, CERTIFY = 0xFF544347, 0x8018, 0x8017
ENDORSEMENT, OWNER = 0x4000000B, 0x40000001

FIXED_TPM, FIXED_PARENT, ORIGIN, USER_AUTH, ADMIN_POLICY, NO_DA = 1 << 1, 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 10
RESTRICTED, DECRYPT, SIGN = 1 << 16, 1 << 17, 1 << 18
MADE = FIXED_TPM | FIXED_PARENT | ORIGIN
AK = MADE | USER_AUTH | NO_DA | RESTRICTED | SIGN
SIGNER = MADE | USER_AUTH | NO_DA | SIGN
AGREER = MADE | USER_AUTH | NO_DA | DECRYPT
EK = MADE | ADMIN_POLICY | RESTRICTED | DECRYPT

QUALIFYING = bytes(range(32))
PCRS = {0: b"\x11" * 32, 7: b"\x22" * 32, 16: b"\x33" * 32}


def sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def ecc_public(
    key: ec.EllipticCurvePrivateKey,
    attributes: int,
    *,
    scheme: tuple[int, ...] = (ECDSA, SHA256),
    policy: bytes = b"",
    name_algorithm: int = SHA256,
    symmetric: tuple[int, ...] = (NULL,),
) -> bytes:
    """TPM2B_PUBLIC."""
    numbers, size = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
    curve = {"secp256r1": 3, "secp384r1": 4, "secp521r1": 5}[key.curve.name]
    body = struct.pack(">HHI", 0x23, name_algorithm, attributes) + sized(policy)
    body += struct.pack(f">{len(symmetric)}H", *symmetric) + struct.pack(f">{len(scheme)}H", *scheme)
    body += struct.pack(">HH", curve, NULL)
    return sized(body + sized(numbers.x.to_bytes(size, "big")) + sized(numbers.y.to_bytes(size, "big")))


def rsa_public(
    key: rsa.RSAPrivateKey, attributes: int, *, scheme: tuple[int, ...] = (NULL,), storage: bool = True
) -> bytes:
    """TPM2B_PUBLIC."""
    symmetric = (AES, 128, CFB) if storage else (NULL,)
    body = struct.pack(">HHI", 0x01, SHA256, attributes) + sized(b"")
    body += struct.pack(f">{len(symmetric)}H", *symmetric) + struct.pack(f">{len(scheme)}H", *scheme)
    modulus = key.public_key().public_numbers().n.to_bytes(key.key_size // 8, "big")
    return sized(body + struct.pack(">HI", key.key_size, 0) + sized(modulus))


def name_of(public: bytes) -> bytes:
    return struct.pack(">H", SHA256) + hashlib.sha256(public[2:]).digest()


def pcr_digest(values: Sequence[bytes]) -> bytes:
    return hashlib.sha256(b"".join(values)).digest()


def selection(*banks: tuple[int, Sequence[int]], size: int = 3) -> bytes:
    """TPML_PCR_SELECTION."""
    body = struct.pack(">I", len(banks))
    for bank, pcrs in banks:
        bitmap = sum(1 << index for index in pcrs).to_bytes(size, "little")
        body += struct.pack(">HB", bank, size) + bitmap
    return body


def serialized(values: dict[int, bytes]) -> bytes:
    """At most eight registers of the SHA-256 bank as `tpm2_quote -F serialized` writes them."""
    slot = struct.pack("<HB", SHA256, 3) + sum(1 << pcr for pcr in values).to_bytes(3, "little") + bytes(2)
    digests = b"".join(struct.pack("<H", 32) + value + bytes(32) for value in values.values())
    head = struct.pack("<I", 1) + slot + bytes(15 * 8) + struct.pack("<II", 1, len(values))
    return head + digests + bytes((8 - len(values)) * 66)


GOOD_SELECTION = selection((SHA256, tuple(PCRS)))


@dataclass
class Forger:
    """A P-256 attestation key in software, and what it claims to be."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    attributes: int = AK
    hierarchy: int = ENDORSEMENT

    @property
    def public(self) -> bytes:
        return ecc_public(self.key, self.attributes)

    @property
    def qualified(self) -> bytes:
        inner = struct.pack(">I", self.hierarchy) + name_of(self.public)
        return struct.pack(">H", SHA256) + hashlib.sha256(inner).digest()

    def attest(
        self,
        attested: bytes,
        *,
        kind: int = QUOTE,
        magic: int = MAGIC,
        extra: bytes = QUALIFYING,
        safe: int = 1,
        trailing: bytes = b"",
    ) -> bytes:
        """TPMS_ATTEST."""
        head = struct.pack(">IH", magic, kind) + sized(self.qualified) + sized(extra)
        return head + struct.pack(">QIIBQ", 90_000, 4, 0, safe, 0x2019102300163636) + attested + trailing

    def quote(self, pcrs: bytes = GOOD_SELECTION, digest: bytes | None = None, **claims: object) -> bytes:
        """TPMS_ATTEST of a quote; right in everything that is not given."""
        return self.attest(pcrs + sized(digest or pcr_digest(list(PCRS.values()))), **claims)  # type: ignore[arg-type]

    def certification(self, object_public: bytes, **claims: object) -> bytes:
        """TPMS_ATTEST of a certification."""
        body = sized(name_of(object_public)) + sized(name_of(object_public))
        return self.attest(body, **{"kind": CERTIFY, **claims})  # type: ignore[arg-type]

    def sign(self, attest: bytes, algorithm: int = SHA256) -> bytes:
        """TPMT_SIGNATURE by ECDSA."""
        hashed = {SHA1: hashes.SHA1, SHA256: hashes.SHA256, SHA384: hashes.SHA384}[algorithm]()
        r, s = utils.decode_dss_signature(self.key.sign(attest, ec.ECDSA(hashed)))
        size = (self.key.curve.key_size + 7) // 8
        return struct.pack(">HH", ECDSA, algorithm) + sized(r.to_bytes(size, "big")) + sized(s.to_bytes(size, "big"))


def rsa_signature(key: rsa.RSAPrivateKey, attest: bytes) -> bytes:
    """TPMT_SIGNATURE by RSASSA with SHA-256."""
    return struct.pack(">HH", RSASSA, SHA256) + sized(key.sign(attest, padding.PKCS1v15(), hashes.SHA256()))
