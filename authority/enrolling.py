"""Enrolling administrators: a one-time ticket with its PIN, a profile key certified by the node's AK, an approval."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import UnsetType
from sqlalchemy import Connection, Row, exists, insert, select, update

from authority import approvals, audit, consent, owning, profiles, releases
from authority.admitting import VIRTUAL
from authority.alerts import raise_alert
from authority.enclaves import check_key
from authority.joining import create_join_token
from authority.keys.sealing import DeliveryKeyUnusable
from authority.refusal import Refused
from authority.runtime import Push, Runtime
from authority.store import schema
from authority.tpm import (
    CertificationRejected,
    CertifiedUse,
    Guard,
    Reason,
    TpmRejected,
    counter_index,
    reset_message,
    verify_guard,
    verify_guarded_key,
    verify_nv,
)
from protocol.codec import ProtocolViolation, encode
from protocol.digests import enrol_digest
from protocol.guard import FLOOR_LABEL, PIN_LIMIT
from protocol.levels import EnclaveKind, Ownership
from protocol.messages import EnrolFinish, EnrolResult, EnrolSession, EnrolStart, ResetGrant, ResetRequest
from protocol.problems import ErrorCode
from protocol.release import SHARE_BYTES, enrolment_release_info
from protocol.tokens import Ticket, parse_ticket

__all__ = [
    "approve",
    "create_join_token",
    "create_ticket",
    "finish_enrolment",
    "revoke_profile",
    "start_enrolment",
]

PIN_DIGITS = 8
PIN_TRIES = 5
ENROLMENT_S = 900.0
_CAMERA = "camera"


@dataclass(frozen=True)
class DrawnTicket:
    """A ticket and its PIN (8 digits), which are given once, and the PIN's salt and hash, which are stored."""

    ticket: Ticket = field(repr=False)
    pin: str = field(repr=False)
    salt: bytes = field(repr=False)
    pin_hash: bytes = field(repr=False)


def draw_ticket(rt: Runtime) -> DrawnTicket:
    """A ticket that nobody has yet; hashing its PIN takes some 50 ms, so that many are drawn outside a transaction."""
    ticket = Ticket(rt.random(8).hex(), rt.random(32))
    pin = f"{int.from_bytes(rt.random(16), 'big') % 10**PIN_DIGITS:0{PIN_DIGITS}d}"
    salt = rt.random(16)
    return DrawnTicket(ticket, pin, salt, _pin_hash(pin, salt))


def create_ticket(
    conn: Connection, rt: Runtime, admin: str, node_id: str, ttl: float, now: float, drawn: DrawnTicket | None = None
) -> tuple[str, str]:
    """A ticket and its PIN for an administrator to enrol at a node; only their hashes are stored. Raises `Refused`."""
    known = conn.execute(select(schema.administrator).where(schema.administrator.c.name == admin)).first()
    if known is None:
        conn.execute(insert(schema.administrator).values(name=admin, created_at=now))
    elif known.revoked_at is not None:
        detail, remedy = f"the administrator {admin!r} is revoked", "Let them in again with `admin readmit`."
        raise Refused(ErrorCode.CONFLICT, 409, detail, remedy)
    drawn = drawn or draw_ticket(rt)
    conn.execute(
        insert(schema.ticket).values(
            id=drawn.ticket.ticket_id,
            admin=admin,
            node_id=node_id,
            lookup=drawn.ticket.lookup,
            pin_salt=drawn.salt,
            pin_hash=drawn.pin_hash,
            tries_left=PIN_TRIES,
            expires_at=now + ttl,
        )
    )
    return drawn.ticket.format(), drawn.pin


