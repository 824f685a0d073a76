"""Driver code that may stand in for the code which was pinned at an enrolment, as operators decided.

A profile names its sensors with the SHA-256 of their drivers. An upgrade of the agent changes that; instead of
enrolling everybody anew, operators say once for the fleet that one hash follows another. Followers of followers are
followers, up to `MOST_STEPS`; withdrawn ones lead nowhere.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from authority import audit
from authority.alerts import Severity, raise_alert
from authority.refusal import Refused
from authority.runtime import Refusal
from authority.store import schema
from protocol.messages import SensorIdentity
from protocol.problems import ErrorCode

MOST_STEPS = 64
"""Upgrades between an enrolment and now."""
MOST_FOLLOWERS = 1000
"""Rows that hold at once."""
_ROW = schema.driver_follower
_HOLDS = _ROW.c.withdrawn_at.is_(None)
View = dict[str, Any]


def is_pinned(conn: Connection, said: SensorIdentity, pinned: SensorIdentity) -> bool:
    """Whether a sensor is the one of the enrolment, with its driver or with one that follows it."""
    if said == pinned:
        return True
    alike = msgspec.structs.replace(pinned, driver_sha256=said.driver_sha256) == said
    return alike and said.driver_sha256 in _followers(conn, pinned.driver_sha256)


def allow(conn: Connection, old: str, new: str, reason: str, actor: str, now: float) -> int:
    """Let `new` stand in for `old` from now on; gives the number. Saying it twice is once. Raises `Refused`."""
    if old == new:
        raise Refusal("a driver does not follow itself", "Give the hash before the upgrade and the one after it.")
    there = conn.execute(select(_ROW.c.id, _ROW.c.old, _ROW.c.new).where(_HOLDS)).all()
    for each in there:
        if (each.old, each.new) == (old, new):
            return int(each.id)
    if len(there) >= MOST_FOLLOWERS:
        raise Refusal(f"{MOST_FOLLOWERS} drivers follow others already", "Withdraw those of upgrades long past.")
    values = {"old": old, "new": new, "reason": reason, "allowed_by": actor, "allowed_at": now}
    made = conn.execute(insert(_ROW).values(**values)).inserted_primary_key
    assert made is not None
    number = int(made[0])
    detail = {"follower": number, "old": old, "new": new, "reason": reason}
    audit.append(conn, "driver-follows", actor, None, detail, now)
    text = f"driver code {new[:12]}… may stand in for {old[:12]}… at every node"
    raise_alert(conn, Severity.NOTICE, "driver-follows", None, text, detail | {"by": actor}, now)
    return number


def withdraw(conn: Connection, number: int, reason: str, actor: str, now: float) -> None:
    """Let it stand in no longer: nodes that run it fail until they run another. Raises `Refused`.

    Where it still does by way of others, the alert says so: those have to be withdrawn as well.
    """
    row = conn.execute(select(_ROW).where(_ROW.c.id == number)).first()
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"there is no follower {number}", "See `driver list`.")
    if row.withdrawn_at is not None:
        return
    conn.execute(update(_ROW).where(_ROW.c.id == number).values(withdrawn_by=actor, withdrawn_at=now))
    left = row.new in _followers(conn, row.old)
    detail = {"follower": number, "old": row.old, "new": row.new, "reason": reason, "still_follows": left}
    audit.append(conn, "driver-withdrawn", actor, None, detail, now)
    text = f"driver code {row.new[:12]}… may no longer stand in for {row.old[:12]}…"
    if left:
        text = f"driver code {row.new[:12]}… still stands in for {row.old[:12]}… by way of others: see `driver list`"
    raise_alert(conn, Severity.WARNING, "driver-withdrawn", None, text, detail | {"by": actor}, now)


def listing(conn: Connection, after: int = 0, limit: int | None = None) -> list[View]:
    """What was said of drivers, oldest first, what was withdrawn with it."""
    return [_view(row) for row in conn.execute(select(_ROW).where(_ROW.c.id > after).order_by(_ROW.c.id).limit(limit))]


def _followers(conn: Connection, pinned: str) -> set[str]:
    """Hashes that may stand in for one, without itself."""
    found, newest = set[str](), {pinned}
    for _ in range(MOST_STEPS):
        newest = {*conn.scalars(select(_ROW.c.new).where(_ROW.c.old.in_(newest) & _HOLDS))} - found - {pinned}
        if not newest:
            break
        found |= newest
    return found


def _view(row: Row[Any]) -> View:
    names = ("id", "old", "new", "reason", "allowed_by", "allowed_at", "withdrawn_by", "withdrawn_at")
    return {name: getattr(row, name) for name in names}
