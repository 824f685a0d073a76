"""Rolling a reference value out in waves: to a share of the nodes that are alike, once the wave before has held.

Which nodes a share takes is a ranking by value and node: arbitrary, the same every time, and a larger share has every
node of a smaller one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from authority import references
from authority.references import HOLDING, State
from authority.refusal import Refused
from authority.runtime import Refusal
from authority.store import schema
from protocol.levels import NodeState
from protocol.problems import ErrorCode

View = dict[str, Any]
MOST_STAGED = 10_000
"""Nodes of one order."""
_NODE, _VALUE = schema.node, schema.reference_value
_OUT = (NodeState.BANNED.value, NodeState.RETIRED.value)


@dataclass(frozen=True)
class Wave:
    """A share of the nodes in service that are of the canary's kind, in a network or challenge group if one is named.

    `percent` counts those that accept the value already. `held_percent`: as many of the nodes at which the value is
    accepted must have shown it since, and none of them may fail.
    """

    percent: float = 100.0
    network: str | None = None
    group: str | None = None
    held_percent: float = 0.0


def choose(conn: Connection, value_id: int, wave: Wave) -> list[str]:
    """Names of the nodes that a wave adds, by name; raises `Refused` if the wave before has not held, or for none.

    A node at which an operator rejected the value is left out.
    """
    value = _value(conn, value_id)
    _check_held(conn, value, wave.held_percent)
    nodes = sorted(_alike(conn, value, wave), key=lambda node: _rank(value.digest, node.id))
    known = _states(conn, value)
    taken = nodes[: math.ceil(wave.percent / 100 * len(nodes))]
    added = [node.name for node in taken if known.get(node.id) not in {*HOLDING, State.REJECTED.value}]
    if not added:
        raise Refusal("every node of that share accepts the value already", "Name a larger share, or look elsewhere.")
    if len(added) > MOST_STAGED:
        raise Refusal(f"{len(added)} nodes are too many for one order", f"Stage up to {MOST_STAGED} at once, by share.")
    return sorted(added)


def progress(conn: Connection, value_id: int) -> list[View]:
    """Every node that a value was rolled out to, the canary included, by name: has it shown it, and does it fail."""
    value = _value(conn, value_id)
    query = select(_VALUE, _NODE.c.name, _NODE.c.attestation_failed, _NODE.c.state.label("node_state")).join(_NODE)
    rows = conn.execute(query.where(_of_rollout(value)).order_by(_NODE.c.name)).all()
    return [_view(row, value) for row in rows]


def _view(row: Row[Any], value: Row[Any]) -> View:
    return {
        "node": row.name,
        "value_id": row.id,
        "canary": row.id == (value.origin or value.id),
        "state": row.state,
        "node_state": row.node_state,
        "decided_at": row.decided_at,
        "held": _has_held(row),
        "failing": row.attestation_failed,
    }


def _check_held(conn: Connection, value: Row[Any], percent: float) -> None:
    if percent <= 0:
        return
    rows = [each for each in progress(conn, value.id) if each["state"] in HOLDING and each["node_state"] not in _OUT]
    failing = [each["node"] for each in rows if each["failing"]]
    if failing:
        named = ", ".join(failing[:5])
        detail = f"{len(failing)} nodes that accept the value fail their attestation: {named}"
        raise Refusal(detail, "Look at them with `reference rollout`, and roll back if the value is to blame.")
    held = sum(each["held"] for each in rows)
    if not rows or 100 * held < percent * len(rows):
        detail = f"{held} of {len(rows)} nodes that accept the value have shown it since"
        raise Refusal(detail, "Wait for their attestations, or ask for less with --held.")


def _alike(conn: Connection, value: Row[Any], wave: Wave) -> Sequence[Row[Any, Any]]:
    """Nodes in service but the canary, on its side of the lab and with its kind of enclave."""
    canary = conn.execute(select(_NODE).where(_NODE.c.id == _canary(conn, value))).one()
    same = (_NODE.c.lab == canary.lab) & (_NODE.c.enclave_kind == canary.enclave_kind) & (_NODE.c.id != canary.id)
    query = select(_NODE.c.id, _NODE.c.name).where(same & _NODE.c.state.not_in(_OUT))
    if wave.network is not None:
        _check_named(conn, "network", schema.network.c.name, wave.network)
        member = schema.member.c
        query = query.where(_NODE.c.id.in_(select(member.node_id).where(member.network == wave.network)))
    if wave.group is not None:
        _check_named(conn, "group", schema.challenge_group.c.name, wave.group)
        of_group, sensor = schema.group_member.c, schema.challenge_group.c
        members = select(of_group.node_id).where(of_group.group == wave.group)
        sensors = select(sensor.sensor_node_id).where(sensor.name == wave.group)
        query = query.where(_NODE.c.id.in_(members) | _NODE.c.id.in_(sensors))
    return conn.execute(query).all()


def _check_named(conn: Connection, kind: str, column: Any, name: str) -> None:
    if conn.scalar(select(column).where(column == name)) is None:
        detail = f"no {kind} named {name!r}"
        raise Refused(ErrorCode.NOT_FOUND, 404, detail, f"List them with `{kind} list`.")


def _value(conn: Connection, value_id: int) -> Row[Any]:
    references.detail(conn, value_id)  # refuses what is not there
    return conn.execute(select(_VALUE).where(_VALUE.c.id == value_id)).one()


def _canary(conn: Connection, value: Row[Any]) -> str:
    found = conn.scalar(select(_VALUE.c.node_id).where(_VALUE.c.id == (value.origin or value.id)))
    return str(found or value.node_id)


def _of_rollout(value: Row[Any]) -> Any:
    origin = value.origin or value.id
    return (_VALUE.c.id == origin) | (_VALUE.c.origin == origin)


def _states(conn: Connection, value: Row[Any]) -> dict[str, str]:
    same = (_VALUE.c.kind == value.kind) & (_VALUE.c.digest == value.digest)
    return {row.node_id: row.state for row in conn.execute(select(_VALUE.c.node_id, _VALUE.c.state).where(same))}


def _has_held(row: Row[Any]) -> bool:
    """Whether the node has shown the value since it was accepted there."""
    return row.held_at is not None and row.held_at >= (row.decided_at or 0)


def _rank(digest: str, node_id: str) -> bytes:
    return hashlib.sha256(f"{digest}|{node_id}".encode()).digest()
