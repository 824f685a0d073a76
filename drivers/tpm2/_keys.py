"""Certified keys: making them, signing and agreeing with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tpm2_pytss import (
    TPM2_ALG,
    TPM2_RH,
    TPM2_ST,
    TPM2B_DATA,
    TPM2B_DIGEST,
    TPM2B_ECC_POINT,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMS_ATTEST,
    TPMS_ECC_POINT,
    TPMS_SENSITIVE_CREATE,
    TPMT_SIG_SCHEME,
    TPMT_TK_HASHCHECK,
)

from drivers.tpm2 import _templates
from drivers.tpm2._errors import foreign
from drivers.tpm2._tpm import DECRYPT, ENCRYPT, Tpm, whole
from hal import CertifiedKey, KeyUse

_OWNER = 0x40000001.to_bytes(4, "big")
"""TPM_RH_OWNER, which is the owner hierarchy's Name."""


def create(tpm: Tpm, use: KeyUse, auth: bytes, qualifying: bytes) -> CertifiedKey:
    """A key that is used by its authorisation value."""
    return make(tpm, _templates.certified_key(use), auth, qualifying)


def make(tpm: Tpm, template: Any, auth: bytes, qualifying: bytes) -> CertifiedKey:
    """TPM2_Create under the storage root, then TPM2_Certify by the AK, in one encrypted session."""
    sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(userAuth=auth))
    with tpm.storage_root() as root, tpm.session(root, DECRYPT | ENCRYPT) as session:
        private, public, _, _, _ = tpm.esys.create(root, sensitive, template, session1=session)
        made = public.marshal(), private.marshal()
        with tpm.loaded(root, *made, auth) as key, tpm.attestation_key() as (ak, _):
            scheme = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
            attest, signature = tpm.esys.certify(key, ak, TPM2B_DATA(qualifying), scheme, session1=session)
    return CertifiedKey(*made, bytes(attest), signature.marshal())


def sign(tpm: Tpm, key: CertifiedKey, auth: bytes, digest: bytes) -> bytes:
    """TPM2_Sign with the key's own scheme, ECDSA with SHA-256; 64 bytes r ‖ s."""
    with _ready(tpm, key, auth, DECRYPT) as (handle, session):
        return signed(tpm, handle, digest, session)


def signed(tpm: Tpm, handle: Any, digest: bytes, session: Any) -> bytes:
    """TPM2_Sign by a loaded key, authorised by `session`."""
    ticket = TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL)
    scheme = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
    answer = tpm.esys.sign(handle, TPM2B_DIGEST(digest), scheme, ticket, session1=session)
    union = answer.signature
    ecdsa = union.ecdsa
    halves = bytes(ecdsa.signatureR), bytes(ecdsa.signatureS)
    return b"".join(half.rjust(32, b"\0") for half in halves)


def agree(tpm: Tpm, key: CertifiedKey, auth: bytes, peer: bytes) -> bytes:
    """TPM2_ECDH_ZGen; the x-coordinate as 32 bytes."""
    point = TPM2B_ECC_POINT(TPMS_ECC_POINT(x=peer[1:33], y=peer[33:]))
    with _ready(tpm, key, auth, DECRYPT | ENCRYPT) as (handle, session):
        shared = tpm.esys.ecdh_zgen(handle, point, session1=session)
        inner = shared.point
        x = bytes(inner.x)
    return x.rjust(32, b"\0")


@contextmanager
def _ready(tpm: Tpm, key: CertifiedKey, auth: bytes, protect: int) -> Iterator[tuple[Any, Any]]:
    """The loaded key, and a session salted to the very storage root that the key was made under.

    A session salted to whatever root the bus presents would give an attacker there a way to guess `auth` offline.
    """
    with (
        own_root(tpm, key) as root,
        tpm.session(root, protect) as session,
        tpm.loaded(root, key.public, key.private, auth) as handle,
    ):
        yield handle, session


@contextmanager
def own_root(tpm: Tpm, key: CertifiedKey) -> Iterator[Any]:
    """The storage root, if it is the one that `key` was made under."""
    with tpm.storage_root() as root:
        if _qualified_name(key) != _digest(_digest(_OWNER + tpm.name(root)) + _name(key)):
            raise foreign("using a key")
        yield root


def _qualified_name(key: CertifiedKey) -> bytes:
    """What the AK certified when the key was made: Part 1, 26.5."""
    parsed = whole(TPMS_ATTEST, key.attest)
    attested = parsed.attested
    info = attested.certify
    return bytes(info.qualifiedName)


def _name(key: CertifiedKey) -> bytes:
    """The Name of a key that is named by SHA-256; one that is not has another, and is none of ours."""
    whole(TPM2B_PUBLIC, key.public)
    return _digest(key.public[2:])


def _digest(data: bytes) -> bytes:
    return b"\x00\x0b" + hashlib.sha256(data).digest()
