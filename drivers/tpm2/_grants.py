"""The owner's commands, allowed one at a time: by a signature over the one command and this session's nonce.

The owner hierarchy has the policy PolicySigned (TCG TPM 2.0 Library Part 3, 23.3) of a grant key. Whoever holds that
key allows a command by signing the nonce and the command's cpHash (Part 1, 16.7), and need not tell the authorisation
value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tpm2_pytss import ESYS_TR, TPM2_ALG, TPM2_CAP, TPM2_SE, TPM2B_DATA, TPMA_SESSION, TPMT_SIG_SCHEME

from drivers.tpm2 import _policy, _seal, _templates
from drivers.tpm2._tpm import Tpm, refusing
from hal import AuthorisationFailed, Grant, OwnershipProof

PERMANENT = 0x200
"""TPM_PT_PERMANENT (Part 2, 6.13), of type TPMA_PERMANENT (8.6)."""
_GONE_SESSION = frozenset({0x084, 0x08B, 0x09F, 0x0A2, 0x0A3, 0x910, 0x918})
_BAD_GRANT = frozenset({0x084, 0x09B, 0x09D, 0x09F, 0x0A1, 0x0A4})


@dataclass(frozen=True)
class Pending:
    """A command that waits for its grant, and the saved session that it will be given in; `plan` is the caller's."""

    command: bytes
    nonce: bytes
    context: Any
    plan: Any = field(default=None, repr=False)


def begin(tpm: Tpm, command: bytes, plan: Any = None) -> Pending:
    """Start the session and put it aside: it takes no slot meanwhile. An earlier one is given up."""
    forget(tpm)
    with tpm.storage_root() as root:
        session = tpm.started(root, 0, TPM2_SE.POLICY)
        nonce = bytes(tpm.esys.trsess_get_nonce_tpm(session))
        waiting = Pending(command, nonce, tpm.esys.context_save(session), plan)
    tpm.pending_grant = waiting
    return waiting


def pending(tpm: Tpm, command: bytes | None = None) -> Pending:
    """What waits, once; raises `AuthorisationFailed` when that is nothing, or another command than `command`."""
    found, tpm.pending_grant = tpm.pending_grant, None
    if not isinstance(found, Pending) or (command is not None and found.command != command):
        raise _none_begun()
    return found


@contextmanager
def granted(tpm: Tpm, waiting: Pending, grant_key: bytes, grant: Grant) -> Iterator[Any]:
    """A session that authorises the one command by the owner; raises `AuthorisationFailed`, before it or in it."""
    with refusing(_BAD_GRANT, _bad_grant()):
        with refusing(_GONE_SESSION, _none_begun()):
            session = tpm.esys.context_load(waiting.context)
        with tpm.flushed(session):
            signer = tpm.esys.load_external(_templates.approving_key(grant_key), hierarchy=ESYS_TR.NULL)
            with tpm.flushed(signer):
                tpm.esys.policy_signed(
                    signer,
                    session,
                    auth=_seal.ecdsa(grant.signature),
                    nonce_tpm=waiting.nonce,
                    cp_hash_a=waiting.command,
                    policy_ref=_policy.OWNER_REFERENCE,
                    expiration=0,
                )
            yield session


def forget(tpm: Tpm) -> None:
    """Give up what waits: a TPM keeps account of sessions that lie saved, too."""
    waiting, tpm.pending_grant = tpm.pending_grant, None
    if waiting is not None:
        with tpm.flushed(tpm.esys.context_load(waiting.context)):
            pass


def allow(tpm: Tpm, grant_key: bytes) -> None:
    """TPM2_SetPrimaryPolicy of the owner hierarchy, by the owner's authorisation."""
    policy = _policy.owner_policy(bytes(_templates.approving_key(grant_key).get_name()))
    with tpm.salted(0) as session:
        tpm.esys.set_primary_policy(ESYS_TR.OWNER, policy, TPM2_ALG.SHA256, session1=session)


def certify(tpm: Tpm, qualifying: bytes) -> OwnershipProof:
    """TPM2_GetCapability of TPMA_PERMANENT in an audit session, whose digest the AK certifies (Part 3, 18.5)."""
    with tpm.salted(TPMA_SESSION.AUDIT) as audit:
        _, found = tpm.esys.get_capability(TPM2_CAP.TPM_PROPERTIES, PERMANENT, 1, session1=audit)
        value = int(found.data.tpmProperties[0].value)
        with tpm.attestation_key() as (ak, _):
            attest, signature = tpm.esys.get_session_audit_digest(
                ak,
                audit,
                TPM2B_DATA(qualifying),
                TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL),
                session1=ESYS_TR.PASSWORD,
                session2=ESYS_TR.PASSWORD,
            )
            return OwnershipProof(bytes(attest), signature.marshal(), value)


def _none_begun() -> AuthorisationFailed:
    return AuthorisationFailed(
        "no such command of the owner was begun, or the TPM was reset since", remedy="Begin it anew."
    )


def _bad_grant() -> AuthorisationFailed:
    return AuthorisationFailed(
        "the command is not allowed by the holder of the TPM's owner authorisation, for this nonce",
        remedy="Begin it anew; if it stays refused, the TPM has another owner: join again with --rejoin.",
    )
