"""Joining: a token, an endorsed TPM, and an attestation key proved to live in that TPM.

Where the policy allows it, an enclave that attests to nothing joins by the statements of its identity key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from authority import audit, profiles, references, scheduler, stale
from authority.admitting import (
    allowed_kind,
    check_identity,
    check_lab,
    check_side,
    find_token,
    identified,
    refuse_token,
)
from authority.attesting import (
    ClockWentBack,
    RegistrationUnreadable,
    StateChanged,
    check_quote,
    register_texts,
)
from authority.ca_renewal import note_trust
from authority.enclaves import check_key, verify_statement
from authority.keys import replace_lost
from authority.pki import CertificateAuthority, RequestRefused, request_key, thumbprint
from authority.references import Kind
from authority.refusal import Refused
from authority.runtime import Push, Runtime
from authority.store import schema
from authority.tpm import (
    CertifiedUse,
    Credential,
    Quote,
    TpmFormatError,
    TpmRejected,
    make_credential,
    verify_quote,
)
from authority.tpm import name as tpm_name
from protocol.codec import decode, encode
from protocol.digests import join_digest, renew_digest
from protocol.levels import EnclaveKind, NodeState, Ownership
from protocol.messages import (
    PROTOCOL_VERSION,
    JoinChallenge,
    JoinProof,
    JoinRequest,
    JoinResult,
    Nonce,
    NonceRequest,
    RenewRequest,
    RenewResult,
)
from protocol.problems import ErrorCode
from protocol.tokens import JoinToken

JOIN_S = 120.0
NONCE_S = 60.0
RENEW_PURPOSE = "renew"
_JOIN_AGAIN = (
    "Join again with a new token. A node that was away for long may have been retired meanwhile: "
    "everybody enrols there anew."
)
_ANONYMOUS = "anonymous"
_OF_CERTIFICATE = select(schema.node).where(schema.node.c.certificate_sha256 == bindparam("certificate"))
_NONCE = schema.nonce.c
_TAKE_NONCE = (
    update(schema.nonce)
    .where((_NONCE.value == bindparam("nonce")) & (_NONCE.node_id == bindparam("node")))
    .where((_NONCE.purpose == bindparam("for")) & _NONCE.used_at.is_(None) & (_NONCE.expires_at > bindparam("now")))
    .values(used_at=bindparam("now"))
)
"""Made once, for every request asks these."""


def create_join_token(
    conn: Connection, rt: Runtime, name: str, *, lab: bool, ttl: float, ca_sha256: str, now: float
) -> str:
    """A one-time token that lets one node join under `name`; only the hash of its secret is stored."""
    token = JoinToken(rt.random(32), ca_sha256)
    row = {"lookup": token.lookup, "name": name, "lab": lab, "created_at": now, "expires_at": now + ttl}
    conn.execute(insert(schema.join_token).values(**row))
    return token.format()


def start_join(
    conn: Connection,
    rt: Runtime,
    request: JoinRequest,
    roots: Sequence[x509.Certificate],
    lab_roots: Sequence[x509.Certificate],
    now: float,
) -> JoinChallenge:
    """Check token, name, endorsement and devices; answer with MakeCredential. Raises `Refused`."""
    if request.version != PROTOCOL_VERSION:
        raise Refused(ErrorCode.MALFORMED, 400, f"protocol version {request.version} is not spoken here")
    token = find_token(conn, request, now)
    kind = allowed_kind(conn, rt, request, now)
    node_id, lab_only = identified(conn, kind, request, roots, lab_roots, now)
    check_lab(conn, request, token, lab_only=lab_only, now=now)
    check_identity(conn, request, node_id, token, now)
    check_side(conn, node_id, lab=token.lab)
    nonce, join_id = rt.random(32), rt.random(16).hex()
    try:
        request_key(request.csr)
        secret, credential = _credential(rt, kind, request)
    except (RequestRefused, TpmFormatError) as error:
        raise Refused(ErrorCode.MALFORMED, 400, str(error)) from None
    conn.execute(delete(schema.join_attempt).where(schema.join_attempt.c.expires_at <= now))
    conn.execute(
        insert(schema.join_attempt).values(
            id=join_id,
            token=token.lookup,
            request=encode(msgspec.structs.replace(request, token="")).decode(),  # the secret is not kept
            node_id=node_id,
            secret_sha256=hashlib.sha256(secret).hexdigest(),
            nonce=nonce,
            expires_at=now + JOIN_S,
        )
    )
    return JoinChallenge(
        join_id=join_id,
        credential_blob=credential.blob,
        encrypted_secret=credential.encrypted_secret,
        nonce=nonce,
        pcr_selection=[*rt.policy.attestation.pcr_selection] if kind is EnclaveKind.TPM2 else [],
    )


def finish_join(
    conn: Connection, rt: Runtime, ca: CertificateAuthority, join_id: str, proof: JoinProof, now: float
) -> tuple[JoinResult, list[Push]]:
    """Check that EK and AK share a TPM, or that the identity key answers, and register the node.

    Every attempt is good once. Raises `Refused`.

    A node that joins again gets its keys anew, for its new delivery key.
    """
    attempt = conn.execute(select(schema.join_attempt).where(schema.join_attempt.c.id == join_id)).first()
    conn.execute(delete(schema.join_attempt).where(schema.join_attempt.c.id == join_id))
    if attempt is None or attempt.expires_at <= now:
        raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such attempt to join", "Run `keyvigil join` again.")
    request = decode(attempt.request, JoinRequest)
    quote = _check_proof(conn, rt, attempt, request, proof, now)
    token = conn.execute(select(schema.join_token).where(schema.join_token.c.lookup == attempt.token)).one()
    check_identity(conn, request, attempt.node_id, token, now)
    check_side(conn, attempt.node_id, lab=token.lab)
    _use_token(conn, token, now)
    certificate = ca.issue_node(request.csr, request.name, attempt.node_id, now, rt.policy.certificate.lifetime_s)
    _register(conn, rt, _Joined(attempt.node_id, token.lab, request, proof, quote, certificate), now)
    result = JoinResult(
        node_id=attempt.node_id,
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        ca=ca.certificate_pem,
        kos_public=ca.kos_public,
    )
    return result, replace_lost(conn, rt, attempt.node_id, now)


def issue_nonce(conn: Connection, rt: Runtime, request: NonceRequest, now: float) -> Nonce:
    """A nonce for a renewal; given for any id, so that nobody learns which nodes exist."""
    value = rt.random(32)
    row = {"value": value.hex(), "node_id": request.node_id[:64], "purpose": RENEW_PURPOSE}
    conn.execute(insert(schema.nonce).values(**row, expires_at=now + NONCE_S))
    return Nonce(nonce=value, pcr_selection=[*rt.policy.attestation.pcr_selection], expires_at=now + NONCE_S)


def renew(conn: Connection, rt: Runtime, ca: CertificateAuthority, request: RenewRequest, now: float) -> RenewResult:
    """A new client certificate for a node that quotes by its AK over the request. Raises `Refused`."""
    refused = Refused(ErrorCode.ATTESTATION_REJECTED, 403, "the renewal is refused", _JOIN_AGAIN)
    node = conn.execute(select(schema.node).where(schema.node.c.id == request.node_id)).first()
    fresh = take_nonce(conn, request.nonce, request.node_id, RENEW_PURPOSE, now)
    if node is None or node.state in {NodeState.BANNED, NodeState.RETIRED} or not fresh:
        cause = "stale nonce" if node is not None and not fresh else "unknown or banned node"
        audit.append(conn, "renewal-refused", _ANONYMOUS, node.id if node else None, {"cause": cause}, now)
        raise refused
    digest = renew_digest(request.node_id, request.nonce, request.csr)
    try:
        check_quote(conn, rt, node, request.quote, digest, now)
        certificate = ca.issue_node(request.csr, node.name, node.id, now, rt.policy.certificate.lifetime_s)
    except (TpmRejected, StateChanged, ClockWentBack, RequestRefused) as error:
        audit.append(conn, "renewal-refused", node.id, node.id, {"cause": str(error)}, now)
        raise refused from None
    except RegistrationUnreadable as error:
        audit.append(conn, "renewal-undecided", "authority", node.id, {"cause": str(error)}, now)
        detail = "the authority cannot read this node's registration"
        raise Refused(ErrorCode.UNAVAILABLE, 503, detail, "Tell the operator; join again if it stays so.") from None
    until = certificate.not_valid_after_utc.timestamp()
    if request.trusts:
        note_trust(conn, node.id, request.trusts, now)
    values = {"certificate_sha256": thumbprint(certificate), "certificate_not_after": until}
    conn.execute(update(schema.node).where(schema.node.c.id == node.id).values(**values))
    audit.append(conn, "renewed", node.id, node.id, {"certificate": values["certificate_sha256"]}, now)
    return RenewResult(certificate=certificate.public_bytes(Encoding.PEM).decode())


def node_of_certificate(conn: Connection, certificate_sha256: str, now: float) -> Row[Any] | None:
    """The node that this client certificate was last issued to, unless it is expired, banned or retired."""
    row = conn.execute(_OF_CERTIFICATE, {"certificate": certificate_sha256}).first()
    if row is None or row.certificate_not_after <= now or row.state in {NodeState.BANNED, NodeState.RETIRED}:
        return None
    return row


def take_nonce(conn: Connection, nonce: bytes, node_id: str, purpose: str, now: float) -> bool:
    """Use a nonce up: true if it was given to this node for this purpose, unused and unexpired."""
    named = {"nonce": nonce.hex(), "node": node_id, "for": purpose, "now": now}
    return conn.execute(_TAKE_NONCE, named).rowcount == 1


def _credential(rt: Runtime, kind: EnclaveKind, request: JoinRequest) -> tuple[bytes, Credential]:
    """A secret, and MakeCredential over it; both empty where there is no EK that could open it."""
    if kind is not EnclaveKind.TPM2:
        return b"", Credential(b"", b"")
    secret = rt.random(32)
    return secret, make_credential(request.ek_public, tpm_name(request.ak_public), secret, rt.random)


def _check_proof(
    conn: Connection, rt: Runtime, attempt: Row[Any], request: JoinRequest, proof: JoinProof, now: float
) -> Quote | None:
    """What the proof shows of the machine; nothing, if it is a statement. Raises `Refused`."""
    digest = join_digest(attempt.id, attempt.nonce, request.csr)
    given = hashlib.sha256(proof.secret).hexdigest()
    try:
        if not hmac.compare_digest(given, attempt.secret_sha256):
            raise Refused(ErrorCode.ATTESTATION_REJECTED, 403, "the credential was not activated")
        quote = _proved(rt, request, proof, digest)
        check_key(request.enclave_kind, request.ak_public, proof.delivery_key, digest, CertifiedUse.AGREE)
    except (TpmRejected, Refused) as error:
        audit.append(conn, "join-refused", _ANONYMOUS, None, {"name": request.name, "cause": str(error)}, now)
        raise Refused(
            ErrorCode.ATTESTATION_REJECTED,
            403,
            f"the node's proof is not accepted: {error}",
            "Run `keyvigil join` again.",
        ) from None
    return quote


def _proved(rt: Runtime, request: JoinRequest, proof: JoinProof, digest: bytes) -> Quote | None:
    quote, kind = proof.quote, EnclaveKind(request.enclave_kind)
    if kind is not EnclaveKind.TPM2:
        verify_statement(kind, request.ak_public, quote, digest)
        return None
    selection = rt.policy.attestation.pcr_selection
    return verify_quote(quote.attest, quote.signature, request.ak_public, digest, selection, quote.pcrs)


def _use_token(conn: Connection, token: Row[Any], now: float) -> None:
    unused = (schema.join_token.c.lookup == token.lookup) & schema.join_token.c.used_at.is_(None)
    if conn.execute(update(schema.join_token).where(unused).values(used_at=now)).rowcount != 1:
        refuse_token(conn, token.name, "token used meanwhile", now)


@dataclass(frozen=True)
class _Joined:
    """All that a node's row is made of."""

    node_id: str
    lab: bool
    request: JoinRequest
    proof: JoinProof
    quote: Quote | None
    certificate: x509.Certificate

    def values(self) -> dict[str, Any]:
        """Columns that every joining sets anew; the PCR values are trusted on this first use."""
        return {
            "name": self.request.name,
            "lab": self.lab,
            "enclave_kind": self.request.enclave_kind,
            "ek_public": self.request.ek_public,
            "ak_public": self.request.ak_public,
            "delivery_public": self.proof.delivery_key.public,
            "certificate_sha256": thumbprint(self.certificate),
            "certificate_not_after": self.certificate.not_valid_after_utc.timestamp(),
            "reference_pcrs": encode(self.reference()).decode(),
            "devices": encode(self.request.devices).decode(),
            "reset_count": self.quote.clock.reset_count if self.quote else 0,
            "clock": self.quote.clock.clock if self.quote else 0,
        }

    def reference(self) -> dict[str, str]:
        """PCR index to value, both as JSON has them; none where nothing was quoted."""
        return register_texts(self.quote.pcrs if self.quote else {})


