"""Duties that one replica at a time has: the beat of the scheduler, and each destination of alerts.

A duty is a lease, a row with an owner, a term and an end by the database's clock. It is held by asking for it in the
transaction that does the work: whoever lost it in the meantime finds that out there, and does nothing. The term grows
with every change of hands.
"""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection, delete, func, insert, select, update

from authority.store import schema

BEAT = "beat"
ALERTS = "alerts/"
RESULTS = "results/"
"""Followed by the name of a destination, or of a subscriber."""
LEASE_S = 3.0
"""For how long a duty stays with a replica that says nothing."""
ALIVE_S = 5.0
FORGET_S = 600.0
CLOCK_SLACK_S = 1.0
"""By how much the clock of a replica may differ from the database's if it is to have a duty."""

_LEASE, _REPLICA = schema.lease, schema.replica


class Duties(Protocol):
    """Whose turn it is; asked within the transaction that does the work."""

    def hold(self, conn: Connection, name: str, now: float, /) -> bool:
        """Whether the duty is ours from here on to the end of the transaction; takes it where nobody has it."""
        ...


class SoleDuties:
    """Of an authority that is one process: all are its own."""

    def hold(self, _conn: Connection, _name: str, _now: float, /) -> bool:
        """Always."""
        return True


class SharedDuties:
    """Of the replica `replica_id` among others."""

    def __init__(self, replica_id: str) -> None:
        self._id = replica_id

    def hold(self, conn: Connection, name: str, now: float, /) -> bool:
        """As `Duties`; a replica whose clock is wrong (`now` is what it shows) gets none, and gives up what it has."""
        clock = database_clock(conn)
        row = conn.execute(select(_LEASE).where(_LEASE.c.name == name).with_for_update(skip_locked=True)).first()
        if row is not None and row.owner != self._id and row.until > clock:
            return False
        if abs(now - clock) > CLOCK_SLACK_S:
            return False
        if row is None:
            conn.execute(insert(_LEASE).values(name=name, owner=self._id, term=1, until=clock + LEASE_S))
            return True
        values = {"owner": self._id, "term": row.term + (row.owner != self._id), "until": clock + LEASE_S}
        conn.execute(update(_LEASE).where(_LEASE.c.name == name).values(**values))
        return True

    def release(self, conn: Connection) -> None:
        """Hand everything on, because this replica stops."""
        conn.execute(update(_LEASE).where(_LEASE.c.owner == self._id).values(until=0.0))
        conn.execute(delete(_REPLICA).where(_REPLICA.c.id == self._id))


def database_clock(conn: Connection) -> float:
    """POSIX seconds by the clock that all replicas see."""
    return float(conn.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


def report_alive(conn: Connection, replica_id: str, name: str) -> frozenset[str]:
    """Note that this replica is there; gives the ids of all that are. Those long gone are forgotten."""
    clock = database_clock(conn)
    mine = _REPLICA.c.id == replica_id
    if conn.execute(update(_REPLICA).where(mine).values(seen_at=clock)).rowcount == 0:
        conn.execute(insert(_REPLICA).values(id=replica_id, name=name, started_at=clock, seen_at=clock))
        conn.execute(delete(_REPLICA).where(_REPLICA.c.seen_at < clock - FORGET_S))
    return frozenset(conn.scalars(select(_REPLICA.c.id).where(_REPLICA.c.seen_at > clock - ALIVE_S)))


def others(conn: Connection, replica_id: str = "") -> list[str]:
    """Names of the other replicas that serve this database now."""
    alive = (_REPLICA.c.seen_at > database_clock(conn) - ALIVE_S) & (_REPLICA.c.id != replica_id)
    return [*conn.scalars(select(_REPLICA.c.name).where(alive).order_by(_REPLICA.c.name))]
