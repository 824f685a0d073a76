"""The authority as owner of its nodes' TPMs: it draws the authorisation values, keeps them, and allows single commands.

A node is given the values once, to set them; they are kept until it is certified that the TPM has an owner, and from
then on the node gets nothing but signatures, each of which lets its TPM take one command. What the TPM's key certifies
is that there are values, not which: that they are these is the node's word, as much as a node is trusted when it joins.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from authority import approvals, audit, owner_custody, profiles, standing
from authority.alerts import raise_alert
from authority.joining import NONCE_S, take_nonce
from authority.keys import KekError
from authority.keys.sealing import DeliveryKeyUnusable, delivery_key, seal_to
from authority.refusal import Refused
from authority.runtime import Push, Runtime
from authority.store import schema
from authority.tpm import Guard, Permanent, TpmRejected, definition_message, removal_message, verify_ownership
from protocol.codec import decode, encode
from protocol.digests import ownership_digest
from protocol.levels import EnclaveKind, Ownership
from protocol.messages import (
    IndexRequest,
    Nonce,
    OwnerGrant,
    OwnershipAnswer,
    OwnershipReport,
    RemovalRequest,
)
from protocol.ownership import VALUE_BYTES, OwnerValues, ownership_info
from protocol.problems import ErrorCode

PURPOSE = "ownership"
REFUSED = "refused"
FOREIGN_REMEDY = (
    "Clear the TPM in the firmware set-up, or have its owner take both authorisation values back "
    "(tpm2_changeauth -c owner, -c lockout); then run `keyvigil join --rejoin` with a new token."
)
LOST_REMEDY = "Run `keyvigil join --rejoin` with a new token; whoever was enrolled there enrols again."


def issue_nonce(conn: Connection, rt: Runtime, node_id: str, now: float) -> Nonce:
    """What a node's next report of its TPM's owner is over."""
    value = rt.random(32)
    row = {"value": value.hex(), "node_id": node_id, "purpose": PURPOSE}
    conn.execute(schema.nonce.insert().values(**row, expires_at=now + NONCE_S))
    return Nonce(nonce=value, pcr_selection=[], expires_at=now + NONCE_S)


def report(
    conn: Connection, rt: Runtime, node_id: str, said: OwnershipReport, now: float
) -> tuple[OwnershipAnswer, list[Push]]:
    """Note whose the TPM is, as its key certifies it, and give what the node has to set; raises `Refused`."""
    node = _node(conn, node_id)
    found = _certified(conn, node, said, now)
    before, after = Ownership(node.ownership), _settled(node, _kept(conn, node_id), found)
    if after is Ownership.TAKEN and before is not after:
        conn.execute(update(schema.tpm_owner).where(schema.tpm_owner.c.node_id == node_id).values(taken_at=now))
    pushes = _note(conn, rt, node, after, now)
    if after is not Ownership.DRAWN:
        return OwnershipAnswer(state=after), pushes
    sealed = _sealed(node, _values(conn, rt, node_id, found, now), ownership_info(node_id, said.nonce))
    return OwnershipAnswer(state=after, sealed=sealed, grant_key=approvals.approval_point(rt)), pushes


def check_enrollable(rt: Runtime, node: Row[Any]) -> None:
    """Raise `Refused` where the policy takes no profile of a node whose TPM is not the authority's."""
    kept = node.enclave_kind != EnclaveKind.TPM2 or node.ownership == Ownership.TAKEN
    if kept or rt.policy.enclaves.unowned != REFUSED:
        return
    foreign = node.ownership == Ownership.FOREIGN
    raise Refused(
        ErrorCode.CONFLICT,
        409,
        f"the policy takes no profile of a node whose TPM is not the authority's: {node.ownership}",
        FOREIGN_REMEDY if foreign else "Start the agent, which takes ownership; or join again.",
    )


def grant_index(
    conn: Connection, rt: Runtime, node_id: str, enrolment_id: str, request: IndexRequest, now: float
) -> OwnerGrant:
    """Let the node's TPM define the index of the profile key of an open enrolment; raises `Refused`."""
    row = schema.profile
    mine = (row.c.enrolment_id == enrolment_id) & (row.c.node_id == node_id) & (profiles.counted_state == profiles.OPEN)
    found = conn.execute(select(row).where(mine & (row.c.expires_at > now))).first()
    if found is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such open enrolment", "Enrol again with a new ticket.")
    guard = Guard(found.record_id, approvals.approval_point(rt), request.change_key)
    try:
        message = definition_message(request.nonce, request.initial, request.public, guard)
    except (TpmRejected, ValueError) as error:
        raise _no_grant(conn, node_id, found.record_id, str(error), now) from None
    audit.append(conn, "index-granted", "authority", node_id, {"record": found.record_id}, now)
    return OwnerGrant(signature=approvals.sign_raw(rt.approval_key, message))


def grant_removal(
    conn: Connection, rt: Runtime, node_id: str, record_id: str, request: RemovalRequest, now: float
) -> OwnerGrant:
    """Let the node's TPM remove the index of a profile that answers no more; raises `Refused`.

    An index in use stays: whoever could remove it could define it anew.
    """
    mine = (schema.profile.c.record_id == record_id) & (schema.profile.c.node_id == node_id)
    row = conn.execute(profiles.counted().where(mine)).first()
    if row is None or row.state in {profiles.ACTIVE, profiles.PENDING}:
        raise _no_grant(conn, node_id, record_id[:32], "no profile of this node that is out of use", now)
    guard = Guard(record_id, approvals.approval_point(rt), request.change_key)
    try:
        message = removal_message(request.nonce, request.public, guard)
    except (TpmRejected, ValueError) as error:
        raise _no_grant(conn, node_id, record_id, str(error), now) from None
    audit.append(conn, "index-removal-granted", "authority", node_id, {"record": record_id}, now)
    return OwnerGrant(signature=approvals.sign_raw(rt.approval_key, message))