def start_enrolment(conn: Connection, rt: Runtime, node_id: str, request: EnrolStart, now: float) -> EnrolSession:
    """Use the ticket up and open an enrolment; raises `Refused` in the same words for ticket and PIN."""
    node = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()
    owning.check_enrollable(rt, node)
    row = _check_ticket(conn, node_id, request, now)
    conn.execute(update(schema.ticket).where(schema.ticket.c.id == row.id).values(used_at=now))
    replaces = _replaced(conn, node_id, request)
    record_id, enrolment_id = rt.random(16).hex(), rt.random(16).hex()
    nonce, share = rt.random(32), rt.random(SHARE_BYTES)
    sealed = _sealed_share(node, share, enrolment_release_info(node_id, record_id, enrolment_id, nonce))
    conn.execute(
        insert(schema.profile).values(
            record_id=record_id,
            enrolment_id=enrolment_id,
            node_id=node_id,
            admin=row.admin,
            state=profiles.OPEN,
            nonce=nonce,
            release_share=releases.wrap(rt, record_id, releases.FIRST, share),
            share_number=releases.FIRST,
            replaces=replaces,
            created_at=now,
            expires_at=now + ENROLMENT_S,
        )
    )
    version, text = consent.offered(rt.policy)
    audit.append(conn, "enrolment-opened", node_id, node_id, {"admin": row.admin, "record": record_id}, now)
    return EnrolSession(
        enrolment_id=enrolment_id,
        nonce=nonce,
        record_id=record_id,
        sealed_share=sealed,
        approval_key=approvals.approval_point(rt),
        modalities=[*rt.policy.enrolment.modalities],
        consent_version=version,
        consent_text=text,
        expires_at=now + ENROLMENT_S,
        granted=node.ownership == Ownership.TAKEN,
    )


def finish_enrolment(
    conn: Connection, rt: Runtime, node_id: str, enrolment_id: str, request: EnrolFinish, now: float
) -> EnrolResult:
    """Register the profile's public key as `pending`; the same again gives the same answer. Raises `Refused`."""
    mine = (schema.profile.c.enrolment_id == enrolment_id) & (schema.profile.c.node_id == node_id)
    row = conn.execute(profiles.counted().where(mine)).first()
    if row is not None and row.state in {profiles.PENDING, profiles.ACTIVE} and _is_same(row, request):
        return EnrolResult(record_id=row.record_id, state=row.state)
    if row is None or row.state != profiles.OPEN or row.expires_at <= now:
        raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such open enrolment", "Enrol again with a new ticket.")
    node = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()
    _check_content(rt, request)
    _check_sensors(conn, node, request, now)
    _check_key(conn, rt, node, row, request, now)
    agreed = {"version": request.consent_version, "sha256": request.consent_sha256, "at": request.consent_at}
    values = {
        "state": profiles.PENDING,
        "public": request.profile_key.public,
        "modalities": encode(request.modalities).decode(),
        "sensors": encode(request.sensors).decode(),
        "infrared": "" if isinstance(request.infrared, UnsetType) else encode(request.infrared).decode(),
        "consent": json.dumps(agreed),
        "guard_public": b"" if isinstance(request.guard, UnsetType) else request.guard.public,
        "guard_change": b"" if isinstance(request.guard, UnsetType) else request.guard.change_key,
    }
    conn.execute(update(schema.profile).where(mine).values(**values))
    detail = {"admin": row.admin, "record": row.record_id, "modalities": [each.modality for each in request.modalities]}
    audit.append(conn, "enrolled", node_id, node_id, {**detail, "consent": agreed}, now)
    return EnrolResult(record_id=row.record_id, state=profiles.PENDING)


def check_approvable(conn: Connection, record_id: str) -> str:
    """Whose profile it is, in words; raises `Refused` for one that cannot be approved."""
    row = _profile(conn, record_id)
    if row.state not in {profiles.PENDING, profiles.ACTIVE}:
        raise Refused(ErrorCode.CONFLICT, 409, f"this profile is {row.state}", "Enrol the administrator again.")
    name = conn.scalar(select(schema.node.c.name).where(schema.node.c.id == row.node_id))
    return f"{row.admin} at {name}"


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
    return profiles.supersede(conn, _profile(conn, row.replaces), actor, now) if row.replaces else []


def revoke_profile(conn: Connection, rt: Runtime, record_id: str, actor: str, now: float) -> list[Push]:
    """Stop accepting a profile, and order its node to remove what is left of it; raises `Refused`."""
    del rt
    row = _profile(conn, record_id)
    if row.state in {profiles.REVOKED, profiles.ERASED}:
        return []
    return profiles.revoke(conn, row, actor, "by order", now)


