"""Public areas of the keys and objects that this driver makes.

The storage root follows the TCG TPM v2.0 Provisioning Guidance 1.0, 7.5.1 (ECC P-256); the endorsement key the TCG EK
Credential Profile 2.5, B.3, as tpm2-pytss has it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tpm2_pytss import (
    TPM2_ALG,
    TPM2_ECC,
    TPM2B_PUBLIC,
    TPMA_OBJECT,
    TPMS_ECC_PARMS,
    TPMS_ECC_POINT,
    TPMS_SCHEME_HASH,
    TPMT_ECC_SCHEME,
    TPMT_KDF_SCHEME,
    TPMT_PUBLIC,
    TPMT_SYM_DEF_OBJECT,
    TPMU_ASYM_SCHEME,
    TPMU_PUBLIC_ID,
    TPMU_PUBLIC_PARMS,
)

from hal import KeyUse

ATTESTATION_KEY_LABEL = hashlib.sha256(b"keyvigil attestation key 1").digest()
"""`unique.x` of the AK's template: tells it apart from every other primary key, so that no blob need be kept."""

_MADE_HERE = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.SENSITIVEDATAORIGIN
_BY_AUTH = TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA


def storage_root() -> Any:
    """ECC P-256 storage key of the owner hierarchy."""
    symmetric = TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.AES)
    symmetric.keyBits.aes = 128
    symmetric.mode.aes = TPM2_ALG.CFB
    attributes = _MADE_HERE | _BY_AUTH | TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT
    return _p256(attributes, _scheme(None), unique=(bytes(32), bytes(32)), symmetric=symmetric)


def attestation_key() -> Any:
    """Restricted P-256 signing key of the endorsement hierarchy."""
    attributes = _MADE_HERE | _BY_AUTH | TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.SIGN_ENCRYPT
    return _p256(attributes, _scheme(TPM2_ALG.ECDSA), unique=(ATTESTATION_KEY_LABEL, bytes(32)))


def certified_key(use: KeyUse) -> Any:
    """P-256 key used with its authorisation value: ECDSA with SHA-256, or ECDH."""
    if use is KeyUse.SIGN:
        return _p256(_MADE_HERE | _BY_AUTH | TPMA_OBJECT.SIGN_ENCRYPT, _scheme(TPM2_ALG.ECDSA))
    return _p256(_MADE_HERE | _BY_AUTH | TPMA_OBJECT.DECRYPT, _scheme(TPM2_ALG.ECDH))


def guarded_key(policy: bytes) -> Any:
    """P-256 ECDSA key that signs by `policy` alone, in which its authorisation value has a part."""
    template = _p256(_MADE_HERE | TPMA_OBJECT.NODA | TPMA_OBJECT.SIGN_ENCRYPT, _scheme(TPM2_ALG.ECDSA))
    template.publicArea.authPolicy = policy
    return template


def sealed_object(policy: bytes) -> Any:
    """A data object that opens by `policy` alone: it has no authorisation value."""
    area = TPMT_PUBLIC(type=TPM2_ALG.KEYEDHASH, nameAlg=TPM2_ALG.SHA256, authPolicy=policy)
    area.objectAttributes = (
        TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.NODA | TPMA_OBJECT.ADMINWITHPOLICY
    )
    area.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG.NULL
    return TPM2B_PUBLIC(publicArea=area)


def approving_key(point: bytes) -> Any:
    """The public area under which the TPM knows an authority's P-256 key (65-byte uncompressed point)."""
    attributes = TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.SIGN_ENCRYPT
    return _p256(attributes, _scheme(TPM2_ALG.ECDSA), unique=(point[1:33], point[33:]))


def _scheme(algorithm: int | None) -> Any:
    if algorithm is None:
        return TPMT_ECC_SCHEME(scheme=TPM2_ALG.NULL)
    sha256 = TPMS_SCHEME_HASH(hashAlg=TPM2_ALG.SHA256)
    details = TPMU_ASYM_SCHEME(ecdsa=sha256) if algorithm == TPM2_ALG.ECDSA else TPMU_ASYM_SCHEME(ecdh=sha256)
    return TPMT_ECC_SCHEME(scheme=algorithm, details=details)


def _p256(attributes: int, scheme: Any, unique: tuple[bytes, bytes] = (b"", b""), symmetric: Any = None) -> Any:
    parameters = TPMS_ECC_PARMS(
        symmetric=symmetric or TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL),
        scheme=scheme,
        curveID=TPM2_ECC.NIST_P256,
        kdf=TPMT_KDF_SCHEME(scheme=TPM2_ALG.NULL),
    )
    area = TPMT_PUBLIC(
        type=TPM2_ALG.ECC,
        nameAlg=TPM2_ALG.SHA256,
        objectAttributes=attributes,
        parameters=TPMU_PUBLIC_PARMS(eccDetail=parameters),
        unique=TPMU_PUBLIC_ID(ecc=TPMS_ECC_POINT(x=unique[0], y=unique[1])),
    )
    return TPM2B_PUBLIC(publicArea=area)
