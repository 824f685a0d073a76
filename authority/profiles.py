"""Registered profiles as other parts of the authority use them: revocation, erasure, lockout."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, case, exists, func, select, update

from authority import audit, samples
from authority.runtime import Push, Runtime
from authority.store import schema
from authority.trust.policy import LockoutRules
from protocol.messages import ErasureOrder

OPEN, PENDING, ACTIVE, REVOKED, ERASED = "open", "pending", "active", "revoked", "erased"
"""`profile.state`: the enrolment runs, waits for approval, may answer, may not any more, has nothing left but this."""
OVER = (REVOKED, ERASED)
LONGEST_LOCK_S = 86400.0
_NO_SHARES = {"release_share": b"", "following_share": b""}
_PERSON, _ROW = schema.administrator.c, schema.profile.c
_SHUT_OUT = exists().where((_PERSON.name == _ROW.admin) & _PERSON.revoked_at.is_not(None))
counted_state = case((_ROW.state.not_in(OVER) & _SHUT_OUT, REVOKED), else_=_ROW.state).label("state")
"""`profile.state` as it counts: what a revoked administrator has is revoked at once, however many passes it takes to
enter that profile by profile."""


def counted() -> Select[Any]:
    """Profiles with `state` as it counts. Whatever decides something by a profile reads it by this."""
    others = [column for column in schema.profile.c if column.name != "state"]
    return select(*others, counted_state).select_from(schema.profile)


def revoke(conn: Connection, row: Row[Any], actor: str, reason: str, now: float) -> list[Push]:
    """Stop accepting a profile; its release shares are destroyed, so that the node's record opens no more.

    The node is ordered to remove the record and the openings that it keeps of this person.
    """
    mine = schema.profile.c.record_id == row.record_id
    conn.execute(update(schema.profile).where(mine).values(state=REVOKED, erased_at=now, **_NO_SHARES))
    samples.forget(conn, row.record_id)
    detail = {"admin": row.admin, "record": row.record_id, "reason": reason}
    audit.append(conn, "revoked", actor, row.node_id, detail, now)
    return [(row.node_id, ErasureOrder(record_id=row.record_id))]


def erase(conn: Connection, row: Row[Any], actor: str, now: float) -> list[Push]:
    """Destroy what is kept of a profile, and order the node to do the same.

    What stays is that there was one, whose, and its public key, by which it is known should it come again. The node is
    told again whenever it connects, until it has said that its record is gone.
    """
    if row.state == ERASED:
        return []
    mine = schema.profile.c.record_id == row.record_id
    nothing = {**_NO_SHARES, "modalities": "[]", "sensors": "[]", "infrared": "", "consent": "{}"}
    nothing |= {"guard_public": b"", "nonce": b""}
    conn.execute(update(schema.profile).where(mine).values(state=ERASED, erased_at=now, **nothing))
    samples.forget(conn, row.record_id)
    audit.append(conn, "erased", actor, row.node_id, {"admin": row.admin, "record": row.record_id}, now)
    return [(row.node_id, ErasureOrder(record_id=row.record_id))]


def supersede(conn: Connection, row: Row[Any], actor: str, now: float) -> list[Push]:
    """Revoke a profile that a renewed one has taken the place of, and order the node to remove it."""
    if row.state != REVOKED:
        return revoke(conn, row, actor, "renewed", now)
    conn.execute(update(schema.profile).where(schema.profile.c.record_id == row.record_id).values(erased_at=now))
    return [(row.node_id, ErasureOrder(record_id=row.record_id))]


def orders(conn: Connection, node_id: str) -> list[ErasureOrder]:
    """What the node still has to remove."""
    row = schema.profile
    mine = (row.c.node_id == node_id) & row.c.erased_at.is_not(None) & row.c.gone_at.is_(None)
    return [ErasureOrder(record_id=record) for record in conn.scalars(select(row.c.record_id).where(mine))]


def note_gone(conn: Connection, node_id: str, record_id: str, now: float) -> list[Push]:
    """The node's word that nothing of a record is left there; one that was not ordered erases the profile here too."""
    mine = (schema.profile.c.record_id == record_id) & (schema.profile.c.node_id == node_id)
    row = conn.execute(select(schema.profile).where(mine)).first()
    if row is None or row.gone_at is not None:
        return []
    if row.erased_at is None:
        erase(conn, row, node_id, now)
    conn.execute(update(schema.profile).where(mine).values(gone_at=now))
    audit.append(conn, "erased-at-node", node_id, node_id, {"admin": row.admin, "record": record_id}, now)
    return []


def unlock(conn: Connection, row: Row[Any], actor: str, now: float) -> None:
    """Forget failed presentations, and let the node have its TPM's count of wrong answers reset once."""
    mine = schema.profile.c.record_id == row.record_id
    values = {"failures_in_row": 0, "locked_until": None, "unlocked_at": now}
    conn.execute(update(schema.profile).where(mine).values(**values))
    audit.append(conn, "unlocked", actor, row.node_id, {"admin": row.admin, "record": row.record_id}, now)


def revoke_all(conn: Connection, node_id: str, actor: str, reason: str, now: float) -> None:
    """Revoke every profile of a node."""
    row = schema.profile
    for each in conn.execute(
        select(row).where((row.c.node_id == node_id) & row.c.state.not_in([REVOKED, ERASED]))
    ).all():
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
