"""Key Orchestration: turns standings into key bundles, and bundles that changed into deliveries, step by step."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, exists, func, select, update

from authority.keys import stragglers
from authority.keys.planning import NO_ORDER, NOBODY, Order
from authority.keys.stepping import carry_out
from authority.runtime import Push, Runtime
from authority.store import schema

PROMPT_S = 2.0
"""A node that owes an answer for longer is not waited for before the others take their next step together."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Between two steps of a network in which not everybody who is prompt has answered yet."""


def reconcile(
    conn: Connection, rt: Runtime, network: str | None, now: float, advance: frozenset[str] = NOBODY
) -> list[Push]:
    """Bring the bundles of one network, or of all, in line with the standings; deliver those that changed.

    The nodes in `advance` get a new epoch whatever else holds: their standing changed.
    """
    names = [network] if network is not None else conn.scalars(select(schema.network.c.name)).all()
    return [push for name in names for push in carry_out(conn, rt, name, Order(advance=advance), now)]


def expel(conn: Connection, rt: Runtime, network: str, node_id: str, now: float) -> list[Push]:
    """Bring the network to where the node, still a member, holds no key and shares no association."""
    return carry_out(conn, rt, network, Order(expelled=frozenset({node_id})), now)


def tick(conn: Connection, rt: Runtime, now: float) -> list[Push]:
    """Whatever time brings about: epochs that are due, leases half over, drain times and patience at their end."""
    row = schema.network
    names = conn.scalars(select(row.c.name).where(row.c.look_at <= now).order_by(row.c.name)).all()
    return [push for name in names for push in carry_out(conn, rt, name, NO_ORDER, now)]


def reissue(conn: Connection, rt: Runtime, node_id: str, now: float) -> list[Push]:
    """A new epoch for a node in all its networks, because its standing changed."""
    only = Order(advance=frozenset({node_id}))
    return [push for name in _networks_of(conn, node_id) for push in carry_out(conn, rt, name, only, now)]


def replace_lost(conn: Connection, rt: Runtime, node_id: str, now: float) -> list[Push]:
    """As `reissue`, for a node that lost its keys: it sends under none of the old ones again, nor is it counted on."""
    row = schema.delivery
    conn.execute(
        update(row).where((row.c.node_id == node_id) & row.c.ended_at.is_(None)).values(acked_at=None, ack=None)
    )
    only = Order(lost=frozenset({node_id}))
    return [push for name in _networks_of(conn, node_id) for push in carry_out(conn, rt, name, only, now)]


def acknowledged(
    conn: Connection, rt: Runtime, network: str, node_id: str, number: int, now: float, *, lost: bool = False
) -> list[Push]:
    """Take note that a node installed a delivery of the network, and go on with the rotation where that was waited for.

    With `lost` it did so without the keys to send under, for those it had installed before and then lost.
    """
    row = schema.delivery
    here = (row.c.node_id == node_id) & (row.c.network == network)
    earlier = here & (row.c.number < number) & row.c.ended_at.is_(None)
    conn.execute(update(row).where(earlier).values(ended_at=now))
    unanswered = here & row.c.acked_at.is_(None) & row.c.ended_at.is_(None)
    owed = conn.scalar(select(func.min(row.c.issued_at)).where(unanswered))
    member = (schema.member.c.network == network) & (schema.member.c.node_id == node_id)
    conn.execute(update(schema.member).where(member).values(outstanding_since=owed))
    returned = owed is None and stragglers.forgive(conn, network, node_id, now)
    if lost:
        return carry_out(conn, rt, network, Order(lost=frozenset({node_id})), now)
    return _go_on(conn, rt, network, now, at_once=returned)


def forgive_outage(conn: Connection, seconds: float) -> None:
    """Count the time in which the authority was away as nobody's silence."""
    since = schema.member.c.outstanding_since
    conn.execute(update(schema.member).where(since.is_not(None)).values(outstanding_since=since + seconds))


def look_soon(conn: Connection) -> None:
    """Have every network looked at by the next tick: periods or leases may be others now."""
    conn.execute(update(schema.network).values(look_at=0.0))


def _go_on(conn: Connection, rt: Runtime, network: str, now: float, *, at_once: bool) -> list[Push]:
    """The next step once everybody prompt has answered; before that now and then, with those that have."""
    row, member = schema.network, schema.member
    known = conn.execute(select(row).where(row.c.name == network)).first()
    if known is None or not (at_once or known.pending):
        return []
    prompt = exists().where((member.c.network == network) & (member.c.outstanding_since > now - PROMPT_S))
    if at_once or not conn.scalar(select(prompt)):
        return carry_out(conn, rt, network, NO_ORDER, now)
    pause = min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, (now - known.stepped_at) / 2))
    soon = (row.c.name == network) & (row.c.look_at > now + pause)
    conn.execute(update(row).where(soon).values(look_at=now + pause))
    return []


def _networks_of(conn: Connection, node_id: str) -> Iterable[str]:
    mine = schema.member.c.node_id == node_id
    return conn.scalars(select(schema.member.c.network).where(mine).order_by(schema.member.c.network)).all()
