"""Orders over the whole fleet: one row says how far each has come, so that passes of bounded length carry it out.

What such an order is there for holds from its first transaction on; a pass brings the rest of some nodes in line with
it and moves the row on, in one transaction. Killed at any point, the next pass goes on where the last one ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, insert, select, update

from authority.store.schema_orders import fleet_order as _row

T = TypeVar("T")
View = dict[str, Any]
AT_ONCE = 200
"""Records or nodes of one pass at most."""
PASS_S = 0.1
"""CPU seconds after which a pass comes to its end before that."""
_UNDER_WAY = _row.c.ended_at.is_(None)


class Kind(StrEnum):
    """What is carried out in passes: an administrator revoked everywhere, a policy brought to every node."""

    REVOKE = "revoke"
    POLICY = "policy"


class State(StrEnum):
    """Where an order stands; `SUPERSEDED` is one that a later one took the place of."""

    UNDER_WAY = "under-way"
    DONE = "done"
    SUPERSEDED = "superseded"


def bounded(
    each: Iterable[T], most_s: float = PASS_S, clock: Callable[[], float] = time.thread_time
) -> Iterator[tuple[int, T]]:
    """The items of one pass, counted from 1: at least one, and no more once `clock` says that it took `most_s`."""
    begun = clock()
    for number, item in enumerate(each, 1):
        yield number, item
        if clock() - begun >= most_s:
            return


def begin(conn: Connection, kind: Kind, subject: str, actor: str, reason: str, total: int, now: float) -> Row[Any]:
    """Enter an order over `total` records or nodes, of which none was reached yet."""
    values = {"kind": kind.value, "subject": subject, "actor": actor, "reason": reason, "total": total, "begun_at": now}
    row = {**values, "done": 0, "reached": "", "moved_at": now, "outcome": ""}
    made = conn.execute(insert(_row).values(**row)).inserted_primary_key
    assert made is not None
    return conn.execute(select(_row).where(_row.c.id == made[0])).one()


def under_way(conn: Connection, kind: Kind, subject: str | None = None) -> Row[Any] | None:
    """The order of this kind, about `subject` if given, that is being carried out."""
    about = _UNDER_WAY & (_row.c.kind == kind.value)
    query = select(_row).where(about if subject is None else about & (_row.c.subject == subject))
    return conn.execute(query.order_by(_row.c.id).limit(1)).first()


def next_due(conn: Connection) -> Row[Any] | None:
    """The order that has waited longest for a pass, so that of several none stands still."""
    return conn.execute(select(_row).where(_UNDER_WAY).order_by(_row.c.moved_at, _row.c.id).limit(1)).first()


def move_on(conn: Connection, order: Row[Any], reached: str, done: int, now: float) -> None:
    """Note a pass that did so many and came to `reached`; an empty one ends the order."""
    values: View = {"done": order.done + done, "reached": reached or order.reached, "moved_at": now}
    if not reached:
        values |= {"ended_at": now, "outcome": State.DONE.value}
    conn.execute(update(_row).where(_row.c.id == order.id).values(**values))


def supersede(conn: Connection, kind: Kind, now: float) -> None:
    """End what is under way of this kind: what comes now brings every node further than that would have."""
    ended = {"ended_at": now, "outcome": State.SUPERSEDED.value}
    conn.execute(update(_row).where(_UNDER_WAY & (_row.c.kind == kind.value)).values(**ended))


def listing(conn: Connection, after: int = 0, limit: int | None = None) -> list[View]:
    """Orders with a number above `after`, oldest first."""
    return [view(row) for row in conn.execute(select(_row).where(_row.c.id > after).order_by(_row.c.id).limit(limit))]


def running(conn: Connection) -> Sequence[View]:
    """Those under way, oldest first."""
    return [view(row) for row in conn.execute(select(_row).where(_UNDER_WAY).order_by(_row.c.id))]


def view(row: Row[Any]) -> View:
    """An order as people see it."""
    names = ("id", "kind", "subject", "actor", "reason", "begun_at", "total", "done", "ended_at")
    return {**{name: getattr(row, name) for name in names}, "state": row.outcome or State.UNDER_WAY.value}
