"""Registered profiles as other parts of the authority use them: release shares, revocation, lockout."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from authority import audit
from authority.runtime import Runtime
from authority.store import schema
from authority.trust.policy import LockoutRules
from protocol.codec import length_prefixed

OPEN, PENDING, ACTIVE, REVOKED = "open", "pending", "active", "revoked"
"""`profile.state`: the enrolment runs, waits for approval, may answer, may not any more."""
SHARE_BYTES = 32
LONGEST_LOCK_S = 86400.0


def wrap_share(rt: Runtime, record_id: str, share: bytes) -> bytes:
    """A release share (32 bytes) as it is stored."""
    return rt.kek.wrap(share, _share_context(record_id))


def open_share(rt: Runtime, row: Row[Any]) -> bytes:
    """The release share of a profile's row; raises `KekError` when it was destroyed, or the KEK is another."""
    return rt.kek.unwrap(row.release_share, _share_context(row.record_id))


def revoke(conn: Connection, row: Row[Any], actor: str, reason: str, now: float) -> None:
    """Stop accepting a profile; its release share is destroyed, so that the node's record opens no more."""
    mine = schema.profile.c.record_id == row.record_id
    conn.execute(update(schema.profile).where(mine).values(state=REVOKED, release_share=b""))
    detail = {"admin": row.admin, "record": row.record_id, "reason": reason}
    audit.append(conn, "revoked", actor, row.node_id, detail, now)


def revoke_all(conn: Connection, node_id: str, actor: str, reason: str, now: float) -> None:
    """Revoke every profile of a node."""
    row = schema.profile
    for each in conn.execute(select(row).where((row.c.node_id == node_id) & (row.c.state != REVOKED))).all():
        revoke(conn, each, actor, reason, now)


def lock_s(rules: LockoutRules, failures_in_row: int) -> float:
    """Seconds that a profile is locked for after so many failures in a row: doubled by each further one, 0 for few."""
    beyond = failures_in_row - rules.failures
    return 0.0 if beyond < 0 else min(rules.duration_s * 2.0 ** min(beyond, 16), max(LONGEST_LOCK_S, rules.duration_s))


def count_failure(conn: Connection, rt: Runtime, record_id: str | None, now: float) -> None:
    """A failed presentation counts against the administrator at this node, and locks after too many in a row.

    Every profile that the administrator has there counts the same, so that a second one brings no further tries.
    """
    row = schema.profile
    found = conn.execute(select(row.c.node_id, row.c.admin).where(row.c.record_id == record_id)).first()
    if found is None:
        return
    mine = (row.c.node_id == found.node_id) & (row.c.admin == found.admin)
    failures = (conn.scalar(select(func.max(row.c.failures_in_row)).where(mine)) or 0) + 1
    values: dict[str, Any] = {"failures_in_row": failures}
    if locked := lock_s(rt.policy.lockout, failures):
        values["locked_until"] = now + locked
    conn.execute(update(schema.profile).where(mine).values(**values))


def prolong_locks(conn: Connection, since: float, seconds: float) -> None:
    """Let the locks that held at `since` last so much longer: the clock was set forward, or we stood still."""
    row = schema.profile
    locked = row.c.locked_until > since
    conn.execute(update(row).where(locked).values(locked_until=row.c.locked_until + seconds))


def _share_context(record_id: str) -> bytes:
    """What a wrapped release share is bound to."""
    return length_prefixed("keyvigil/release-share/1", record_id)
