"""Key Orchestration: turns standings into key bundles, and bundles that changed into deliveries."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from authority.alerts import raise_alert
from authority.keys.associations import Link, Member, links
from authority.keys.sealing import DeliveryKeyUnusable, delivery_key, seal
from authority.keys.versions import numbers_by_state, open_secret
from authority.runtime import Push, Runtime
from authority.store import schema
from authority.trust import choose_version, distribute_key
from protocol.codec import ProtocolViolation, decode, length_prefixed
from protocol.delivery import Association, Direction, KeyBundle, Peer
from protocol.key_schedule import FRESH_BYTES, PairContext, derive_pair_key, pair_spi
from protocol.levels import NodeState, ResourceClass, VersionState
from protocol.messages import DeliveryEvent

NOBODY: frozenset[str] = frozenset()


def reconcile(
    conn: Connection, rt: Runtime, network: str | None, now: float, advance: frozenset[str] = NOBODY
) -> list[Push]:
    """Bring the bundles of one network, or of all, in line with the standings; deliver those that changed.

    The nodes in `advance` get a new epoch whatever else holds: their standing changed.
    """
    names = [network] if network is not None else conn.scalars(select(schema.network.c.name)).all()
    return [push for name in names for push in _reconcile_network(conn, rt, name, now, advance=advance)]


def expel(conn: Connection, rt: Runtime, network: str, node_id: str, now: float) -> list[Push]:
    """Bring the network to where the node, still a member, holds no key and shares no association."""
    return _reconcile_network(conn, rt, network, now, expelled=frozenset({node_id}))


def tick(conn: Connection, rt: Runtime, now: float) -> list[Push]:
    """Advance the epochs that are due and renew the leases that are half over."""
    member, sent = schema.member, schema.delivery
    overdue = select(member.c.network).where(member.c.version.is_not(None) & (member.c.rotate_at <= now))
    newest = (
        select(sent.c.node_id, sent.c.network, func.max(sent.c.issued_at).label("at"))
        .group_by(sent.c.node_id, sent.c.network)
        .subquery()
    )
    ageing = (
        select(member.c.network)
        .join(newest, (newest.c.node_id == member.c.node_id) & (newest.c.network == member.c.network))
        .where(member.c.version.is_not(None) & (newest.c.at <= now - rt.policy.delivery.lease_s / 2))
    )
    due = {*conn.scalars(overdue), *conn.scalars(ageing)}
    return [push for name in sorted(due) for push in _reconcile_network(conn, rt, name, now)]


def reissue(conn: Connection, rt: Runtime, node_id: str, now: float) -> list[Push]:
    """New epochs for a node in all its networks: after it lost its keys, none of the old ones is handed out again."""
    mine = select(schema.member.c.network).where(schema.member.c.node_id == node_id)
    only = frozenset({node_id})
    return [push for name in conn.scalars(mine).all() for push in _reconcile_network(conn, rt, name, now, advance=only)]


_UNREADABLE = "unreadable"
"""The digest of no bundle: what was sent is not known, so that it is sent again."""


class _Identity(msgspec.Struct, frozen=True):
    """What a delivery was made of, as its row keeps it."""

    digest: str
    outbound: list[tuple[str, str]]


@dataclass(frozen=True)
class _Epoch:
    """What a source's keys depend on besides the version secret."""

    version: int | None
    number: int
    fresh: bytes = field(repr=False)


@dataclass(frozen=True)
class _Sent:
    """The newest delivery to a member."""

    digest: str
    outbound: frozenset[tuple[str, str]]
    issued_at: float


class _Secrets:
    """Version secrets of one network, each unwrapped once and only if a key is derived from it."""

    def __init__(self, conn: Connection, rt: Runtime, network: str) -> None:
        self._open: Callable[[int], bytes] = functools.partial(open_secret, conn, rt, network)
        self._opened: dict[int, bytes] = {}

    def of(self, version: int) -> bytes:
        """The 32-byte secret of a version."""
        if version not in self._opened:
            self._opened[version] = self._open(version)
        return self._opened[version]


@dataclass(frozen=True)
class _Plan:
    """A network as it should be now: members by node id, the pairs that may talk, and each source's epoch."""

    network: str
    members: dict[str, Member]
    links: list[Link]
    epochs: dict[str, _Epoch]
    secrets: _Secrets
    places: dict[str, Peer]
    slots: dict[str, int]

    def of(self, node_id: str) -> list[Link]:
        """The pairs that the node is an end of."""
        return [link for link in self.links if node_id in (link.source, link.destination)]

    def inbound(self, node_id: str) -> list[Link]:
        """The pairs that the node receives of."""
        return [link for link in self.links if link.destination == node_id]

    def peers(self, node_id: str) -> list[str]:
        """Ids of the nodes at the other ends."""
        return sorted({link.source for link in self.inbound(node_id)})


