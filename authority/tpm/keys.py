"""Public keys, Names and node identities from TPM public areas.

Names: TCG TPM 2.0 Library Part 1, 16 (Names) and 26.5 (Qualified Names).
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authority.tpm._reader import TpmFormatError
from authority.tpm.wire import (
    Algorithm,
    Curve,
    EccParameters,
    EccPoint,
    Public,
    RsaParameters,
    parse_public,
)

RH_ENDORSEMENT = 0x4000000B
"""TPM_RH_ENDORSEMENT: the Name of a hierarchy is its handle."""

HASHES: dict[Algorithm, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    Algorithm.SHA256: hashes.SHA256,
    Algorithm.SHA384: hashes.SHA384,
    Algorithm.SHA512: hashes.SHA512,
}
"""The hash algorithms that are good enough to sign with; SHA-1 is not."""

CURVES: dict[Curve, type[ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1]] = {
    Curve.P256: ec.SECP256R1,
    Curve.P384: ec.SECP384R1,
    Curve.P521: ec.SECP521R1,
}


def public_key(tpm2b_public: bytes) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """The key in a TPM2B_PUBLIC; raises `TpmFormatError`."""
    return key_of(parse_public(tpm2b_public))


def name(tpm2b_public: bytes) -> bytes:
    """The object's Name: hash algorithm (2 bytes) and digest of the public area; raises `TpmFormatError`."""
    return name_of(parse_public(tpm2b_public))


def node_id(ek_public: bytes) -> str:
    """SHA-256 of the endorsement key's SubjectPublicKeyInfo (DER), 64 hexadecimal digits; raises `TpmFormatError`."""
    spki = public_key(ek_public).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def key_of(public: Public) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """The key in a parsed public area; raises `TpmFormatError` for a point off its curve or a modulus of odd size."""
    match public.parameters, public.unique:
        case EccParameters(curve=curve), EccPoint(x=x, y=y):
            numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), CURVES[curve]())
            try:
                return numbers.public_key()
            except ValueError:
                raise TpmFormatError(f"the point is not on curve {curve.name}") from None
        case RsaParameters(key_bits=bits, exponent=exponent), bytes(modulus):
            value = int.from_bytes(modulus, "big")
            if value.bit_length() != bits or not value & 1:
                raise TpmFormatError(f"not an RSA modulus of {bits} bits")
            return rsa.RSAPublicNumbers(exponent, value).public_key()
        case _:
            raise TpmFormatError("parameters and key are of different kinds")


def name_of(public: Public) -> bytes:
    """Name of a parsed public area."""
    return _digest(public.name_algorithm, public.marshalled)


def qualified_name(public: Public, hierarchy: int) -> bytes:
    """Qualified Name of a primary key of `hierarchy`."""
    return _digest(public.name_algorithm, hierarchy.to_bytes(4, "big") + name_of(public))


def _digest(algorithm: Algorithm, data: bytes) -> bytes:
    return algorithm.to_bytes(2, "big") + hashlib.new(algorithm.name.lower(), data).digest()
