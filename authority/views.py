"""What operators see of nodes, keys, alerts and the audit log: rows turned into plain values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, tuple_

from authority import profiles
from authority.alerts import Severity
from authority.audit import record_bytes
from authority.runtime import Runtime
from authority.store import schema
from authority.trust import distribute_key, effective_access
from protocol.levels import NodeState, Ownership, Tier, VersionState
from protocol.merkle import leaf_hash

View = dict[str, Any]
_LARGEST = 2**63 - 1
"""Largest integer that the database takes."""
DESTROYED_SHOWN = 20
"""Destroyed versions that are listed of a network, which may have had thousands."""


@dataclass(frozen=True)
class NodeFilter:
    """Which nodes are wanted; `search` is a part of the name, `network` one that they are members of."""

    state: NodeState | None = None
    tier: Tier | None = None
    lab: bool | None = None
    network: str | None = None
    search: str = ""

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """What the rows must fulfil."""
        row, member = schema.node.c, schema.member.c
        if self.state is not None:
            yield row.state == self.state.value
        if self.tier is not None:
            yield row.tier == self.tier.value
        if self.lab is not None:
            yield row.lab.is_(self.lab)
        if self.network is not None:
            yield row.id.in_(select(member.node_id).where(member.network == self.network))
        if self.search:
            yield row.name.contains(self.search, autoescape=True)


def node_list(
    conn: Connection, rt: Runtime, wanted: NodeFilter | None = None, after: str = "", limit: int | None = None
) -> list[View]:
    """Nodes by name, as `node_view` shows them: those that are wanted, behind the name `after`."""
    conditions = [] if wanted is None else [*wanted.conditions()]
    query = select(schema.node).where(schema.node.c.name > after, *conditions).order_by(schema.node.c.name)
    return [node_view(conn, rt, row) for row in conn.execute(query.limit(limit))]


def find_node(conn: Connection, name: str) -> Row[Any] | None:
    """The node of that name or id."""
    wanted = (schema.node.c.name == name) | (schema.node.c.id == name)
    return conn.execute(select(schema.node).where(wanted)).first()


def node_view(conn: Connection, rt: Runtime, row: Row[Any]) -> View:
    """Standing, keys and next challenge of one node; scores in thousandths, times in POSIX seconds."""
    grant = distribute_key(row.score)
    due = conn.execute(select(schema.schedule).where(schema.schedule.c.node_id == row.id)).first()
    return {
        "id": row.id,
        "name": row.name,
        "state": row.state,
        "reason": row.reason,
        "lab": row.lab,
        "enclave": row.enclave_kind,
        "enclave_cap": rt.policy.enclave_cap(row.enclave_kind, owned=row.ownership == Ownership.TAKEN),
        "ownership": row.ownership,
        "score": row.score,
        "explanation": row.explanation,
        "tier": row.tier,
        "rotation": grant.rotation.value,
        "rotation_s": rt.policy.rotation.period_s(grant.rotation),
        "access": effective_access(NodeState(row.state), grant).value,
        "next_challenge_at": due.next_challenge_at if due else None,
        "last_seen_at": row.last_seen_at,
        "last_attested_at": row.last_attested_at,
        "certificate_not_after": row.certificate_not_after,
        "networks": _memberships(conn, row.id),
        "challenge": _last_challenge(conn, row.id),
        "profiles": _count(conn, schema.profile.c.record_id, schema.profile.c.node_id == row.id),
        "answered": _count(conn, schema.presentation.c.seq, schema.presentation.c.node_id == row.id),
    }


def node_detail(conn: Connection, rt: Runtime, row: Row[Any]) -> View:
    """As `node_view`, with profiles, devices and the last presentations."""
    presentations = conn.execute(
        select(schema.presentation)
        .where(schema.presentation.c.node_id == row.id)
        .order_by(schema.presentation.c.seq.desc())
        .limit(20)
    )
    return {
        **node_view(conn, rt, row),
        "devices": json.loads(row.devices),
        "profiles": profile_list(conn, row.id),
        "presentations": [_columns(entry, "at", "kind", "speed", "quality") for entry in presentations],
    }


def profile_list(
    conn: Connection, node_id: str | None = None, state: str | None = None, after: str = "", limit: int | None = None
) -> list[View]:
    """Registered profiles, newest first: who, where, with which models; nothing biometric is there to show.

    `after` is the record id of one; those that come behind it are given.
    """
    query = profiles.counted().add_columns(schema.node.c.name.label("node")).join(schema.node)
    columns = schema.profile.c
    last = conn.execute(select(columns.created_at, columns.record_id).where(columns.record_id == after)).first()
    if last is not None:
        query = query.where(tuple_(columns.created_at, columns.record_id) < tuple_(*last))
    if node_id is not None:
        query = query.where(schema.profile.c.node_id == node_id)
    if state is not None:
        query = query.where(profiles.counted_state == state)
    rows = conn.execute(query.order_by(columns.created_at.desc(), columns.record_id.desc()).limit(limit))
    fields = ("record_id", "admin", "node", "state", "created_at", "approved_at", "approved_by", "failures_in_row")
    return [{**_columns(row, *fields), "modalities": json.loads(row.modalities)} for row in rows]


def alert_list(
    conn: Connection,
    after: int = 0,
    limit: int = 200,
    *,
    unacknowledged: bool = False,
    severity: Severity | None = None,
) -> list[View]:
    """Alerts with an id above `after`, oldest first; those that nobody acknowledged, of `severity` and worse."""
    row = schema.alert
    query = select(row, schema.node.c.name.label("node")).outerjoin(schema.node, schema.node.c.id == row.c.node_id)
    query = query.where(row.c.id > min(after, _LARGEST))
    if unacknowledged:
        query = query.where(row.c.acknowledged_at.is_(None))
    if severity is not None:
        query = query.where(row.c.severity.in_([each.value for each in Severity if each.code <= severity.code]))
    fields = ("id", "at", "severity", "kind", "text", "delivered_at", "repeats", "last_at", "node")
    seen = ("acknowledged_at", "acknowledged_by", "acknowledgement")
    rows = conn.execute(query.order_by(row.c.id).limit(limit))
    return [{**_columns(each, *fields, *seen), "data": json.loads(each.data)} for each in rows]


def audit_list(
    conn: Connection, after: int = 0, limit: int = 500, *, kind: str | None = None, actor: str | None = None
) -> list[View]:
    """Audit records with a sequence number above `after`, oldest first; of one kind, or by one actor."""
    row = schema.audit.c
    query = select(schema.audit).where(row.seq > min(after, _LARGEST))
    if kind is not None:
        query = query.where(row.kind == kind)
    if actor is not None:
        query = query.where(row.actor == actor)
    rows = conn.execute(query.order_by(row.seq).limit(limit))
    return [
        {
            **_columns(row, "seq", "at", "kind", "actor", "node_id"),
            "hash": leaf_hash(record_bytes(row)).hex(),
            "data": json.loads(row.data),
        }
        for row in rows
    ]


def network_list(conn: Connection) -> list[View]:
    """Networks with their members and key versions; no secret is among them."""
    networks = conn.execute(select(schema.network).order_by(schema.network.c.name)).all()
    return [
        {"name": row.name, "members": _members(conn, row.name), "keys": key_list(conn, row.name)} for row in networks
    ]


def key_list(conn: Connection, network: str) -> list[View]:
    """Key versions of a network: number, state, times; of the destroyed ones the newest only."""
    versions = schema.key_version
    mine, dead = versions.c.network == network, versions.c.state == VersionState.DESTROYED
    ended = select(versions).where(mine & dead).order_by(versions.c.version.desc()).limit(DESTROYED_SHOWN)
    rows = [*conn.execute(ended), *conn.execute(select(versions).where(mine & ~dead))]
    rows.sort(key=lambda row: int(row.version))
    return [_columns(row, "version", "state", "kek_id", "created_at", "destroyed_at") for row in rows]


def _members(conn: Connection, network: str) -> list[View]:
    query = select(schema.member, schema.node.c.name).join(schema.node).where(schema.member.c.network == network)
    fields = ("name", "address", "resource_class", "version", "epoch", "rotate_at")
    return [_columns(row, *fields) for row in conn.execute(query.order_by(schema.node.c.name))]


def _memberships(conn: Connection, node_id: str) -> list[View]:
    versions = schema.key_version
    joined = schema.member.outerjoin(
        versions, (versions.c.network == schema.member.c.network) & (versions.c.version == schema.member.c.version)
    )
    query = select(schema.member, versions.c.state.label("version_state")).select_from(joined)
    fields = ("network", "address", "resource_class", "version", "version_state", "epoch", "rotate_at")
    return [_columns(row, *fields) for row in conn.execute(query.where(schema.member.c.node_id == node_id))]


def _last_challenge(conn: Connection, node_id: str) -> View | None:
    query = select(schema.challenge).where(schema.challenge.c.node_id == node_id)
    row = conn.execute(query.order_by(schema.challenge.c.epoch.desc()).limit(1)).first()
    return None if row is None else _columns(row, "id", "state", "reason", "summoned_at", "expires_at", "answered_at")


def _count(conn: Connection, column: ColumnElement[Any], condition: ColumnElement[bool]) -> int:
    return conn.execute(select(func.count(column)).where(condition)).scalar_one()


def _columns(row: Row[Any], *names: str) -> View:
    return {name: getattr(row, name) for name in names}