def _reconcile_network(
    conn: Connection,
    rt: Runtime,
    network: str,
    now: float,
    advance: frozenset[str] = NOBODY,
    expelled: frozenset[str] = NOBODY,
) -> list[Push]:
    rows = _member_rows(conn, network)
    numbers = numbers_by_state(conn, network)
    members = {row.node_id: _member(row, {} if row.node_id in expelled else numbers) for row in rows}
    pairs = links([*members.values()])
    sent = {row.node_id: _newest_delivery(conn, row.node_id, network) for row in rows}
    epochs = {}
    for row in rows:
        member = members[row.node_id]
        gained = bool(_outbound(pairs, row.node_id) - sent[row.node_id].outbound)
        renew = row.node_id in advance or gained or row.rotate_at <= now
        epochs[row.node_id] = _settle_epoch(conn, rt, row, member, renew, now)
    places = {row.node_id: _place(row) for row in rows}
    slots = {row.node_id: row.slot for row in rows}
    plan = _Plan(network, members, pairs, epochs, _Secrets(conn, rt, network), places, slots)
    return [push for row in rows for push in _deliver_if_changed(conn, rt, plan, row, sent[row.node_id], now)]


def _member_rows(conn: Connection, network: str) -> Sequence[Row[Any]]:
    node = schema.node
    columns = (node.c.name, node.c.state, node.c.lab, node.c.score, node.c.enclave_kind, node.c.delivery_public)
    place = (node.c.endpoint, node.c.wireguard_public, node.c.wireguard_port)
    query = select(schema.member, *columns, *place).join(node, node.c.id == schema.member.c.node_id)
    return conn.execute(query.where(schema.member.c.network == network).order_by(schema.member.c.node_id)).all()


def _member(row: Row[Any], numbers: Mapping[VersionState, int]) -> Member:
    grant = distribute_key(row.score)
    return Member(
        node_id=row.node_id,
        name=row.name,
        state=NodeState(row.state),
        lab=row.lab,
        grant=grant,
        version=choose_version(grant, numbers),
        resource_class=ResourceClass(row.resource_class),
    )


def _place(row: Row[Any]) -> Peer:
    return Peer(
        node_id=row.node_id,
        name=row.name,
        address=row.address,
        endpoint=row.endpoint,
        wireguard_public=row.wireguard_public,
        wireguard_port=row.wireguard_port,
    )


def _outbound(pairs: Sequence[Link], node_id: str) -> frozenset[tuple[str, str]]:
    return frozenset((link.destination, link.resource_class.value) for link in pairs if link.source == node_id)


def _settle_epoch(conn: Connection, rt: Runtime, row: Row[Any], member: Member, renew: bool, now: float) -> _Epoch:
    """The member's epoch from now on.

    A pair that comes back after a break gets a new epoch as well: a derived key is installed outbound at most once.
    """
    if member.cut_off:
        epoch, rotate_at = _Epoch(None, row.epoch, b""), 0.0
    elif renew or row.fresh == b"" or row.version != member.version:
        epoch = _Epoch(member.version, row.epoch + 1, rt.random(FRESH_BYTES))
        rotate_at = now + rt.policy.rotation.period_s(member.grant.rotation)
    else:
        epoch, rotate_at = _Epoch(row.version, row.epoch, row.fresh), row.rotate_at
    key = (schema.member.c.network == row.network) & (schema.member.c.node_id == row.node_id)
    values = {"version": epoch.version, "epoch": epoch.number, "fresh": epoch.fresh, "rotate_at": rotate_at}
    conn.execute(update(schema.member).where(key).values(**values))
    return epoch


def _newest_delivery(conn: Connection, node_id: str, network: str) -> _Sent:
    sent = schema.delivery
    mine = (sent.c.node_id == node_id) & (sent.c.network == network)
    row = conn.execute(select(sent.c.identity, sent.c.issued_at).where(mine).order_by(sent.c.number.desc())).first()
    if row is None or not row.identity:
        return _Sent("", frozenset(), 0.0)
    try:
        identity = decode(row.identity, _Identity)
    except ProtocolViolation:
        return _Sent(_UNREADABLE, frozenset(), row.issued_at)
    return _Sent(identity.digest, frozenset(identity.outbound), row.issued_at)


