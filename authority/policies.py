"""Which policy was in force when: noted at start and whenever it is replaced, with every setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select

from authority import audit, fleet_orders, standing
from authority.fleet_orders import Kind
from authority.keys.orchestrator import look_soon
from authority.runtime import Push, Refusal, Runtime
from authority.store import schema
from authority.trust import Policy


def note(conn: Connection, policy: Policy, actor: str, now: float) -> bool:
    """Note that `policy` is in force from now on, and tell whether another one was before."""
    newest = _newest(conn)
    if newest is not None and newest.sha256 == policy.sha256:
        return False
    settings = msgspec.json.encode(policy, order="sorted").decode()
    conn.execute(insert(schema.policy_version).values(**policy.identity, settings=settings, since=now))
    was = None if newest is None else {"version": newest.version, "sha256": newest.sha256}
    audit.append(conn, "policy", actor, None, {"policy": policy.identity, "was": was}, now)
    return True


def adopt(conn: Connection, rt: Runtime, policy: Policy, actor: str, now: float) -> list[Push]:
    """Put `policy` in force, and begin to bring every standing in line with it; raises `Refused` for a used label.

    Called on the store's own thread, where every decision is made: none is made half by one policy, half by another.
    The standing of a node that no pass has come to, and nothing was decided about, is that of the policy before.
    """
    row = schema.policy_version
    used = select(row.c.seq).where((row.c.version == policy.version) & (row.c.sha256 != policy.sha256))
    if conn.execute(used).first() is not None:
        raise Refusal(f"another policy was called {policy.version!r}", "Give the policy a `version` of its own.")
    before, rt.policy = rt.policy, policy
    try:
        if not note(conn, policy, actor, now):
            return []
        look_soon(conn)
        return go_on(conn, rt, _begin(conn, policy, actor, now), now)
    except BaseException:
        rt.policy = before
        raise


def go_on(conn: Connection, rt: Runtime, order: Row[Any], now: float) -> list[Push]:
    """One pass of an order: the standing of the next nodes by the policy in force."""
    pushes, reached, done = standing.refresh_after(conn, rt, order.reached, fleet_orders.AT_ONCE, now)
    fleet_orders.move_on(conn, order, reached, done, now)
    return pushes


def in_force(conn: Connection) -> Sequence[Row[Any]]:
    """Every policy that was in force, oldest first."""
    row = schema.policy_version
    return conn.execute(select(row).order_by(row.c.seq)).all()


def _begin(conn: Connection, policy: Policy, actor: str, now: float) -> Row[Any]:
    fleet_orders.supersede(conn, Kind.POLICY, now)
    return fleet_orders.begin(conn, Kind.POLICY, policy.version, actor, "", standing.serving(conn), now)


def _newest(conn: Connection) -> Row[Any] | None:
    row = schema.policy_version
    return conn.execute(select(row).order_by(row.c.seq.desc()).limit(1)).first()
