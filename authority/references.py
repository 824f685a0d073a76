"""Reference Values (RFC 9334): machine states and agent measurements, learned, reviewed, rolled out and taken back.

A state is `learned` when a node joins, and trusted on that first use. A state that a sound quote shows later and nobody
accepted is a `candidate`: it fails until an operator accepts it. What is accepted at one node, the canary, and has held
there, can be staged for others, and the whole roll-out is taken back with one command.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from authority import audit
from authority.alerts import Severity, raise_alert
from authority.refusal import Refused
from authority.runtime import Refusal
from authority.store import schema
from protocol.codec import decode
from protocol.problems import ErrorCode

MOST_CANDIDATES = 16
"""Candidates kept for a node and kind; beyond that the one seen longest ago is forgotten."""

Value = dict[str, str]
"""Register or name to hexadecimal digest."""
Events = list[tuple[int, str, str, str]]
"""PCR, type, digest and, where the digest vouches for it, text of each logged event."""


class Kind(StrEnum):
    """What a value is of."""

    PCRS = "pcrs"
    AGENT = "agent"


class State(StrEnum):
    """Where a value stands; `LEARNED` and `ACCEPTED` hold, `AWAITED` takes the next that a sound quote shows."""

    LEARNED = "learned"
    CANDIDATE = "candidate"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    AWAITED = "awaited"


HOLDING = (State.LEARNED.value, State.ACCEPTED.value)
_ROW = schema.reference_value
_KNOWN = select(_ROW).where(
    (_ROW.c.node_id == bindparam("node")) & (_ROW.c.kind == bindparam("of")) & (_ROW.c.digest == bindparam("sha256"))
)
_HELD = (
    update(_ROW)
    .where(_ROW.c.id == bindparam("value_id"))
    .values(last_seen_at=bindparam("now"), held_at=bindparam("now"))
)


def learn(conn: Connection, node_id: str, kind: Kind, value: Value, now: float, *, afresh: bool = False) -> None:
    """Trust a value on first use; `afresh` forgets every other of the node and kind, as joining again does."""
    mine = (_ROW.c.node_id == node_id) & (_ROW.c.kind == kind.value)
    conn.execute(delete(_ROW).where(mine if afresh else mine & (_ROW.c.digest == _digest(value))))
    if kind is Kind.PCRS:
        _set_joined(conn, node_id, value)
    row = {"node_id": node_id, "kind": kind.value, "digest": _digest(value), "value": json.dumps(value)}
    seen = {"first_seen_at": now, "last_seen_at": now, "held_at": now}
    conn.execute(insert(_ROW).values(**row, **seen, state=State.LEARNED.value))
    audit.append(conn, "reference-learned", "authority", node_id, {"kind": kind.value, "value": value}, now)


def holds(conn: Connection, node_id: str, kind: Kind, value: Value, now: float, *, learned: bool | None = None) -> bool:
    """Whether a node may show this value: it was learned or accepted, or the next one is awaited.

    `learned` says whether the node's own row has it as what was learned, for the kind that stands there.
    """
    row = _find(conn, node_id, kind, value)
    if row is None and learned:
        learn(conn, node_id, kind, value, now)
        return True
    if row is not None and (row.state == State.ACCEPTED or (row.state == State.LEARNED and learned is not False)):
        conn.execute(_HELD, {"value_id": row.id, "now": now})
        return True
    awaited = (_ROW.c.node_id == node_id) & (_ROW.c.kind == kind.value) & (_ROW.c.state == State.AWAITED.value)
    if conn.execute(delete(_ROW).where(awaited)).rowcount == 0:
        return False
    learn(conn, node_id, kind, value, now, afresh=True)
    return True


def present_state(conn: Connection, node: Row[Any]) -> Value:
    """The machine state that a node is in, as far as it may be: of those that hold the one that it showed last."""
    mine = (_ROW.c.node_id == node.id) & (_ROW.c.kind == Kind.PCRS.value) & _ROW.c.state.in_(HOLDING)
    query = select(_ROW.c.value).where(mine & _ROW.c.last_seen_at.is_not(None)).order_by(_ROW.c.last_seen_at.desc())
    value: Value = decode(conn.scalar(query) or node.reference_pcrs, dict[str, str])
    return value


def knows(conn: Connection, node_id: str, kind: Kind) -> bool:
    """Whether there is anything of this kind to hold a node to."""
    mine = (_ROW.c.node_id == node_id) & (_ROW.c.kind == kind.value)
    return conn.execute(select(_ROW.c.id).where(mine)).first() is not None


def note_candidate(conn: Connection, node: Row[Any], kind: Kind, value: Value, now: float) -> None:
    """Keep a value that a sound quote showed and nobody accepted; the first time, the operators are told."""
    known = _find(conn, node.id, kind, value)
    if known is not None:
        conn.execute(update(_ROW).where(_ROW.c.id == known.id).values(last_seen_at=now))
        return
    row = {"node_id": node.id, "kind": kind.value, "digest": _digest(value), "value": json.dumps(value)}
    conn.execute(insert(_ROW).values(**row, first_seen_at=now, last_seen_at=now, state=State.CANDIDATE.value))
    _forget_oldest(conn, node.id, kind)
    text = f"{node.name}: a state that nobody has accepted ({kind.value}): review it with `reference list`"
    raise_alert(conn, Severity.WARNING, "reference-candidate", node.id, text, {"kind": kind.value, "value": value}, now)


def keep_events(conn: Connection, node_id: str, value: Value, events: Events) -> None:
    """Keep what the log of a machine state says, for an operator to see what is different about another."""
    mine = (_ROW.c.node_id == node_id) & (_ROW.c.kind == Kind.PCRS.value) & (_ROW.c.digest == _digest(value))
    conn.execute(update(_ROW).where(mine & _ROW.c.events.is_(None)).values(events=json.dumps(events)))


def wants_events(conn: Connection, node_id: str) -> bool:
    """Whether there is a state of the node, in force or waiting for review, whose log is not known."""
    states = (*HOLDING, State.CANDIDATE.value, State.AWAITED.value)
    mine = (_ROW.c.node_id == node_id) & (_ROW.c.kind == Kind.PCRS.value) & _ROW.c.state.in_(states)
    return conn.execute(select(_ROW.c.id).where(mine & _ROW.c.events.is_(None))).first() is not None


def accept(conn: Connection, value_id: int, actor: str, now: float) -> None:
    """Let the node show this value from now on. Raises `Refused`."""
    row = _get(conn, value_id)
    if row.state not in {State.CANDIDATE, State.REJECTED, State.WITHDRAWN}:
        raise Refusal(f"value {value_id} is {row.state}", "Accept a candidate: `reference list --only candidate`.")
    _decide(conn, [row], State.ACCEPTED, actor, now)


def reject(conn: Connection, value_id: int, actor: str, now: float) -> None:
    """Stop accepting a value, or close a candidate; the node fails in that state. Raises `Refused`."""
    row = _get(conn, value_id)
    if row.state not in {State.CANDIDATE, *HOLDING}:
        raise Refusal(f"value {value_id} is {row.state}", "There is nothing to reject.")
    if row.state == State.LEARNED and row.kind == Kind.PCRS:
        _set_joined(conn, row.node_id, {})
    _decide(conn, [row], State.REJECTED, actor, now)


def stage(conn: Connection, value_id: int, node_ids: Sequence[str], actor: str, now: float) -> int:
    """Accept a canary's value at further nodes, before they show it; gives at how many. Raises `Refused`.

    The canary must have held in this state since it was accepted there.
    """
    row = _get(conn, value_id)
    if row.state not in HOLDING or row.held_at is None or row.held_at < (row.decided_at or 0):
        raise Refusal(
            f"value {value_id} has not held at its own node yet",
            "Accept it there first, and wait for the node's next attestation.",
        )
    staged = [_stage_at(conn, row, node_id) for node_id in node_ids if node_id != row.node_id]
    if staged:
        _decide(conn, staged, State.ACCEPTED, actor, now)
    return len(staged)


def rollback(conn: Connection, value_id: int, actor: str, now: float) -> int:
    """Withdraw a value at its node and wherever it was staged from there; gives at how many nodes. Raises `Refused`."""
    row = _get(conn, value_id)
    origin = row.origin or row.id
    rollout = ((_ROW.c.id == origin) | (_ROW.c.origin == origin)) & (_ROW.c.state == State.ACCEPTED.value)
    rows = conn.execute(select(_ROW).where(rollout)).all()
    if not rows:
        raise Refusal(f"value {value_id} is {row.state}, and staged nowhere", "Roll back a value that is accepted.")
    _decide(conn, rows, State.WITHDRAWN, actor, now)
    return len(rows)


def await_next(conn: Connection, node_id: str, kind: Kind, actor: str, now: float) -> None:
    """Trust the next value that a sound quote of the node shows, and forget what was accepted before."""
    waiting = {"node_id": node_id, "kind": kind.value, "digest": State.AWAITED.value, "value": "{}"}
    conn.execute(delete(_ROW).where((_ROW.c.node_id == node_id) & (_ROW.c.kind == kind.value)))
    if kind is Kind.PCRS:
        _set_joined(conn, node_id, {})
        _approve_anew(conn, node_id)
    conn.execute(insert(_ROW).values(**waiting, state=State.AWAITED.value, decided_at=now, decided_by=actor))
    audit.append(conn, "reference-awaited", actor, node_id, {"kind": kind.value}, now)
    _attest_soon(conn, node_id, now)


def listing(
    conn: Connection,
    node_id: str | None = None,
    state: str | None = None,
    after: int = 0,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Values above an id, oldest first."""
    query = select(_ROW, schema.node.c.name).join(schema.node, schema.node.c.id == _ROW.c.node_id).order_by(_ROW.c.id)
    query = query.where(_ROW.c.id > after).limit(limit)
    if node_id is not None:
        query = query.where(_ROW.c.node_id == node_id)
    if state is not None:
        query = query.where(_ROW.c.state == state)
    return [_view(row) for row in conn.execute(query)]