def release_values(conn: Connection, rt: Runtime, node_id: str, actor: str, now: float) -> OwnerValues:
    """The values of a node's TPM, for maintenance; audited, and told. Raises `Refused`."""
    row = _kept(conn, node_id)
    if row is None:
        raise Refused(
            ErrorCode.NOT_FOUND, 404, "the authority holds no authorisation values of this node's TPM", "Nothing to do."
        )
    values = _opened(rt, row)
    node = _node(conn, node_id)
    audit.append(conn, "tpm-auth-released", actor, node_id, {"ownership": node.ownership}, now)
    text = f"{node.name}: the authorisation values of its TPM were handed to {actor}"
    raise_alert(conn, "warning", "tpm-auth-released", node_id, text, {"operator": actor}, now)
    return values


def _certified(conn: Connection, node: Row[Any], said: OwnershipReport, now: float) -> Permanent:
    if node.enclave_kind != EnclaveKind.TPM2:
        raise Refused(ErrorCode.MALFORMED, 400, f"an enclave of kind {node.enclave_kind} has no owner")
    if not take_nonce(conn, said.nonce, node.id, PURPOSE, now):
        raise Refused(ErrorCode.NONCE_EXPIRED, 409, "this question is over", "Ask for another nonce.")
    digest = ownership_digest(node.id, said.nonce)
    try:
        return verify_ownership(said.attest, said.signature, node.ak_public, digest, said.permanent)
    except TpmRejected as error:
        audit.append(conn, "ownership-refused", node.id, node.id, {"cause": str(error)}, now)
        raise Refused(
            ErrorCode.ATTESTATION_REJECTED, 403, f"what the TPM says of its owner is not accepted: {error}"
        ) from None


def _settled(node: Row[Any], kept: Row[Any] | None, found: Permanent) -> Ownership:
    """Whose the TPM is. One that lost its owner is taken again once an operator let the node join again, not before."""
    known = Ownership(node.ownership)
    if known in {Ownership.TAKEN, Ownership.LOST}:
        return known if known is Ownership.LOST or (found.owner and found.lockout) else Ownership.LOST
    if found.owner or found.lockout:
        if kept is None:
            return Ownership.FOREIGN
        return Ownership.TAKEN if found.owner and found.lockout else Ownership.DRAWN
    return Ownership.DRAWN


def _note(conn: Connection, rt: Runtime, node: Row[Any], after: Ownership, now: float) -> list[Push]:
    if after == node.ownership:
        return []
    conn.execute(update(schema.node).where(schema.node.c.id == node.id).values(ownership=after.value))
    audit.append(conn, "ownership", node.id, node.id, {"before": node.ownership, "after": after.value}, now)
    if after in {Ownership.FOREIGN, Ownership.LOST}:
        what, remedy = ("is somebody else's", FOREIGN_REMEDY) if after is Ownership.FOREIGN else _LOST
        text = f"{node.name}: its TPM {what}"
        raise_alert(conn, "error", f"tpm-owner-{after.value}", node.id, text, {"remedy": remedy}, now)
    return standing.refresh(conn, rt, node.id, now)


_LOST = "has no owner any more: it was cleared, or its authorisation values were taken back", LOST_REMEDY


def _values(conn: Connection, rt: Runtime, node_id: str, found: Permanent, now: float) -> OwnerValues:
    """The values that were drawn before, as long as one may be in force, or new ones."""
    row = _kept(conn, node_id)
    if row is not None and (row.taken_at is None or found.owner or found.lockout):
        return _opened(rt, row)
    values = OwnerValues(owner=_value(rt), lockout=_value(rt))
    kept = {"wrapped": rt.kek.wrap(encode(values), owner_custody.context(node_id)), "drawn_at": now, "taken_at": None}
    if row is None:
        conn.execute(insert(schema.tpm_owner).values(node_id=node_id, **kept))
    else:
        conn.execute(update(schema.tpm_owner).where(schema.tpm_owner.c.node_id == node_id).values(**kept))
    return values


def _value(rt: Runtime) -> bytes:
    """32 random bytes that do not end in a zero: a TPM takes values that differ in closing zeros for one."""
    while (value := rt.random(VALUE_BYTES))[-1] == 0:
        continue
    return value


def _opened(rt: Runtime, row: Row[Any]) -> OwnerValues:
    try:
        return decode(rt.kek.unwrap(row.wrapped, owner_custody.context(row.node_id)), OwnerValues)
    except KekError as error:
        raise Refused(ErrorCode.UNAVAILABLE, 503, str(error), error.remedy) from None


def _sealed(node: Row[Any], values: OwnerValues, info: bytes) -> bytes:
    try:
        return seal_to(delivery_key(node.enclave_kind, node.delivery_public), info, encode(values))
    except DeliveryKeyUnusable as error:
        detail = f"the node's delivery key cannot be used: {error}"
        raise Refused(ErrorCode.CONFLICT, 409, detail, "Join the node again.") from None


def _no_grant(conn: Connection, node_id: str, record_id: str, cause: str, now: float) -> Refused:
    audit.append(conn, "grant-refused", node_id, node_id, {"record": record_id, "cause": cause}, now)
    return Refused(ErrorCode.FORBIDDEN, 403, f"the TPM is not allowed that: {cause}", "Enrol again.")


def _kept(conn: Connection, node_id: str) -> Row[Any] | None:
    return conn.execute(select(schema.tpm_owner).where(schema.tpm_owner.c.node_id == node_id)).first()


def _node(conn: Connection, node_id: str) -> Row[Any]:
    return conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()
