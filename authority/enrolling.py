"""Enrolling administrators: a one-time ticket with its PIN, a profile key certified by the node's AK, an approval."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any, NoReturn

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from sqlalchemy import Connection, Row, exists, insert, select, update

from authority import audit, profiles
from authority.alerts import raise_alert
from authority.enclaves import check_key
from authority.joining import VIRTUAL, create_join_token
from authority.refusal import Refused
from authority.runtime import Push, Runtime
from authority.store import schema
from authority.tpm import CertifiedUse, TpmRejected
from authority.weak import MATCH_ONLY_MODALITIES
from protocol.codec import ProtocolViolation, encode
from protocol.digests import enrol_digest
from protocol.messages import EnrolFinish, EnrolResult, EnrolSession, EnrolStart
from protocol.problems import ErrorCode
from protocol.tokens import Ticket, parse_ticket

__all__ = [
    "CONSENT_VERSION",
    "approve",
    "consent_text",
    "create_join_token",
    "create_ticket",
    "finish_enrolment",
    "revoke_profile",
    "start_enrolment",
]

PIN_DIGITS = 8
PIN_TRIES = 5
ENROLMENT_S = 900.0
CONSENT_VERSION = "1"
CONSENT_TEXT = (
    "This machine will measure your {modalities}, and keep a template of each, encrypted, on this machine only. "
    "Nothing biometric leaves it. The authority keeps your name, this consent, and a public key. You may have the "
    "profile erased at any time."
)
MATCH_ONLY_TEXT = (
    " For {modalities} the template is kept by the reader or its service on this machine instead, "
    "which Keyvigil does not encrypt."
)


def consent_text(modalities: Sequence[str]) -> str:
    """What a person agrees to where the policy allows these modalities."""
    *others, last = modalities
    text = CONSENT_TEXT.format(modalities=f"{', '.join(others)} and {last}" if others else last)
    kept = [name for name in modalities if name in MATCH_ONLY_MODALITIES]
    return text + MATCH_ONLY_TEXT.format(modalities=", ".join(kept)) if kept else text


def create_ticket(conn: Connection, rt: Runtime, admin: str, node_id: str, ttl: float, now: float) -> tuple[str, str]:
    """A ticket and its PIN (8 digits) for an administrator to enrol at a node; only their hashes are stored."""
    known = conn.execute(select(schema.administrator).where(schema.administrator.c.name == admin)).first()
    if known is None:
        conn.execute(insert(schema.administrator).values(name=admin, created_at=now))
    elif known.revoked_at is not None:
        raise Refused(ErrorCode.CONFLICT, 409, f"the administrator {admin!r} is revoked")
    ticket = Ticket(rt.random(8).hex(), rt.random(32))
    pin = f"{int.from_bytes(rt.random(16), 'big') % 10**PIN_DIGITS:0{PIN_DIGITS}d}"
    salt = rt.random(16)
    conn.execute(
        insert(schema.ticket).values(
            id=ticket.ticket_id,
            admin=admin,
            node_id=node_id,
            lookup=ticket.lookup,
            pin_salt=salt,
            pin_hash=_pin_hash(pin, salt),
            tries_left=PIN_TRIES,
            expires_at=now + ttl,
        )
    )
    return ticket.format(), pin


def start_enrolment(conn: Connection, rt: Runtime, node_id: str, request: EnrolStart, now: float) -> EnrolSession:
    """Use the ticket up and open an enrolment; raises `Refused` in the same words for ticket and PIN."""
    row = _check_ticket(conn, node_id, request, now)
    conn.execute(update(schema.ticket).where(schema.ticket.c.id == row.id).values(used_at=now))
    record_id, enrolment_id = rt.random(16).hex(), rt.random(16).hex()
    nonce, share = rt.random(32), rt.random(profiles.SHARE_BYTES)
    conn.execute(
        insert(schema.profile).values(
            record_id=record_id,
            enrolment_id=enrolment_id,
            node_id=node_id,
            admin=row.admin,
            state=profiles.OPEN,
            nonce=nonce,
            release_share=profiles.wrap_share(rt, record_id, share),
            created_at=now,
            expires_at=now + ENROLMENT_S,
        )
    )
    audit.append(conn, "enrolment-opened", node_id, node_id, {"admin": row.admin, "record": record_id}, now)
    return EnrolSession(
        enrolment_id=enrolment_id,
        nonce=nonce,
        record_id=record_id,
        release_share=share,
        modalities=[*rt.policy.enrolment.modalities],
        consent_version=CONSENT_VERSION,
        consent_text=consent_text(rt.policy.enrolment.modalities),
        expires_at=now + ENROLMENT_S,
    )


def finish_enrolment(
    conn: Connection, rt: Runtime, node_id: str, enrolment_id: str, request: EnrolFinish, now: float
) -> EnrolResult:
    """Register the profile's public key as `pending`; the same again gives the same answer. Raises `Refused`."""
    mine = (schema.profile.c.enrolment_id == enrolment_id) & (schema.profile.c.node_id == node_id)
    row = conn.execute(select(schema.profile).where(mine)).first()
    if row is not None and row.state in {profiles.PENDING, profiles.ACTIVE} and _is_same(row, request):
        return EnrolResult(record_id=row.record_id, state=row.state)
    if row is None or row.state != profiles.OPEN or row.expires_at <= now:
        raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such open enrolment", "Enrol again with a new ticket.")
    node = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()
    _check_content(rt, request)
    _check_sensors(conn, node, request, now)
    _check_key(conn, node, row, request, now)
    consent = {"version": request.consent_version, "sha256": request.consent_sha256, "at": request.consent_at}
    values = {
        "state": profiles.PENDING,
        "public": request.profile_key.public,
        "modalities": encode(request.modalities).decode(),
        "sensors": encode(request.sensors).decode(),
        "consent": json.dumps(consent),
    }
    conn.execute(update(schema.profile).where(mine).values(**values))
    detail = {"admin": row.admin, "record": row.record_id, "modalities": [each.modality for each in request.modalities]}
    audit.append(conn, "enrolled", node_id, node_id, {**detail, "consent": consent}, now)
    return EnrolResult(record_id=row.record_id, state=profiles.PENDING)


