"""What quotes and certifications have in common: an attestation key's signature over a TPMS_ATTEST."""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from authority.tpm.keys import HASHES, key_of, qualified_name
from authority.tpm.rejection import Reason, TpmRejected
from authority.tpm.wire import (
    Algorithm,
    Attest,
    EcdsaSignature,
    ObjectAttributes,
    Public,
    RsaSignature,
    Signature,
    parse_attest,
    parse_public,
    parse_signature,
)

_A = ObjectAttributes
AK_MUST = _A.FIXED_TPM | _A.FIXED_PARENT | _A.SENSITIVE_DATA_ORIGIN | _A.RESTRICTED | _A.SIGN
AK_MUST_NOT = _A.DECRYPT | _A.X509_SIGN


def verify_attest(
    attest: bytes, signature: bytes, ak_public: bytes, qualifying: bytes, hierarchy: int | None
) -> tuple[Attest, Algorithm]:
    """The signed structure, and the hash that it was signed with; raises `TpmRejected`, `TpmFormatError`.

    `ak_public` is the enrolled key. With a `hierarchy`, the AK must be a primary key of it.
    """
    ak, parsed, signed = parse_public(ak_public), parse_attest(attest), parse_signature(signature)
    check_attributes(ak, AK_MUST, AK_MUST_NOT, Reason.UNFIT_SIGNER)
    if ak.name_algorithm not in HASHES:
        raise TpmRejected(Reason.UNFIT_SIGNER, f"a key named by {ak.name_algorithm.name}")
    hashed = _check_hash(signed)
    check_scheme(ak, signed)
    check_signature(key_of(ak), signed, attest)
    if hierarchy is not None and parsed.qualified_signer != qualified_name(ak, hierarchy):
        raise TpmRejected(Reason.FOREIGN_SIGNER, "it names another signer than the enrolled key in its hierarchy")
    if not hmac.compare_digest(parsed.extra_data, qualifying):
        raise TpmRejected(Reason.WRONG_QUALIFYING_DATA, "it was made over other qualifying data")
    return parsed, hashed


def check_attributes(public: Public, must: ObjectAttributes, must_not: ObjectAttributes, reason: Reason) -> None:
    """Raise `TpmRejected` naming the attributes that are missing or too many."""
    missing, surplus = must & ~public.attributes, must_not & public.attributes
    if missing or surplus:
        words = [f"without {bit.name}" for bit in missing] + [f"with {bit.name}" for bit in surplus]
        raise TpmRejected(reason, "a key " + ", ".join(words))


def _check_hash(signature: Signature) -> Algorithm:
    hashed = signature.hash if isinstance(signature, EcdsaSignature) else signature.scheme.hash
    if hashed not in HASHES:
        raise TpmRejected(Reason.WEAK_HASH, f"signed with {hashed.name}")
    return hashed


def check_scheme(ak: Public, signature: Signature) -> None:
    """Raise `TpmRejected` when a signature was made by another scheme or with another hash than the key is for."""
    hashed, scheme = _check_hash(signature), ak.parameters.scheme
    if scheme is None or scheme.hash is not hashed or scheme.algorithm is not _algorithm(signature):
        raise TpmRejected(Reason.UNFIT_SIGNER, "signed with another scheme than the key's own")


def _algorithm(signature: Signature) -> Algorithm:
    return Algorithm.ECDSA if isinstance(signature, EcdsaSignature) else signature.scheme.algorithm


def check_signature(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, signature: Signature, message: bytes
) -> Algorithm:
    """The hash that `message` was signed with by `key`; raises `TpmRejected`. SHA-1 is refused."""
    hashed = _check_hash(signature)
    algorithm = HASHES[hashed]()
    try:
        match key, signature:
            case ec.EllipticCurvePublicKey(), EcdsaSignature(r=r, s=s):
                key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(algorithm))
                return hashed
            case rsa.RSAPublicKey(), RsaSignature(scheme=scheme, value=value):
                pss = padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO)
                pad = padding.PKCS1v15() if scheme.algorithm is Algorithm.RSASSA else pss
                key.verify(value, message, pad, algorithm)
                return hashed
    except InvalidSignature:
        raise TpmRejected(Reason.BAD_SIGNATURE, "the attestation key did not sign this") from None
    raise TpmRejected(Reason.BAD_SIGNATURE, "key and signature are of different kinds")
