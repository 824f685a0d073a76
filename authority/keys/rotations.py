"""Rotation as operators see and order it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Connection, Row, select

from authority import audit
from authority.alerts import raise_alert
from authority.keys.planning import NO_ORDER, Order
from authority.keys.rotation import Phase
from authority.keys.stepping import NetworkView, carry_out
from authority.runtime import Push, Refusal, Runtime
from authority.store import schema

GIVEN_UP = "given-up"
MOST_WAITING = 100
"""Pairs that are shown one by one."""


def start(conn: Connection, rt: Runtime, network: str, node_id: str | None, actor: str, now: float) -> list[Push]:
    """A new epoch for one member, or for all that hold keys; the old ones drain. Raises `Refused`."""
    order = Order(advance=_holders(conn, network, node_id))
    audit.append(conn, "rotation-started", actor, node_id, {"network": network}, now)
    return carry_out(conn, rt, network, order, now)


def emergency(
    conn: Connection, rt: Runtime, network: str, node_id: str | None, reason: str, actor: str, now: float
) -> list[Push]:
    """As `start`, waiting for nobody: old keys go at once, and traffic stops until both ends have the new ones."""
    order = Order(at_once=_holders(conn, network, node_id))
    detail = {"network": network, "reason": reason}
    audit.append(conn, "rotation-emergency", actor, node_id, detail, now)
    text = f"the keys of {network} were replaced at once: {reason}"
    raise_alert(conn, "warning", "rotation-emergency", node_id, text, detail, now)
    return carry_out(conn, rt, network, order, now)


def progress(conn: Connection, rt: Runtime, network: str | None, now: float) -> list[dict[str, Any]]:
    """How the rotation of one network, or of each, stands."""
    row = schema.network
    query = select(row).order_by(row.c.name)
    found = conn.execute(query if network is None else query.where(row.c.name == network)).all()
    return [_progress(conn, rt, each, now) for each in found]


def _progress(conn: Connection, rt: Runtime, row: Row[Any], now: float) -> dict[str, Any]:
    view = NetworkView(conn, rt, row.name, NO_ORDER, now)
    rotating, name = view.rotating(), {slot: member.name for slot, member in view.members.items()}
    phases: Counter[str] = Counter()
    waiting: list[dict[str, Any]] = []
    for source in rotating.courses:
        for destination in rotating.pairs[source]:
            phase = rotating.phase(source, destination)
            phases[phase.value] += 1
            end = rotating.waited_for(source, destination)
            if end is not None and len(waiting) < MOST_WAITING:
                ends = {"source": name[source], "destination": name[destination]}
                waiting.append(ends | {"phase": phase.value, "waits_for": name[end]})
    stragglers = _stragglers(conn, row.name)
    phases[GIVEN_UP] = sum(each["pairs"] for each in stragglers)
    took = row.settled_at - row.stepped_at
    return {
        "network": row.name,
        "pairs": {phase: phases[phase] for phase in (*(each.value for each in Phase), GIVEN_UP)},
        "waiting": waiting,
        "stragglers": stragglers,
        "began_at": row.stepped_at or None,
        "next_due": min((each.rotate_at for each in view.rows if each.version is not None), default=None),
        "last_took_s": took if row.stepped_at and took >= 0 else None,
    }


def _stragglers(conn: Connection, network: str) -> list[dict[str, Any]]:
    row, node = schema.evicted_pair, schema.node
    query = select(node.c.name, row.c.since).join(node, node.c.id == row.c.node_id).where(row.c.network == network)
    since: dict[str, list[float]] = {}
    for name, at in conn.execute(query.order_by(node.c.name)):
        since.setdefault(name, []).append(at)
    return [{"node": name, "pairs": len(times), "since": min(times)} for name, times in since.items()]


def _holders(conn: Connection, network: str, node_id: str | None) -> frozenset[str]:
    row = schema.member
    holding = conn.scalars(select(row.c.node_id).where((row.c.network == network) & row.c.version.is_not(None))).all()
    chosen = frozenset(holding if node_id is None else {node_id} & {*holding})
    if not chosen:
        who = "nobody holds a key" if node_id is None else "the node holds no key"
        raise Refusal(f"{who} in {network}", "See `network list` and `node list`.")
    return chosen
