"""An administrator is revoked at every node in one order, and may be let in again later, to enrol anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from authority import audit, profiles
from authority.alerts import Severity, raise_alert
from authority.refusal import Refused
from authority.runtime import Push, Refusal
from authority.store import schema
from protocol.messages import ErasureOrder
from protocol.problems import ErrorCode

View = dict[str, Any]
_PERSON, _PROFILE, _TICKET = schema.administrator, schema.profile, schema.ticket
_OVER = (profiles.REVOKED, profiles.ERASED)


def check_known(conn: Connection, admin: str) -> str:
    """What revoking this administrator is about, in words; raises `Refused` for a name that nobody has."""
    _person(conn, admin)
    held = sum(each.state not in _OVER for each in _records(conn, admin))
    return f"{admin}, with {held} profiles"


def revoke_everywhere(conn: Connection, admin: str, actor: str, reason: str, now: float) -> tuple[View, list[Push]]:
    """Revoke every profile of an administrator, and void their tickets and running enrolments; raises `Refused`.

    It is one transaction. Given again it revokes nothing twice, and orders the nodes that have not said so yet once
    more to remove their records; the view has one entry for each record that was, or still is, to be removed.
    """
    person, records = _person(conn, admin), _records(conn, admin)
    voided = _void_tickets(conn, admin, now)
    pushes = [push for each in records for push in _revoke(conn, each, actor, reason, now)]
    if person.revoked_at is None:
        conn.execute(update(_PERSON).where(_PERSON.c.name == admin).values(revoked_at=now))
        told = {"admin": admin, "reason": reason, "profiles": len(records), "tickets": voided}
        audit.append(conn, "administrator-revoked", actor, None, told, now)
        text = f"{admin} was revoked at every node"
        raise_alert(conn, Severity.NOTICE, "administrator-revoked", None, text, told | {"by": actor}, now)
    nodes = [
        {"node": each.node, "record_id": each.record_id, "was": each.state, "gone_at": each.gone_at} for each in records
    ]
    return {"ok": True, "admin": admin, "tickets": voided, "nodes": nodes}, pushes


def readmit(conn: Connection, admin: str, actor: str, reason: str, now: float) -> None:
    """Let a revoked administrator have tickets again; nothing of what was revoked comes back. Raises `Refused`."""
    if _person(conn, admin).revoked_at is None:
        raise Refusal(f"the administrator {admin!r} is not revoked", "There is nothing to take back.")
    conn.execute(update(_PERSON).where(_PERSON.c.name == admin).values(revoked_at=None))
    audit.append(conn, "administrator-readmitted", actor, None, {"admin": admin, "reason": reason}, now)


def _person(conn: Connection, admin: str) -> Row[Any]:
    row = conn.execute(select(_PERSON).where(_PERSON.c.name == admin)).first()
    if row is None:
        detail = f"no administrator named {admin!r}"
        raise Refused(ErrorCode.NOT_FOUND, 404, detail, "List administrators with `admin roster`.")
    return row


def _records(conn: Connection, admin: str) -> Sequence[Row[Any]]:
    """The administrator's records that nodes have, as far as we know, by name of the node."""
    left = _PROFILE.c.state.not_in(_OVER) | _PROFILE.c.gone_at.is_(None)
    query = select(_PROFILE, schema.node.c.name.label("node")).join(schema.node).where(_PROFILE.c.admin == admin)
    return conn.execute(query.where(left).order_by(schema.node.c.name, _PROFILE.c.record_id)).all()


def _revoke(conn: Connection, row: Row[Any], actor: str, reason: str, now: float) -> list[Push]:
    if row.state in _OVER:
        return [(row.node_id, ErasureOrder(record_id=row.record_id))]
    return profiles.revoke(conn, row, actor, reason or "by order", now)


def _void_tickets(conn: Connection, admin: str, now: float) -> int:
    mine = (_TICKET.c.admin == admin) & _TICKET.c.used_at.is_(None) & (_TICKET.c.expires_at > now)
    return conn.execute(update(_TICKET).where(mine).values(expires_at=now)).rowcount
