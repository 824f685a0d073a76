"""From what a node shall hold to a sealed bundle in its row."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, insert, update

from authority.keys.associations import Member
from authority.keys.contents import write_identity
from authority.keys.epochs import Alive
from authority.keys.rotation import Contents, Epochs
from authority.keys.sealing import delivery_key, seal
from authority.keys.versions import open_secret
from authority.runtime import Push, Runtime
from authority.store import schema
from protocol.codec import encode, length_prefixed
from protocol.delivery import Association, Direction, KeyBundle, Peer
from protocol.key_schedule import PairContext, PairKeys, pair_spi
from protocol.levels import NodeState
from protocol.messages import DeliveryEvent


class _Secrets:
    """Version secrets of one network, each unwrapped once and only if a key is derived from it."""

    def __init__(self, conn: Connection, rt: Runtime, network: str) -> None:
        self._open: Callable[[int], bytes] = functools.partial(open_secret, conn, rt, network)
        self._opened: dict[int, PairKeys] = {}

    def of(self, version: int) -> PairKeys:
        """The keys under a version."""
        if version not in self._opened:
            self._opened[version] = PairKeys(self._open(version))
        return self._opened[version]


class Plan:
    """All that the bundles of a network are made of, by slot."""

    def __init__(
        self,
        conn: Connection,
        rt: Runtime,
        network: str,
        members: Mapping[int, Member],
        epochs: Mapping[int, Alive],
        places: Mapping[int, Peer],
    ) -> None:
        self._rt = rt
        self._network = network
        self._members = members
        self._epochs = epochs
        self._places = places
        self._marks = {slot: hashlib.sha256(encode(place)).digest() for slot, place in places.items()}
        self._made: list[dict[str, Any]] = []
        self._secrets = _Secrets(conn, rt, network)

    def deliver(self, row: Row[Any], contents: Contents, digest: str, now: float) -> Push:
        """Seal what a member (its row) shall hold, to be written by `save`; gives what is to be pushed."""
        member, number = self._members[row.slot], row.next_delivery
        recipient = delivery_key(row.enclave_kind, row.delivery_public)
        envelope = seal(self._rt, row.node_id, recipient, number, self._bundle(row.slot, contents, now), now)
        identity = write_identity(digest, self._rt.generation, member.resource_class, contents)
        values = {"node_id": row.node_id, "number": number, "network": self._network, "envelope": envelope}
        self._made.append(values | {"identity": identity, "issued_at": now})
        return row.node_id, DeliveryEvent(number=number, envelope=envelope)

    def save(self, conn: Connection) -> None:
        """Write what was delivered, and that its numbers are used up."""
        if not self._made:
            return
        row = schema.node
        used = [{"of": each["node_id"], "following": each["number"] + 1} for each in self._made]
        conn.execute(update(row).where(row.c.id == bindparam("of")).values(next_delivery=bindparam("following")), used)
        conn.execute(insert(schema.delivery), self._made)

    def digest(self, slot: int, contents: Contents) -> str:
        """SHA-256 over all that the bundle depends on; keys are named by generation and epoch, peers by their marks."""
        rt, member, alive = self._rt, self._members[slot], self._epochs[slot]
        period = str(rt.policy.rotation.period_s(member.grant.rotation))
        places = b"".join(self._marks[each] for each in [slot, *sorted({*contents.inbound, *contents.outbound})])
        held = msgspec.json.encode((sorted(contents.inbound.items()), sorted(contents.outbound.items())))
        parts = (
            rt.generation,
            member.grant.tier,
            member.access,
            period,
            str(member.version),
            alive.number,
            str(_isolated(member)),
        )
        return hashlib.sha256(length_prefixed("keyvigil/bundle/2", *parts, places, held)).hexdigest()

    def _bundle(self, slot: int, contents: Contents, now: float) -> KeyBundle:
        rt, member, peers = self._rt, self._members[slot], sorted({*contents.inbound, *contents.outbound})
        own = self._places[slot]
        accepts = {self._epochs[source].find(each).version for source, each in _each(contents.inbound)}
        return KeyBundle(
            network=self._network,
            tier=member.grant.tier,
            access=member.access,
            rotation=member.grant.rotation,
            version=None if member.cut_off else member.version,
            epoch=self._epochs[slot].number,
            rotate_s=rt.policy.rotation.period_s(member.grant.rotation),
            expires_at=now + rt.policy.delivery.lease_s,
            associations=self._associations(slot, contents),
            address=own.address,
            endpoint=own.endpoint,
            isolated=_isolated(member),
            accepts=sorted(accepts),
            peers=[self._places[peer] for peer in peers],
        )

    def _associations(self, slot: int, contents: Contents) -> list[Association]:
        found = [
            self._association(source, slot, number, Direction.INBOUND) for source, number in _each(contents.inbound)
        ]
        found += [
            self._association(slot, destination, number, Direction.OUTBOUND)
            for destination, number in _each(contents.outbound)
        ]
        return found

    def _association(self, source: int, destination: int, number: int, direction: Direction) -> Association:
        epoch = self._epochs[source].find(number)
        sender, receiver = self._members[source], self._members[destination]
        peer = receiver if direction is Direction.OUTBOUND else sender
        pair = PairContext(
            self._network,
            epoch.version,
            sender.node_id,
            receiver.node_id,
            receiver.resource_class,
            epoch.number,
            self._rt.generation,
            epoch.fresh,
        )
        return Association(
            peer=peer.node_id,
            peer_name=peer.name,
            direction=direction,
            version=epoch.version,
            epoch=epoch.number,
            resource_class=receiver.resource_class,
            spi=pair_spi(source, epoch.number),
            key=self._secrets.of(epoch.version).key(pair),
            not_before=epoch.not_before,
        )


def _isolated(member: Member) -> bool:
    return member.state in {NodeState.ISOLATED, NodeState.BANNED}


def _each(held: Mapping[int, Epochs]) -> list[tuple[int, int]]:
    return [(slot, number) for slot, epochs in sorted(held.items()) for number in epochs]
