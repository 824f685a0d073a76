"""What the kept signals make of a node's behaviour at a moment."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Row, bindparam, select

from authority.runtime import Runtime
from authority.store import schema
from authority.trust import CUT_OFF, Conduct, Origin, Signal, conduct
from protocol.levels import Tier
from protocol.signals import Severity

KEEP_S = 62 * 86400.0
"""Signals are kept so long after their end, for the replay of a policy."""


def conduct_of(conn: Connection, rt: Runtime, node_id: str, now: float) -> Conduct:
    """The behaviour of a node by everything that counts against it now."""
    return conduct(rt.policy.behaviour, counted(conn, node_id, now), now)


def counted(conn: Connection, node_id: str, now: float) -> list[Signal]:
    """Signals that have not ended; those of a peer that has lost its voice since do not count."""
    found = conn.execute(_COUNTED, {"node": node_id, "now": now}).all()
    if not found:
        return []
    silenced = _silenced(conn, {each.reporter for each in found if each.origin == Origin.PEER.value})
    return [signal_of(each) for each in found if each.origin != Origin.PEER.value or each.reporter not in silenced]


def still_counts(now: float | BindParameter[float]) -> ColumnElement[bool]:
    """The rows of `signal` that have neither ended nor expired."""
    row = schema.signal
    return row.c.ended_at.is_(None) & (row.c.expires_at.is_(None) | (row.c.expires_at > now))


_COUNTED = select(schema.signal).where((schema.signal.c.node_id == bindparam("node")) & still_counts(bindparam("now")))


def signal_of(row: Row[Any]) -> Signal:
    """A row as the trust core sees it; a source whose clock is ahead has not seen the future."""
    at = min(row.observed_at, row.received_at)
    until = math.inf if row.expires_at is None else row.expires_at
    return Signal(Origin(row.origin), row.reporter, row.kind, Severity(row.severity), row.confidence, at, until)


def _silenced(conn: Connection, reporters: set[str]) -> set[str]:
    node = schema.node
    mute = node.c.state.in_([state.value for state in CUT_OFF]) | (node.c.tier == Tier.LOW.value)
    return {*conn.scalars(select(node.c.id).where(node.c.id.in_(reporters) & mute))} if reporters else set()