def _deliver_if_changed(
    conn: Connection, rt: Runtime, plan: _Plan, row: Row[Any], sent: _Sent, now: float
) -> list[Push]:
    member = plan.members[row.node_id]
    mine = plan.of(row.node_id)
    digest = _identity_digest(rt, plan, member, mine)
    ageing = not member.cut_off and sent.issued_at <= now - rt.policy.delivery.lease_s / 2
    nothing_to_take_back = member.cut_off and sent.digest == ""
    if member.state is NodeState.RETIRED or nothing_to_take_back or (digest == sent.digest and not ageing):
        return []
    identity = {"digest": digest, "outbound": sorted(_outbound(mine, row.node_id))}
    return _deliver(conn, rt, row, _bundle(rt, plan, member, now), json.dumps(identity), now)


def _identity_digest(rt: Runtime, plan: _Plan, member: Member, mine: Sequence[Link]) -> str:
    """SHA-256 over all that the bundle depends on; the version secrets are named by number."""
    own = plan.epochs[member.node_id]
    period = str(rt.policy.rotation.period_s(member.grant.rotation))
    parts: list[bytes | str | int] = [rt.generation, member.grant.tier, member.access, period]
    parts += [str(own.version), own.number, own.fresh]
    for place in (plan.places[one] for one in [member.node_id, *plan.peers(member.node_id)]):
        parts += [place.address, place.endpoint, place.wireguard_public, place.wireguard_port]
    for link in mine:
        epoch = plan.epochs[link.source]
        parts += [link.source, link.destination, link.resource_class, str(epoch.version), epoch.number, epoch.fresh]
    return hashlib.sha256(length_prefixed("keyvigil/bundle/1", *parts)).hexdigest()


def _bundle(rt: Runtime, plan: _Plan, member: Member, now: float) -> KeyBundle:
    epoch = plan.epochs[member.node_id]
    return KeyBundle(
        network=plan.network,
        tier=member.grant.tier,
        access=member.access,
        rotation=member.grant.rotation,
        version=epoch.version,
        epoch=epoch.number,
        rotate_s=rt.policy.rotation.period_s(member.grant.rotation),
        expires_at=now + rt.policy.delivery.lease_s,
        associations=[_association(rt, plan, member.node_id, link) for link in plan.of(member.node_id)],
        address=plan.places[member.node_id].address,
        endpoint=plan.places[member.node_id].endpoint,
        isolated=member.state in {NodeState.ISOLATED, NodeState.BANNED},
        accepts=sorted({v for link in plan.inbound(member.node_id) if (v := plan.epochs[link.source].version)}),
        peers=[plan.places[peer] for peer in plan.peers(member.node_id)],
    )


def _association(rt: Runtime, plan: _Plan, node_id: str, link: Link) -> Association:
    epoch = plan.epochs[link.source]
    if epoch.version is None:
        raise AssertionError("an association whose source is cut off")
    outbound = link.source == node_id
    peer = link.destination if outbound else link.source
    pair = PairContext(
        plan.network,
        epoch.version,
        link.source,
        link.destination,
        link.resource_class,
        epoch.number,
        rt.generation,
        epoch.fresh,
    )
    return Association(
        peer=peer,
        peer_name=plan.members[peer].name,
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        version=epoch.version,
        epoch=epoch.number,
        resource_class=link.resource_class,
        spi=pair_spi(plan.slots[link.source], epoch.number),
        key=derive_pair_key(plan.secrets.of(epoch.version), pair),
    )


def _deliver(conn: Connection, rt: Runtime, row: Row[Any], bundle: KeyBundle, identity: str, now: float) -> list[Push]:
    try:
        recipient = delivery_key(row.enclave_kind, row.delivery_public)
    except DeliveryKeyUnusable as error:
        text = f"no key can be delivered to {row.name}: its delivery key is unusable ({error})"
        raise_alert(conn, "error", "delivery-impossible", row.node_id, text, {"network": row.network}, now)
        return []
    number = _take_number(conn, row.node_id)
    envelope = seal(rt, row.node_id, recipient, number, bundle, now)
    values = {"node_id": row.node_id, "number": number, "network": row.network, "envelope": envelope}
    conn.execute(insert(schema.delivery).values(**values, identity=identity, issued_at=now))
    return [(row.node_id, DeliveryEvent(number=number, envelope=envelope))]


def _take_number(conn: Connection, node_id: str) -> int:
    node = schema.node
    number: int = conn.execute(select(node.c.next_delivery).where(node.c.id == node_id)).scalar_one()
    conn.execute(update(node).where(node.c.id == node_id).values(next_delivery=number + 1))
    return number