def approve(conn: Connection, rt: Runtime, record_id: str, actor: str, now: float) -> list[Push]:
    """Let a pending profile answer challenges; raises `Refused`."""
    del rt
    row = _profile(conn, record_id)
    if row.state == profiles.ACTIVE:
        return []
    if row.state != profiles.PENDING:
        raise Refused(ErrorCode.CONFLICT, 409, f"this profile is {row.state}", "Enrol the administrator again.")
    values = {"state": profiles.ACTIVE, "approved_at": now, "approved_by": actor}
    conn.execute(update(schema.profile).where(schema.profile.c.record_id == record_id).values(**values))
    audit.append(conn, "approved", actor, row.node_id, {"admin": row.admin, "record": record_id}, now)
    return []


def revoke_profile(conn: Connection, rt: Runtime, record_id: str, actor: str, now: float) -> list[Push]:
    """Stop accepting a profile; raises `Refused`."""
    del rt
    row = _profile(conn, record_id)
    if row.state != profiles.REVOKED:
        profiles.revoke(conn, row, actor, "by order", now)
    return []


def _check_ticket(conn: Connection, node_id: str, request: EnrolStart, now: float) -> Row[Any]:
    try:
        ticket = parse_ticket(request.ticket)
    except ProtocolViolation as error:
        raise Refused(ErrorCode.MALFORMED, 400, str(error)) from None
    row = conn.execute(select(schema.ticket).where(schema.ticket.c.id == ticket.ticket_id)).first()
    cause = _ticket_flaw(row, ticket, node_id, request.admin, now)
    if row is None or cause:
        _refuse_ticket(conn, node_id, request.admin, cause, now)
    if row.tries_left <= 0:
        _audit_ticket(conn, node_id, request.admin, "too many wrong PINs", now)
        raise Refused(ErrorCode.TOO_MANY_TRIES, 403, "this ticket saw too many wrong PINs", "Ask for a new ticket.")
    if not _is_pin(request.pin, row):
        tries = schema.ticket.c.tries_left
        conn.execute(update(schema.ticket).where(schema.ticket.c.id == row.id).values(tries_left=tries - 1))
        if row.tries_left == 1:
            text = f"{request.admin}: {PIN_TRIES} wrong PINs for one ticket"
            raise_alert(conn, "warning", "ticket-dead", node_id, text, {"admin": row.admin}, now)
        _refuse_ticket(conn, node_id, request.admin, "wrong PIN", now)
    return row


def _is_pin(pin: str, row: Row[Any]) -> bool:
    """Whether it is the ticket's PIN, and spelt as it was given: HMAC pads its key with zeros (RFC 2104, section 2)."""
    return hmac.compare_digest(_pin_hash(pin, row.pin_salt), row.pin_hash) and "\0" not in pin


