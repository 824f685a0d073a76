"""Certifications: the attestation key's word that a key lives in the same TPM, with which attributes."""

from __future__ import annotations

import hmac
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec

from authority.tpm._signed import check_attributes, verify_attest
from authority.tpm.keys import RH_ENDORSEMENT, key_of, name_of
from authority.tpm.rejection import CertificationRejected, Reason, TpmRejected, rejecting
from authority.tpm.wire import (
    Algorithm,
    CertifyInfo,
    Curve,
    EccParameters,
    ObjectAttributes,
    Public,
    parse_public,
)


class CertifiedUse(StrEnum):
    """What a certified key is for: `SIGN` is P-256 ECDSA, `AGREE` is P-256 ECDH only."""

    SIGN = "sign"
    AGREE = "agree"


_A = ObjectAttributes
_MADE_THERE = _A.FIXED_TPM | _A.FIXED_PARENT | _A.SENSITIVE_DATA_ORIGIN | _A.USER_WITH_AUTH
_NEVER = _A.RESTRICTED | _A.ADMIN_WITH_POLICY | _A.X509_SIGN | _A.ENCRYPTED_DUPLICATION
_USES = {
    CertifiedUse.SIGN: (_A.SIGN, _A.DECRYPT, Algorithm.ECDSA),
    CertifiedUse.AGREE: (_A.DECRYPT, _A.SIGN, Algorithm.ECDH),
}


def verify_certify(  # noqa: PLR0913 - each argument is one thing that the certification must agree with
    attest: bytes,
    signature: bytes,
    ak_public: bytes,
    qualifying: bytes,
    object_public: bytes,
    use: CertifiedUse,
    *,
    policy: bytes = b"",
    hierarchy: int | None = RH_ENDORSEMENT,
) -> ec.EllipticCurvePublicKey:
    """The P-256 key in `object_public` (TPM2B_PUBLIC), if the enrolled AK certified it over `qualifying` for `use`.

    The key must have been made in that TPM, may not leave it, is used by its authorisation value, and has exactly the
    authorisation `policy`: none by default, for a policy would be a second way to use it. Raises
    `CertificationRejected`.
    """
    with rejecting(CertificationRejected):
        return _fit(certified(attest, signature, ak_public, qualifying, object_public, hierarchy), use, policy)


def certified(
    attest: bytes, signature: bytes, ak_public: bytes, qualifying: bytes, object_public: bytes, hierarchy: int | None
) -> Public:
    """What the AK certified, whatever it is; raises `TpmRejected`, `TpmFormatError`."""
    parsed, _ = verify_attest(attest, signature, ak_public, qualifying, hierarchy)
    if not isinstance(parsed.attested, CertifyInfo):
        raise TpmRejected(Reason.WRONG_TYPE, "another statement where a key's certification is needed")
    public = parse_public(object_public)
    if not hmac.compare_digest(parsed.attested.name, name_of(public)):
        raise TpmRejected(Reason.OTHER_OBJECT, "it certifies another key")
    return public


def _fit(public: Public, use: CertifiedUse, policy: bytes) -> ec.EllipticCurvePublicKey:
    must, must_not, algorithm = _USES[use]
    check_attributes(public, _MADE_THERE | must, _NEVER | must_not, Reason.UNFIT_OBJECT)
    if public.auth_policy != policy:
        raise TpmRejected(Reason.UNFIT_OBJECT, "a key with another authorisation policy")
    return p256_key(public, algorithm)


def p256_key(public: Public, algorithm: Algorithm) -> ec.EllipticCurvePublicKey:
    """The key on P-256, named by SHA-256, for `algorithm` with SHA-256 or without a scheme; raises `TpmRejected`."""
    if public.name_algorithm is not Algorithm.SHA256:
        raise TpmRejected(Reason.UNFIT_OBJECT, f"a key named by {public.name_algorithm.name}")
    parameters, key = public.parameters, key_of(public)
    if (
        not isinstance(parameters, EccParameters)
        or not isinstance(key, ec.EllipticCurvePublicKey)
        or parameters.curve is not Curve.P256
    ):
        raise TpmRejected(Reason.UNFIT_OBJECT, "not a P-256 key")
    scheme = parameters.scheme
    if scheme is not None and (scheme.algorithm, scheme.hash) != (algorithm, Algorithm.SHA256):
        raise TpmRejected(Reason.UNFIT_OBJECT, f"a key for {scheme.algorithm.name} with {scheme.hash.name}")
    return key