def _register(conn: Connection, rt: Runtime, joined: _Joined, now: float) -> None:
    mine = schema.node.c.id == joined.node_id
    known = conn.execute(select(schema.node).where(mine)).first()
    if known is None:
        row = {**joined.values(), "id": joined.node_id, "state": NodeState.PENDING.value, "joined_at": now}
        conn.execute(insert(schema.node).values(**row))
        scheduler.add_schedule(conn, joined.node_id, now)
    else:
        again: dict[str, Any] = {"ownership": _ownership_after(known.ownership)}
        if known.state == NodeState.RETIRED:  # one that may return: `check_identity` let it pass
            again |= stale.take_back(conn, known, now)
        conn.execute(update(schema.node).where(mine).values(**joined.values(), **again))
        if known.ak_public != joined.request.ak_public:
            cause = "joined again with another attestation key"
            profiles.revoke_all(conn, known.id, known.id, cause, now)
    if joined.quote is not None:
        references.learn(conn, joined.node_id, Kind.PCRS, joined.reference(), now, afresh=True)
    detail = {"name": joined.request.name, "lab": joined.lab, "reference_pcrs": joined.reference()}
    detail |= {"policy": rt.policy.version, "enclave": joined.request.enclave_kind}
    audit.append(conn, "joined" if known is None else "re-joined", joined.node_id, joined.node_id, detail, now)


def _ownership_after(known: str) -> str:
    """Whose a TPM is taken for when it joins again: an operator's token lets one be taken that was not to be had."""
    again = {Ownership.LOST.value, Ownership.FOREIGN.value}
    return Ownership.NONE.value if known in again else known
