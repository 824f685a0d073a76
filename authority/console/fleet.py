"""The fleet in numbers, and its nodes page by page: a few queries, however many nodes there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, case, func, or_, select

from authority.store import schema
from authority.trust import OPEN_CHALLENGES
from protocol.levels import NodeState, Tier

PAGE = 50
"""Rows of a page."""
_NODE, _DUE, _ALERT = schema.node, schema.schedule, schema.alert
_GONE = (NodeState.RETIRED.value,)
_SERVING = tuple(each.value for each in NodeState if each not in {NodeState.PENDING, NodeState.RETIRED})
ORDERS = {
    "worst": "lowest score first",
    "name": "by name",
    "seen": "longest unseen first",
    "due": "next challenge first",
}


@dataclass(frozen=True)
class Filters:
    """What a list of nodes is narrowed to; an empty text leaves it as it is."""

    words: str = ""
    tier: str = ""
    state: str = ""
    network: str = ""
    late: bool = False
    order: str = "worst"


@dataclass(frozen=True)
class Glance:
    """The fleet at one look; numbers of nodes, but for the alerts."""

    tiers: dict[str, int]
    states: dict[str, int]
    summoned: int
    overdue: int
    unattested: int
    alerts: dict[str, int]


def glance(conn: Connection, now: float) -> Glance:
    """How the fleet stands; retired nodes are left out, and tiers count those that serve."""
    serving = _NODE.c.state.in_(_SERVING)
    tiers = _counts(conn, _NODE.c.tier, serving)
    open_now = select(func.count(schema.challenge.c.id)).where(
        schema.challenge.c.state.in_([each.value for each in OPEN_CHALLENGES])
    )
    return Glance(
        {each.value: tiers.get(each.value, 0) for each in Tier},
        _counts(conn, _NODE.c.state, _NODE.c.state.not_in(_GONE)),
        conn.execute(open_now).scalar_one(),
        conn.execute(select(func.count(_NODE.c.id)).where(_NODE.c.state == NodeState.OVERDUE.value)).scalar_one(),
        conn.execute(select(func.count(_DUE.c.node_id)).where(_DUE.c.attest_deadline_at < now)).scalar_one(),
        _counts(conn, _ALERT.c.severity, _ALERT.c.acknowledged_at.is_(None)),
    )


def nodes(conn: Connection, filters: Filters, number: int, now: float) -> tuple[int, Sequence[Row[Any]]]:
    """How many nodes pass the filters, and those of one page, with `next_challenge_at` and `open_alerts`."""
    kept = _where(filters, now)
    total = conn.execute(_joined(select(func.count(_NODE.c.id)), kept)).scalar_one()
    alerts = (
        select(func.count(_ALERT.c.id))
        .where((_ALERT.c.node_id == _NODE.c.id) & _ALERT.c.acknowledged_at.is_(None))
        .correlate(_NODE)
        .scalar_subquery()
    )
    shown = select(_NODE, _DUE.c.next_challenge_at, alerts.label("open_alerts"))
    ordered = _joined(shown, kept).order_by(*_order(filters.order)).limit(PAGE).offset((number - 1) * PAGE)
    return total, conn.execute(ordered).all()


def matching(conn: Connection, filters: Filters, now: float) -> list[str]:
    """The ids of all nodes that pass the filters, in order."""
    return [*conn.scalars(_joined(select(_NODE.c.id), _where(filters, now)).order_by(*_order(filters.order)))]


def network_summary(conn: Connection) -> list[dict[str, Any]]:
    """Of each network: members, those with keys, those that owe an answer, those given up on, the next rotation."""
    row, member, evicted = schema.network, schema.member, schema.evicted_pair
    holds = member.c.version.is_not(None)
    counted = (
        select(
            row.c.name,
            row.c.settled_at,
            row.c.stepped_at,
            func.count(member.c.node_id).label("members"),
            func.count(member.c.version).label("holding"),
            func.count(member.c.outstanding_since).label("waiting"),
            func.min(case((holds, member.c.rotate_at))).label("next_due"),
        )
        .outerjoin(member, member.c.network == row.c.name)
        .group_by(row.c.name, row.c.settled_at, row.c.stepped_at)
        .order_by(row.c.name)
    )
    pairs = select(evicted.c.network, func.count()).group_by(evicted.c.network)
    given_up = {each[0]: each[1] for each in conn.execute(pairs)}
    return [{**each._mapping, "given_up": given_up.get(each.name, 0)} for each in conn.execute(counted)]


def _counts(conn: Connection, column: ColumnElement[str], kept: ColumnElement[bool]) -> dict[str, int]:
    query = select(column, func.count()).where(kept).group_by(column)
    return {each[0]: each[1] for each in conn.execute(query)}


def _joined(query: Select[Any], kept: list[ColumnElement[bool]]) -> Select[Any]:
    return query.select_from(_NODE.outerjoin(_DUE, _DUE.c.node_id == _NODE.c.id)).where(*kept)


def _where(filters: Filters, now: float) -> list[ColumnElement[bool]]:
    kept: list[ColumnElement[bool]] = [_NODE.c.state == filters.state if filters.state else _NODE.c.state.not_in(_GONE)]
    if filters.words:
        fields = (_NODE.c.name, _NODE.c.endpoint, _NODE.c.id)
        kept.append(or_(*(each.contains(filters.words.lower(), autoescape=True) for each in fields)))
    if filters.tier:
        kept.append(_NODE.c.tier == filters.tier)
    if filters.network:
        member = schema.member
        kept.append(_NODE.c.id.in_(select(member.c.node_id).where(member.c.network == filters.network)))
    if filters.late:
        kept.append((_NODE.c.state == NodeState.OVERDUE.value) | (_DUE.c.attest_deadline_at < now))
    return kept


def _order(name: str) -> list[ColumnElement[Any]]:
    orders: dict[str, ColumnElement[Any]] = {
        "worst": _NODE.c.score.asc(),
        "seen": func.coalesce(_NODE.c.last_seen_at, 0.0).asc(),
        "due": func.coalesce(_DUE.c.next_challenge_at, 9e18).asc(),
    }
    first = orders.get(name)
    return [_NODE.c.name] if first is None else [first, _NODE.c.name]