def _ticket_flaw(row: Row[Any] | None, ticket: Ticket, node_id: str, admin: str, now: float) -> str:
    if row is None or not hmac.compare_digest(row.lookup, ticket.lookup):
        return "unknown ticket"
    if row.used_at is not None:
        return "ticket used before"
    if row.expires_at <= now:
        return "ticket expired"
    return "" if (row.node_id, row.admin) == (node_id, admin) else "ticket of another node or administrator"


def _refuse_ticket(conn: Connection, node_id: str, admin: str, cause: str, now: float) -> NoReturn:
    _audit_ticket(conn, node_id, admin, cause, now)
    raise Refused(
        ErrorCode.TICKET_INVALID,
        403,
        "the ticket or its PIN is not valid",
        "Ask an operator for a new one: `admin ticket`.",
    )


def _audit_ticket(conn: Connection, node_id: str, admin: str, cause: str, now: float) -> None:
    audit.append(conn, "enrolment-refused", node_id, node_id, {"admin": admin[:63], "cause": cause}, now)


def _is_same(row: Row[Any], request: EnrolFinish) -> bool:
    """Whether an enrolment that was registered is sent again, as after an answer that was lost."""
    key = hmac.compare_digest(row.public, request.profile_key.public)
    return key and row.modalities == encode(request.modalities).decode()


def _check_content(rt: Runtime, request: EnrolFinish) -> None:
    names = [each.modality for each in request.modalities]
    least = rt.policy.challenge.min_modalities
    if len(set(names)) != len(names) or len(names) < least:
        raise Refused(ErrorCode.MALFORMED, 422, f"a profile needs at least {least} different modalities")
    allowed = rt.policy.enrolment.modalities
    if not {*names} <= {*allowed}:
        raise Refused(ErrorCode.MALFORMED, 422, f"the modalities are {', '.join(allowed)}")
    for each in request.modalities:
        if objection := rt.policy.enrolment.objection(each.modality, each.traits_known):
            remedy = (
                "Set the options of the modality in the node's configuration as the policy demands "
                "(docs/agent.md names them), and enrol again."
            )
            raise Refused(ErrorCode.CONFLICT, 409, f"the policy does not take this profile: {objection}", remedy)
    consent = hashlib.sha256(consent_text(allowed).encode()).hexdigest()
    if request.consent_version != CONSENT_VERSION or request.consent_sha256 != consent:
        raise Refused(ErrorCode.CONFLICT, 409, "consent was given to another text", "Enrol again; read the new text.")


def _check_sensors(conn: Connection, node: Row[Any], request: EnrolFinish, now: float) -> None:
    """One sensor for each modality, in the same order; a simulated one at a lab node only."""
    if len(request.sensors) != len(request.modalities):
        raise Refused(ErrorCode.MALFORMED, 422, "there is one sensor for each modality, in the same order")
    virtual = [sensor.driver for sensor in request.sensors if sensor.transport == VIRTUAL]
    if virtual and not node.lab:
        cause = f"simulated sensors: {', '.join(virtual)}"
        audit.append(conn, "enrolment-refused", node.id, node.id, {"cause": cause}, now)
        raise Refused(ErrorCode.VIRTUAL_DEVICE, 403, f"this is no lab node ({cause})", "Use real sensors.")


def _check_key(conn: Connection, node: Row[Any], row: Row[Any], request: EnrolFinish, now: float) -> None:
    """The profile key is of this node's enclave and made for this enrolment, and no profile has it yet."""
    key = request.profile_key
    digest = enrol_digest(row.enrolment_id, row.record_id, row.nonce)
    try:
        check_key(node.enclave_kind, node.ak_public, key, digest, CertifiedUse.SIGN)
    except TpmRejected as error:
        audit.append(conn, "enrolment-refused", node.id, node.id, {"admin": row.admin, "cause": str(error)}, now)
        raise Refused(
            ErrorCode.ATTESTATION_REJECTED, 403, f"the profile key is not accepted: {error}", "Enrol again."
        ) from None
    if conn.scalar(select(exists().where(schema.profile.c.public == key.public))):
        raise Refused(ErrorCode.CONFLICT, 409, "another profile has this key already", "Enrol again.")


def _profile(conn: Connection, record_id: str) -> Row[Any]:
    row = conn.execute(select(schema.profile).where(schema.profile.c.record_id == record_id)).first()
    if row is None:
        raise Refused(ErrorCode.PROFILE_UNKNOWN, 404, "there is no such profile", "List profiles with `admin list`.")
    return row


def _pin_hash(pin: str, salt: bytes) -> bytes:
    """scrypt (RFC 7914), about 16 MiB: eight digits must not be worth guessing from a stolen database alone."""
    return Scrypt(salt=salt, length=32, n=2**14, r=8, p=1).derive(pin.encode()[:64])