def erase_profile(conn: Connection, rt: Runtime, record_id: str, actor: str, now: float) -> list[Push]:
    """Destroy a profile here, and order its node to do the same; raises `Refused`."""
    del rt
    return profiles.erase(conn, _profile(conn, record_id), actor, now)


def unlock_profile(conn: Connection, rt: Runtime, record_id: str, actor: str, now: float) -> list[Push]:
    """Let an administrator who failed too often try again, at the node's TPM as well; raises `Refused`."""
    del rt
    row = _profile(conn, record_id)
    if row.state != profiles.ACTIVE:
        raise Refused(ErrorCode.CONFLICT, 409, f"this profile is {row.state}", "Unlock an active one.")
    profiles.unlock(conn, row, actor, now)
    return []


def grant_reset(
    conn: Connection, rt: Runtime, node_id: str, record_id: str, request: ResetRequest, now: float
) -> ResetGrant:
    """The signature that sets a TPM's count of wrong answers to zero, once for each `unlock_profile`."""
    mine = (schema.profile.c.record_id == record_id) & (schema.profile.c.node_id == node_id)
    row = conn.execute(profiles.counted().where(mine)).first()
    if row is None or row.state != profiles.ACTIVE or row.unlocked_at is None:
        audit.append(conn, "reset-refused", node_id, node_id, {"record": record_id[:32]}, now)
        raise Refused(
            ErrorCode.TOO_MANY_TRIES,
            403,
            "the profile key is locked after too many failures",
            "An operator lifts the lock with `keyvigil-authority admin unlock`.",
        )
    if len(request.nonce) != 32 or not row.guard_public:
        raise Refused(ErrorCode.MALFORMED, 400, "there is no such lock to lift", "Enrol the administrator again.")
    conn.execute(update(schema.profile).where(mine).values(unlocked_at=None))
    audit.append(conn, "reset-granted", "authority", node_id, {"admin": row.admin, "record": record_id}, now)
    guard = Guard(record_id, approvals.approval_point(rt), row.guard_change)
    message = reset_message(request.nonce, row.guard_public, guard, PIN_LIMIT)
    return ResetGrant(signature=approvals.sign_raw(rt.approval_key, message))


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


def _replaced(conn: Connection, node_id: str, request: EnrolStart) -> str | None:
    """The record that the new one takes the place of: the same administrator's at this node, and in use."""
    if isinstance(request.replaces, UnsetType):
        return None
    row = schema.profile
    mine = (row.c.record_id == request.replaces) & (row.c.node_id == node_id) & (row.c.admin == request.admin)
    if conn.scalar(select(profiles.counted_state).where(mine)) not in {profiles.ACTIVE, profiles.PENDING}:
        raise Refused(
            ErrorCode.PROFILE_UNKNOWN,
            404,
            "there is no such profile of this administrator to renew",
            "Enrol with `keyvigil enroll` instead.",
        )
    return request.replaces


def _sealed_share(node: Row[Any], share: bytes, info: bytes) -> bytes:
    try:
        return releases.seal_first(node, share, info)
    except DeliveryKeyUnusable as error:
        raise Refused(
            ErrorCode.CONFLICT, 409, f"the node's delivery key cannot be used: {error}", "Join the node again."
        ) from None


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
    version, text = consent.offered(rt.policy)
    if (request.consent_version, request.consent_sha256) != (version, hashlib.sha256(text.encode()).hexdigest()):
        raise Refused(ErrorCode.CONFLICT, 409, "consent was given to another text", "Enrol again; read the new text.")


