"""Platform configuration registers: reading them, quoting them, sealing to them. SHA-256 bank only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_SE,
    TPM2B_DATA,
    TPML_PCR_SELECTION,
    TPMS_ATTEST,
    TPMS_PCR_SELECTION,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF,
)

from drivers.tpm2._tpm import Tpm
from hal import Attestation, Busy, PcrSelection, Unsupported

PER_READ = 8
"""TPM2_PCR_Read answers with at most so many digests (TPML_DIGEST)."""
TRIES = 5


def read(tpm: Tpm, selection: PcrSelection) -> dict[int, bytes]:
    """Current values; raises `Unsupported` when the TPM has no SHA-256 bank."""
    values: dict[int, bytes] = {}
    left = selection
    while left:
        _, _, digests = tpm.esys.pcr_read(structure(left[:PER_READ]))
        got = [bytes(digest) for digest in digests]
        if not got:
            raise Unsupported(
                "the TPM's SHA-256 bank is not active", remedy="Enable the SHA-256 PCR bank in the firmware set-up."
            )
        values.update(zip(left, got, strict=False))
        left = left[len(got) :]
    return values


def quote(tpm: Tpm, qualifying: bytes, selection: PcrSelection) -> Attestation:
    """A quote with the very values that it signs: PCRs that move in between are read again."""
    scheme = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
    with tpm.attestation_key() as (ak, _):
        for _ in range(TRIES):
            values = read(tpm, selection)
            attest, signature = tpm.esys.quote(ak, structure(selection), TPM2B_DATA(qualifying), scheme)
            if _digest_in(bytes(attest)) == digest_of(values):
                return Attestation(bytes(attest), signature.marshal(), values)
    raise Busy("the PCRs kept changing while they were quoted", remedy="Wait until the machine has booted.")


def policy_now(tpm: Tpm, selection: PcrSelection) -> bytes:
    """PolicyPCR digest over the current values, as a trial session computes it in one step.

    Raises `Unsupported` when the TPM has no SHA-256 bank: it would make a policy over nothing, which always holds.
    """
    read(tpm, selection)
    with trial(tpm) as session:
        tpm.esys.policy_pcr(session, b"", structure(selection))
        digest = tpm.esys.policy_get_digest(session)
    return bytes(digest)


@contextmanager
def trial(tpm: Tpm) -> Iterator[Any]:
    """A session that computes what a policy's digest is, and authorises nothing."""
    session = tpm.esys.start_auth_session(
        ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.TRIAL, TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL), TPM2_ALG.SHA256
    )
    with tpm.flushed(session):
        yield session


def digest_of(values: Mapping[int, bytes]) -> bytes:
    """SHA-256 over the values in ascending order of index, as a quote carries it."""
    return hashlib.sha256(b"".join(values[index] for index in sorted(values))).digest()


def structure(selection: PcrSelection) -> Any:
    """TPML_PCR_SELECTION of the SHA-256 bank."""
    return TPML_PCR_SELECTION([TPMS_PCR_SELECTION(hash=TPM2_ALG.SHA256, pcrs=list(selection))])


def _digest_in(attest: bytes) -> bytes:
    parsed, _ = TPMS_ATTEST.unmarshal(attest)
    attested = parsed.attested
    info = attested.quote
    return bytes(info.pcrDigest)
