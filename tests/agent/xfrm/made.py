"""Bundles with places, made for the tests of the xfrm sink."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.sinks.xfrm import XfrmSink
from agent.sinks.xfrm.client import Held, XfrmClient
from agent.sinks.xfrm.constants import Action, PolicyDirection
from agent.sinks.xfrm.policies import Policy
from protocol.delivery import Association, Direction, KeyBundle, Peer
from protocol.key_schedule import pair_spi
from protocol.levels import Access, ResourceClass, Rotation, Tier
from simulators.devices.xfrm_kernel import XfrmKernel

NOW = 1000.0
OWN, ENDPOINT = "10.9.0.1", "10.1.1.2"
PEERS = {"b": Peer("b", "node-b", "10.9.0.2", "10.1.2.2"), "c": Peer("c", "node-c", "10.9.0.3", "10.1.3.2")}
SLOTS = {"a": 1, "b": 2, "c": 3}


def key_of(source: str, destination: str, epoch: int, salt: str = "") -> bytes:
    return hashlib.sha256(f"{source}{destination}{epoch}{salt}".encode()).digest()


def association(peer: str, direction: Direction, epoch: int, salt: str = "") -> Association:
    source, destination = ("a", peer) if direction is Direction.OUTBOUND else (peer, "a")
    return Association(
        peer=peer,
        peer_name=f"node-{peer}",
        direction=direction,
        version=3,
        epoch=epoch,
        resource_class=ResourceClass.NORMAL,
        key=key_of(source, destination, epoch, salt),
        spi=pair_spi(SLOTS[source], epoch),
    )


def bundle(
    sending: Mapping[str, int],
    receiving: Mapping[str, Sequence[int]],
    *,
    network: str = "blue",
    peers: Mapping[str, Peer] = PEERS,
    place: tuple[str, str] = (OWN, ENDPOINT),
    expires_at: float = NOW + 600,
    salt: str = "",
) -> KeyBundle:
    out = [association(peer, Direction.OUTBOUND, epoch, salt) for peer, epoch in sending.items()]
    into = [association(peer, Direction.INBOUND, one, salt) for peer, epochs in receiving.items() for one in epochs]
    return KeyBundle(
        network=network,
        tier=Tier.HIGH,
        access=Access.FULL,
        rotation=Rotation.STANDARD,
        version=3,
        epoch=1,
        rotate_s=60.0,
        expires_at=expires_at,
        associations=out + into,
        address=place[0],
        endpoint=place[1],
        peers=list(peers.values()),
    )


def sink(kernel: XfrmKernel, folder: Path, **options: object) -> XfrmSink:
    """A sink as after a start of the agent."""
    return XfrmSink({"state_dir": str(folder / "xfrm"), **options}, now=lambda: NOW, connect=kernel.connect)


def tables(kernel: XfrmKernel) -> Held:
    connection = kernel.connect()
    try:
        return XfrmClient(connection).dump()
    finally:
        connection.close()


def spis(held: Held, destination: str) -> list[int]:
    """SPIs of the states to an address."""
    return sorted(state.id.spi for state in held.states if str(state.id.destination) == destination)


def out_policy(held: Held, peer: str = "10.9.0.2") -> Policy | None:
    """The policy for packets from this node to a peer."""
    for policy in held.policies:
        selector = policy.selector
        pair = policy.direction is PolicyDirection.OUT and selector.source.prefixlen
        if pair and str(selector.destination) == f"{peer}/32":
            return policy
    return None


def sends_under(held: Held, peer: str = "10.9.0.2") -> int | None:
    """The SPI that packets to a peer leave under, 0 for a policy that blocks, `None` without one."""
    policy = out_policy(held, peer)
    if policy is None:
        return None
    return policy.template.spi if policy.action == Action.ALLOW and policy.template else 0


STEADY = bundle({"b": 1, "c": 1}, {"b": [1], "c": [1]})
PREPARED = bundle({"b": 1, "c": 1}, {"b": [1, 2], "c": [1, 2]})
SWITCHED = bundle({"b": 2, "c": 2}, {"b": [1, 2], "c": [1, 2]})
RETIRED = bundle({"b": 2, "c": 2}, {"b": [2], "c": [2]})
"""A rotation of both directions of two pairs, step by step."""
