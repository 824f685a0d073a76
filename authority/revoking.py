"""An administrator is revoked at every node in one order, and may be let in again later, to enrol anew.

The order is one row, which every decision about a profile looks at (`profiles.counted`): nobody who was revoked
answers, enrols or is summoned from the first transaction on. What is kept of each profile is destroyed, entered and
told to its node in passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, update

from authority import audit, fleet_orders, profiles
from authority.alerts import Severity, raise_alert
from authority.fleet_orders import Kind
from authority.refusal import Refused
from authority.runtime import Push, Refusal
from authority.store import schema
from protocol.messages import ErasureOrder
from protocol.problems import ErrorCode

View = dict[str, Any]
MOST_TOLD = 1000
"""Records that the answer to an order names."""
_PERSON, _PROFILE, _TICKET = schema.administrator, schema.profile, schema.ticket


def check_known(conn: Connection, admin: str) -> str:
    """What revoking this administrator is about, in words; raises `Refused` for a name that nobody has."""
    _person(conn, admin)
    held = _count(conn, (_PROFILE.c.admin == admin) & _PROFILE.c.state.not_in(profiles.OVER))
    return f"{admin}, with {held} profiles"


def revoke_everywhere(conn: Connection, admin: str, actor: str, reason: str, now: float) -> tuple[View, list[Push]]:
    """Stop accepting an administrator, void their tickets and enrolments, and make the first pass; raises `Refused`.

    Given again it revokes nothing twice: while passes are under way it tells how far they came, and later it orders the
    nodes that have not said so yet once more to remove their records. The view names at most `MOST_TOLD` records that
    were, or still are, to be removed.
    """
    person, left = _person(conn, admin), _left(admin)
    nodes, total = _told(conn, left), _count(conn, left)
    voided = _void_tickets(conn, admin, now)
    if person.revoked_at is None:
        conn.execute(update(_PERSON).where(_PERSON.c.name == admin).values(revoked_at=now))
        told = {"admin": admin, "reason": reason, "profiles": total, "tickets": voided}
        audit.append(conn, "administrator-revoked", actor, None, told, now)
        text = f"{admin} was revoked at every node"
        raise_alert(conn, Severity.NOTICE, "administrator-revoked", None, text, told | {"by": actor}, now)
    order, pushes = fleet_orders.under_way(conn, Kind.REVOKE, admin), []
    if order is None and total:
        order = fleet_orders.begin(conn, Kind.REVOKE, admin, actor, reason, total, now)
        pushes = go_on(conn, order, now)
    number = None if order is None else order.id
    return {"ok": True, "admin": admin, "tickets": voided, "nodes": nodes, "records": total, "order": number}, pushes


def go_on(conn: Connection, order: Row[Any], now: float) -> list[Push]:
    """One pass of an order: the next records of its administrator."""
    next_ones = _left(order.subject) & (_PROFILE.c.record_id > order.reached)
    query = select(_PROFILE).where(next_ones).order_by(_PROFILE.c.record_id).limit(fleet_orders.AT_ONCE)
    pushes: list[Push] = []
    done, reached, rows = 0, "", conn.execute(query).all()
    for done, each in fleet_orders.bounded(rows):  # noqa: B007 - both are needed after the last one
        pushes += _revoke(conn, each, order.actor, order.reason, now)
        reached = each.record_id
    over = done == len(rows) < fleet_orders.AT_ONCE
    fleet_orders.move_on(conn, order, "" if over else reached, done, now)
    return pushes


def readmit(conn: Connection, admin: str, actor: str, reason: str, now: float) -> None:
    """Let a revoked administrator have tickets again; nothing of what was revoked comes back. Raises `Refused`."""
    if _person(conn, admin).revoked_at is None:
        raise Refusal(f"the administrator {admin!r} is not revoked", "There is nothing to take back.")
    order = fleet_orders.under_way(conn, Kind.REVOKE, admin)
    if order is not None:
        came = f"{order.done} of {order.total} records"
        raise Refusal(f"revoking {admin!r} has come to {came}", "Try again when `fleet-orders` says that it is done.")
    conn.execute(update(_PERSON).where(_PERSON.c.name == admin).values(revoked_at=None))
    audit.append(conn, "administrator-readmitted", actor, None, {"admin": admin, "reason": reason}, now)


def _person(conn: Connection, admin: str) -> Row[Any]:
    row = conn.execute(select(_PERSON).where(_PERSON.c.name == admin)).first()
    if row is None:
        detail = f"no administrator named {admin!r}"
        raise Refused(ErrorCode.NOT_FOUND, 404, detail, "List administrators with `admin roster`.")
    return row


def _left(admin: str) -> ColumnElement[bool]:
    """The administrator's records that nodes have, as far as we know."""
    return (_PROFILE.c.admin == admin) & (_PROFILE.c.state.not_in(profiles.OVER) | _PROFILE.c.gone_at.is_(None))


def _count(conn: Connection, which: ColumnElement[bool]) -> int:
    return conn.execute(select(func.count()).select_from(_PROFILE).where(which)).scalar_one()


def _told(conn: Connection, left: ColumnElement[bool]) -> Sequence[View]:
    """By name of the node."""
    of_record = (_PROFILE.c.record_id, _PROFILE.c.state.label("was"), _PROFILE.c.gone_at)
    query = select(schema.node.c.name.label("node"), *of_record).join(_PROFILE).where(left)
    rows = conn.execute(query.order_by(_PROFILE.c.record_id).limit(MOST_TOLD)).mappings()
    return sorted(map(dict, rows), key=lambda each: (each["node"], each["record_id"]))


def _revoke(conn: Connection, row: Row[Any], actor: str, reason: str, now: float) -> list[Push]:
    if row.state in profiles.OVER:
        return [(row.node_id, ErasureOrder(record_id=row.record_id))]
    return profiles.revoke(conn, row, actor, reason or "by order", now)


def _void_tickets(conn: Connection, admin: str, now: float) -> int:
    """They end before any time that a clock may be set back to."""
    mine = (_TICKET.c.admin == admin) & _TICKET.c.used_at.is_(None) & (_TICKET.c.expires_at > now)
    return conn.execute(update(_TICKET).where(mine).values(expires_at=0.0)).rowcount