def _check_sensors(conn: Connection, node: Row[Any], request: EnrolFinish, now: float) -> None:
    """One sensor for each modality, in the same order, and what looks on in infrared; simulated at a lab node only."""
    if len(request.sensors) != len(request.modalities):
        raise Refused(ErrorCode.MALFORMED, 422, "there is one sensor for each modality, in the same order")
    beside = [] if isinstance(request.infrared, UnsetType) else [request.infrared]
    if any(one.kind != _CAMERA or one in request.sensors for one in beside):
        remedy = "Name another camera than the face's own under [infrared] in the node's configuration."
        raise Refused(ErrorCode.MALFORMED, 422, "the infrared camera is no second camera", remedy)
    virtual = [sensor.driver for sensor in [*request.sensors, *beside] if sensor.transport == VIRTUAL]
    if virtual and not node.lab:
        cause = f"simulated sensors: {', '.join(virtual)}"
        audit.append(conn, "enrolment-refused", node.id, node.id, {"cause": cause}, now)
        raise Refused(ErrorCode.VIRTUAL_DEVICE, 403, f"this is no lab node ({cause})", "Use real sensors.")


def _check_key(conn: Connection, rt: Runtime, node: Row[Any], row: Row[Any], request: EnrolFinish, now: float) -> None:
    """The profile key is of this node's enclave and made for this enrolment, and no profile has it yet.

    A TPM's is behind a guard of ours that nobody has tried yet, and what it seals is under a floor.
    """
    key = request.profile_key
    digest = enrol_digest(row.enrolment_id, row.record_id, row.nonce)
    try:
        if EnclaveKind(node.enclave_kind) is EnclaveKind.TPM2:
            version = _check_guarded(rt, node, row, request, digest)
            _register_floor(conn, node, request, version)
        else:
            check_key(node.enclave_kind, node.ak_public, key, digest, CertifiedUse.SIGN)
    except TpmRejected as error:
        audit.append(conn, "enrolment-refused", node.id, node.id, {"admin": row.admin, "cause": str(error)}, now)
        raise Refused(
            ErrorCode.ATTESTATION_REJECTED, 403, f"the profile key is not accepted: {error}", "Enrol again."
        ) from None
    if conn.scalar(select(exists().where(schema.profile.c.public == key.public))):
        raise Refused(ErrorCode.CONFLICT, 409, "another profile has this key already", "Enrol again.")


def _check_guarded(rt: Runtime, node: Row[Any], row: Row[Any], request: EnrolFinish, digest: bytes) -> int:
    """Value of the floor, after every check of key, guard and floor; raises `TpmRejected`."""
    key, guarded, floor = request.profile_key, request.guard, request.floor
    if isinstance(guarded, UnsetType) or isinstance(floor, UnsetType):
        raise CertificationRejected(Reason.UNFIT_OBJECT, "a TPM's profile key without a guard and a floor")
    guard = Guard(row.record_id, approvals.approval_point(rt), guarded.change_key)
    ak = node.ak_public
    verify_guarded_key(key.attest, key.signature, ak, digest, key.public, guarded.public, guard)
    count = verify_guard(guarded.attest, guarded.signature, ak, digest, guarded.public, guard)
    if (count.failures, count.limit) != (0, PIN_LIMIT):
        raise CertificationRejected(Reason.UNFIT_OBJECT, f"a guard with {count.failures} of {count.limit} failures")
    held = verify_nv(floor.attest, floor.signature, ak, digest, floor.public, counter_index(FLOOR_LABEL))
    return int.from_bytes(held, "big")


def _register_floor(conn: Connection, node: Row[Any], request: EnrolFinish, value: int) -> None:
    """The version of approvals goes on from where the node's counter is."""
    floor = b"" if isinstance(request.floor, UnsetType) else request.floor.public
    values = {"floor_public": floor, "state_version": max(node.state_version, value)}
    conn.execute(update(schema.node).where(schema.node.c.id == node.id).values(**values))


def _profile(conn: Connection, record_id: str) -> Row[Any]:
    row = conn.execute(profiles.counted().where(schema.profile.c.record_id == record_id)).first()
    if row is None:
        raise Refused(ErrorCode.PROFILE_UNKNOWN, 404, "there is no such profile", "List profiles with `admin list`.")
    return row


def _pin_hash(pin: str, salt: bytes) -> bytes:
    """scrypt (RFC 7914), about 16 MiB: eight digits must not be worth guessing from a stolen database alone."""
    return Scrypt(salt=salt, length=32, n=2**14, r=8, p=1).derive(pin.encode()[:64])