def detail(conn: Connection, value_id: int) -> dict[str, Any]:
    """One value, and what is different about it than about the newest other one that held at the node."""
    _get(conn, value_id)
    named = select(_ROW, schema.node.c.name).join(schema.node, schema.node.c.id == _ROW.c.node_id)
    row = conn.execute(named.where(_ROW.c.id == value_id)).one()
    others = (_ROW.c.node_id == row.node_id) & (_ROW.c.kind == row.kind) & (_ROW.c.id != row.id)
    query = select(_ROW).where(others & _ROW.c.held_at.is_not(None)).order_by(_ROW.c.held_at.desc(), _ROW.c.id.desc())
    before = conn.execute(query).first()
    return {**_view(row), "changes": _changes(before, row), "events": _event_changes(before, row)}


def _changes(before: Row[Any] | None, row: Row[Any]) -> dict[str, list[str]]:
    old, new = (decode(each.value, dict[str, str]) if each is not None else {} for each in (before, row))
    return {name: [old.get(name, ""), new.get(name, "")] for name in {**old, **new} if old.get(name) != new.get(name)}


def _event_changes(before: Row[Any] | None, row: Row[Any]) -> dict[str, list[list[Any]]] | None:
    """Events that are only in the one log or only in the other; nothing where a log is not known."""
    if before is None or before.events is None or row.events is None:
        return None
    old, new = (Counter(map(tuple, json.loads(each.events))) for each in (before, row))
    return {"gone": sorted(map(list, (old - new).elements())), "new": sorted(map(list, (new - old).elements()))}


