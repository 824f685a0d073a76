"""The stories of nodes as a database has them, for the replay of a policy; the authority may serve meanwhile."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Row, select, true
from sqlalchemy.exc import DatabaseError

from authority import policies, profiles
from authority.conduct import signal_of
from authority.faces import FACE
from authority.standing import presentation_of
from authority.store import StoreUnavailable, schema
from authority.trust import OperatorAction, Order, Performed, Policy, Signal, Story
from protocol.levels import NodeState, Ownership, Tier

Kept = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""What a column with a node's id must be."""
_ORDERS = {f"node-{action.value}": action for action in OperatorAction}
_RANK = {Tier.LOW.value: 0, Tier.MEDIUM.value: 1, Tier.HIGH.value: 2}


@dataclass(frozen=True)
class Recorded:
    """What the audit log says of a period: how often a tier fell, and how often a node was isolated."""

    demotions: int
    isolations: int


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read-only connection to a database that an authority may be writing to; raises `StoreUnavailable`."""
    try:
        with engine.connect() as conn:
            yield conn
    except DatabaseError as error:
        remedy = "Name the state folder of an authority of this version; it brings the database up to date at start."
        raise StoreUnavailable(str(error.orig), remedy) from None
    finally:
        engine.dispose()


def stories(conn: Connection, among: Sequence[str] | None = None) -> dict[str, Story]:
    """Every node by its name, or those `among` which its id is."""
    row, kept = schema.node, _kept(among)
    performed, orders = _performed(conn, kept), _orders(conn, kept)
    failed, signals = _failed(conn, kept), _signals(conn, kept)
    nodes = conn.execute(select(row).where(kept(row.c.id)).order_by(row.c.name)).all()
    return {
        row.name: Story(
            performed[row.id],
            orders[row.id],
            signals[row.id],
            failed[row.id],
            row.enclave_kind,
            row.ownership == Ownership.TAKEN,
        )
        for row in nodes
    }


def _kept(among: Sequence[str] | None) -> Kept:
    return lambda column: true() if among is None else column.in_(among)


def in_force(conn: Connection, fallback: Policy) -> Callable[[float], Policy]:
    """The policy of each moment; `fallback` before the first that was noted, and for one that cannot be read."""
    rows = policies.in_force(conn)
    since = [row.since for row in rows]
    kept = [_policy(row, fallback) for row in rows]
    return lambda now: kept[bisect_right(since, now) - 1] if since and now >= since[0] else fallback


def recorded(conn: Connection, begin: float, end: float) -> Recorded:
    """The decisions of the period as they were entered."""
    row = schema.audit
    within = (row.c.kind == "standing") & (row.c.at >= begin) & (row.c.at <= end)
    entries = [json.loads(data) for data in conn.scalars(select(row.c.data).where(within))]
    fell = [each for each in entries if _RANK[each["tier"]] < _RANK[each["was"]["tier"]]]
    isolated = NodeState.ISOLATED.value
    entered = [each for each in entries if each["state"] == isolated and each["was"]["state"] != isolated]
    return Recorded(len(fell), len(entered))


def faces_without_infrared(conn: Connection) -> list[tuple[str, str]]:
    """Node and administrator of each active profile whose face `challenge.require_infrared` would not count."""
    row, node = schema.profile.c, schema.node
    plain = (row.state == profiles.ACTIVE) & (row.infrared == "")
    query = select(node.c.name, row.admin, row.modalities).join_from(schema.profile, node).where(plain)
    rows = conn.execute(query.order_by(node.c.name, row.admin))
    faces = [each for each in rows if any(one["modality"] == FACE for one in json.loads(each.modalities))]
    return [(each.name, each.admin) for each in faces]


def _policy(row: Row[Any], fallback: Policy) -> Policy:
    try:
        return msgspec.json.decode(row.settings, type=Policy)
    except msgspec.DecodeError:
        return fallback


def _performed(conn: Connection, kept: Kept) -> dict[str, list[Performed]]:
    found: dict[str, list[Performed]] = defaultdict(list)
    entry = schema.presentation
    for row in conn.execute(select(entry).where(kept(entry.c.node_id)).order_by(entry.c.seq)):
        modalities = tuple(map(str, json.loads(row.modalities)))
        found[row.node_id].append(Performed(presentation_of(row), row.elapsed_s, modalities))
    return found


def _orders(conn: Connection, kept: Kept) -> dict[str, list[Order]]:
    found: dict[str, list[Order]] = defaultdict(list)
    for row in _audited(conn, kept, [*_ORDERS]):
        found[row.node_id].append(Order(row.at, _ORDERS[row.kind]))
    return found


def _failed(conn: Connection, kept: Kept) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for row in _audited(conn, kept, ["attestation-failed"]):
        found[row.node_id].append(row.at)
    return found


def _audited(conn: Connection, kept: Kept, kinds: Sequence[str]) -> Sequence[Row[Any]]:
    row = schema.audit
    return conn.execute(select(row).where(row.c.kind.in_(kinds) & kept(row.c.node_id)).order_by(row.c.seq)).all()


def _signals(conn: Connection, kept: Kept) -> dict[str, list[Signal]]:
    """A signal counts from its observation to its end, a peer's as if that peer always had a voice."""
    found: dict[str, list[Signal]] = defaultdict(list)
    entry = schema.signal
    for row in conn.execute(select(entry).where(kept(entry.c.node_id)).order_by(entry.c.id)):
        signal = signal_of(row)
        until = min(signal.until, row.ended_at if row.ended_at is not None else math.inf)
        found[row.node_id].append(replace(signal, until=until))
    return found
