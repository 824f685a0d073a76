"""Many join tokens or tickets in one order: every row is looked at before anything is made, and then all are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from authority import audit, enrolling
from authority.enrolling import DrawnTicket
from authority.refusal import Refused
from authority.runtime import Runtime
from authority.store import schema
from protocol.codec import ProtocolViolation
from protocol.levels import NodeState
from protocol.names import check_name
from protocol.problems import ErrorCode

View = dict[str, Any]
R = TypeVar("R")
MOST_TOKENS = 1000
MOST_TICKETS = 200
"""In one order; the hash of each ticket's PIN costs some 50 ms."""
NAMED_FAULTS = 10
"""Rows at fault that a refusal names; it counts the others."""


@dataclass(frozen=True)
class TokenRow:
    """A node that is to join; `line` is where whoever asks has it, for refusals to name."""

    line: int
    name: str
    lab: bool


@dataclass(frozen=True)
class TicketRow:
    """An administrator who is to enrol at a node, by its name; `line` as in `TokenRow`."""

    line: int
    admin: str
    node: str


def create_join_tokens(
    conn: Connection, rt: Runtime, rows: Sequence[TokenRow], ttl: float, ca_sha256: str, actor: str, now: float
) -> list[View]:
    """A join token for each row; raises `Refused` naming the lines at fault, with nothing made.

    A name that a node has already is refused: that node joins again with a token of its own order.
    """
    names = _well_formed(row.name for row in rows)
    taken = {*conn.scalars(select(schema.node.c.name).where(schema.node.c.name.in_(names)))}
    _refuse((row.line, fault) for row, twice in _marked(rows, _token_key) if (fault := _token_fault(row, twice, taken)))
    made = []
    for row in rows:
        token = enrolling.create_join_token(conn, rt, row.name, lab=row.lab, ttl=ttl, ca_sha256=ca_sha256, now=now)
        audit.append(conn, "join-token", actor, None, {"name": row.name, "lab": row.lab, "of": len(rows)}, now)
        made.append({"name": row.name, "token": token, "expires_at": now + ttl})
    return made


def check_tickets(conn: Connection, rows: Sequence[TicketRow]) -> dict[str, str]:
    """Ids of the nodes by name; raises `Refused` naming the lines at fault."""
    node, person = schema.node.c, schema.administrator.c
    nodes, people = _well_formed(row.node for row in rows), _well_formed(row.admin for row in rows)
    found = conn.execute(select(node.name, node.id, node.state).where(node.name.in_(nodes))).all()
    gone = person.name.in_(people) & person.revoked_at.is_not(None)
    revoked = {*conn.scalars(select(person.name).where(gone))}
    known = {row.name: str(row.state) for row in found}
    faults = ((row.line, _ticket_fault(row, twice, known, revoked)) for row, twice in _marked(rows, _ticket_key))
    _refuse((line, fault) for line, fault in faults if fault)
    return {row.name: row.id for row in found}


def create_tickets(
    conn: Connection,
    rt: Runtime,
    rows: Sequence[TicketRow],
    drawn: Sequence[DrawnTicket],
    ttl: float,
    actor: str,
    now: float,
) -> list[View]:
    """A ticket and its PIN, of those `drawn`, for each row; raises `Refused` as `check_tickets` does."""
    ids, made = check_tickets(conn, rows), []
    for row, each in zip(rows, drawn, strict=True):
        ticket, pin = enrolling.create_ticket(conn, rt, row.admin, ids[row.node], ttl, now, each)
        audit.append(conn, "ticket", actor, ids[row.node], {"admin": row.admin, "of": len(rows)}, now)
        made.append({"admin": row.admin, "node": row.node, "ticket": ticket, "pin": pin})
    return made


def _token_key(row: TokenRow) -> str:
    return row.name


def _ticket_key(row: TicketRow) -> tuple[str, str]:
    return row.admin, row.node


def _marked(rows: Sequence[R], key: Callable[[R], object]) -> Iterator[tuple[R, bool]]:
    """Each row, and whether one before it is about the same."""
    seen: set[object] = set()
    for row in rows:
        yield row, key(row) in seen
        seen.add(key(row))


def _token_fault(row: TokenRow, twice: bool, taken: set[str]) -> str:
    return _name_fault("node", row.name) or (
        f"{row.name} comes twice"
        if twice
        else f"there is a node {row.name} already: give it a token of its own with `node token`"
        if row.name in taken
        else ""
    )


def _ticket_fault(row: TicketRow, twice: bool, known: dict[str, str], revoked: set[str]) -> str:
    if fault := _name_fault("administrator", row.admin):
        return fault
    if row.node not in known:
        return f"no node named {row.node[:64]!r}"
    if known[row.node] in {NodeState.BANNED, NodeState.RETIRED}:
        return f"the node {row.node} is {known[row.node]}"
    if row.admin in revoked:
        return f"the administrator {row.admin} is revoked"
    return f"{row.admin} at {row.node} comes twice" if twice else ""


def _well_formed(names: Iterable[str]) -> list[str]:
    """Those that a node or an administrator can have; what is none is looked up nowhere."""
    return [name for name in names if not _name_fault("", name)]


def _name_fault(kind: str, name: str) -> str:
    try:
        check_name(kind, name)
    except ProtocolViolation as error:
        return f"{name[:64]!r}: {error}"
    return ""


def _refuse(faults: Iterable[tuple[int, str]]) -> None:
    found = [*faults]
    if not found:
        return
    named = "; ".join(f"line {line}: {fault}" for line, fault in found[:NAMED_FAULTS])
    more = f"; and {len(found) - NAMED_FAULTS} more" if len(found) > NAMED_FAULTS else ""
    detail = f"nothing was made: {named}{more}"
    raise Refused(ErrorCode.MALFORMED, 422, detail, "Correct these lines, and send all of them again.")