def _stage_at(conn: Connection, row: Row[Any], node_id: str) -> Row[Any]:
    """The same value at another node, whether that has shown it or not."""
    origin = row.origin or row.id
    values = decode(row.value, dict[str, str])
    known = _find(conn, node_id, Kind(row.kind), values)
    if known is None:
        copied = {"node_id": node_id, "kind": row.kind, "digest": row.digest, "value": row.value}
        conn.execute(insert(_ROW).values(**copied, state=State.CANDIDATE.value, events=row.events))
    found = _find(conn, node_id, Kind(row.kind), values)
    assert found is not None
    conn.execute(update(_ROW).where(_ROW.c.id == found.id).values(origin=origin))
    return found


def _decide(conn: Connection, rows: Iterable[Row[Any]], state: State, actor: str, now: float) -> None:
    for row in rows:
        values = {"state": state.value, "decided_at": now, "decided_by": actor}
        conn.execute(update(_ROW).where(_ROW.c.id == row.id).values(**values))
        if row.kind == Kind.PCRS:
            _approve_anew(conn, row.node_id)
        told = {"value": row.id, "kind": row.kind, "was": row.state, "digest": row.digest}
        audit.append(conn, f"reference-{state.value}", actor, row.node_id, told, now)
        _attest_soon(conn, row.node_id, now)


def _set_joined(conn: Connection, node_id: str, value: Value) -> None:
    """The node's own row tells what it was learned in."""
    conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(reference_pcrs=json.dumps(value)))


def _approve_anew(conn: Connection, node_id: str) -> None:
    """From the node's next activation on, its TPM refuses every approval of a state that was given before."""
    version = schema.node.c.state_version + 1
    conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(state_version=version))


def _attest_soon(conn: Connection, node_id: str, now: float) -> None:
    plan = schema.schedule
    conn.execute(update(plan).where(plan.c.node_id == node_id).values(next_attest_at=now))


def _forget_oldest(conn: Connection, node_id: str, kind: Kind) -> None:
    mine = (_ROW.c.node_id == node_id) & (_ROW.c.kind == kind.value) & (_ROW.c.state == State.CANDIDATE.value)
    kept = select(_ROW.c.id).where(mine).order_by(_ROW.c.last_seen_at.desc(), _ROW.c.id.desc())
    ids = [*conn.scalars(kept)][MOST_CANDIDATES:]
    conn.execute(delete(_ROW).where(_ROW.c.id.in_(ids)))


def _find(conn: Connection, node_id: str, kind: Kind, value: Value) -> Row[Any] | None:
    return conn.execute(_KNOWN, {"node": node_id, "of": kind.value, "sha256": _digest(value)}).first()


def _get(conn: Connection, value_id: int) -> Row[Any]:
    row = conn.execute(select(_ROW).where(_ROW.c.id == value_id)).first()
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"there is no reference value {value_id}", "See `reference list`.")
    return row


def _digest(value: Value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _view(row: Row[Any]) -> dict[str, Any]:
    shown = ("id", "kind", "state", "origin", "first_seen_at", "last_seen_at", "held_at", "decided_at", "decided_by")
    values = {name: getattr(row, name) for name in shown}
    return {**values, "node": row.name, "value": json.loads(row.value), "log": row.events is not None}
