"""The next pass of what was ordered over the whole fleet; called by the beat, in a transaction of its own."""

from __future__ import annotations

from sqlalchemy import Connection

from authority import fleet_orders, policies, revoking
from authority.fleet_orders import Kind
from authority.runtime import Push, Runtime


def go_on(conn: Connection, rt: Runtime, now: float) -> tuple[list[Push], bool]:
    """What nodes are to be told of the pass, and whether there was one to make."""
    order = fleet_orders.next_due(conn)
    if order is None:
        return [], False
    match Kind(order.kind):
        case Kind.REVOKE:
            return revoking.go_on(conn, order, now), True
        case Kind.POLICY:
            return policies.go_on(conn, rt, order, now), True
