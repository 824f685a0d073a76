"""A network as it should be now: its members by slot, who may talk to whom, and every source's epochs."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from authority.keys.associations import Member
from authority.keys.epochs import Alive, EpochBook
from authority.keys.rotation import Course
from authority.keys.sealing import DeliveryKeyUnusable, delivery_key
from authority.store import schema
from authority.trust import choose_version, distribute_key
from authority.trust.policy import RotationRules
from protocol.delivery import Peer
from protocol.levels import NodeState, ResourceClass, VersionState

LEAST_PATIENCE_S = 5.0
"""Half of the shortest period outside a lab."""
NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Order:
    """What is asked for besides bringing all in line, by node id.

    `advance` get a new epoch in their turn; so do those that have `lost` their keys, which send under none of before;
    `at_once` change to a new one without waiting for anybody; `expelled` hold nothing any more.
    """

    advance: frozenset[str] = NOBODY
    lost: frozenset[str] = NOBODY
    at_once: frozenset[str] = NOBODY
    expelled: frozenset[str] = NOBODY


NO_ORDER = Order()


def member_rows(conn: Connection, network: str) -> Sequence[Row[Any]]:
    """The rows of a network's members, with what their nodes' rows say."""
    node = schema.node
    columns = (node.c.name, node.c.state, node.c.lab, node.c.score)
    sealing = (node.c.enclave_kind, node.c.delivery_public, node.c.next_delivery)
    place = (node.c.endpoint, node.c.wireguard_public, node.c.wireguard_port)
    query = select(schema.member, *columns, *sealing, *place).join(node, node.c.id == schema.member.c.node_id)
    return conn.execute(query.where(schema.member.c.network == network).order_by(schema.member.c.node_id)).all()


def member_of(row: Row[Any], numbers: Mapping[VersionState, int]) -> Member:
    """A member; one whose delivery key nothing can be sealed to holds no version."""
    grant = distribute_key(row.score)
    return Member(
        node_id=row.node_id,
        name=row.name,
        state=NodeState(row.state),
        lab=row.lab,
        grant=grant,
        version=None if why_unusable(row.enclave_kind, row.delivery_public) else choose_version(grant, numbers),
        resource_class=ResourceClass(row.resource_class),
        slot=row.slot,
    )


@functools.lru_cache(maxsize=1 << 16)
def why_unusable(kind: str, public: bytes) -> str:
    """Why nothing can be sealed to a delivery key; empty when it can."""
    try:
        delivery_key(kind, public)
    except DeliveryKeyUnusable as error:
        return str(error) or "it cannot be read"
    return ""


def place_of(row: Row[Any]) -> Peer:
    """Where a member is found."""
    return Peer(
        node_id=row.node_id,
        name=row.name,
        address=row.address,
        endpoint=row.endpoint,
        wireguard_public=row.wireguard_public,
        wireguard_port=row.wireguard_port,
    )


def due(rows: Iterable[Row[Any]], members: Mapping[int, Member], rules: RotationRules, now: float) -> set[int]:
    """The slots of the sources that take a new epoch now.

    Whoever is due within half a period goes along, so that the members of a network come to rotate together: a
    rotation costs a delivery to every peer, however many sources it is of.
    """
    left = {row.slot: row.rotate_at - now for row in rows if not members[row.slot].cut_off}
    half = {slot: rules.period_s(members[slot].grant.rotation) / 2 for slot in left}
    window = max((half[slot] for slot in left if left[slot] <= 0), default=None)
    if window is None:
        return set()
    return {slot for slot, seconds in left.items() if seconds <= min(window, half[slot])}


def settle_epochs(
    book: EpochBook, member: Member, versions: frozenset[int], order: Order, renew: bool, now: float
) -> bool:
    """Bring a source's epochs in line with what it is granted; whether it got a new one.

    One whose version went down, or whose epochs are all of destroyed versions, changes at once: its peers let the old
    key go without waiting for it.
    """
    node_id, alive = member.node_id, book.of(member.node_id)
    if member.cut_off or member.version is None:
        book.keep(node_id, ())
        return False
    book.keep(node_id, (each.number for each in alive.epochs if each.version in versions))
    newest = alive.newest
    if node_id in order.lost:
        book.keep(node_id, (each.number for each in alive.epochs if each.not_before > now))
    elif newest is None or member.version < newest.version or node_id in order.at_once:
        book.keep(node_id, ())
        alive.at_once = True
    elif not renew and node_id not in order.advance and newest.version == member.version:
        return False
    book.add(node_id, member.version, now)
    return True


def patience_s(rules: RotationRules, member: Member) -> float:
    """How long a rotation of the member's keys waits for an end of a pair."""
    return max(LEAST_PATIENCE_S, rules.period_s(member.grant.rotation) / 2)


def course_of(alive: Alive, patience_s: float, now: float) -> Course:
    """A source's epochs as the rotation sees them."""
    target = alive.target(now)
    overtaken = frozenset(each.number for each in alive.epochs if each.number < target and each.not_before > now)
    return Course(alive.numbers(), target, overtaken, alive.at_once, patience_s)


def issue_ahead(book: EpochBook, member: Member, times: Iterable[float], now: float) -> None:
    """Epochs of a source for the `times` to come, but for those that it has."""
    alive = book.of(member.node_id)
    latest = max((each.not_before for each in alive.epochs if each.number > alive.target(now)), default=now)
    for at in times:
        if at > latest and member.version is not None:
            book.add(member.node_id, member.version, now, at)


def times_ahead(first: float, period_s: float, until: float) -> list[float]:
    """When a source is due from `first` on, until a moment: once at least."""
    return [first + index * period_s for index in range(max(1, 1 + math.floor((until - first) / period_s)))]
