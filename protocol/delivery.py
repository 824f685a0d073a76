"""Key deliveries: HPKE-sealed to a TPM key of the node, signed by the Key Orchestration Service."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from protocol.bounds import Address, Identifier, Instant, Name, Number, Port, Span, Spi
from protocol.codec import length_prefixed
from protocol.key_schedule import KEY_BYTES
from protocol.levels import Access, ResourceClass, Rotation, Tier
from protocol.messages import Message


class Direction(StrEnum):
    """Whether this node sends or receives under an association."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"


class Peer(Message, frozen=True):
    """The other end of associations: where its virtual address lies, and what it offers to a data plane.

    `address` is the peer's in the network, `endpoint` the physical one that packets go to. A WireGuard public key has
    32 bytes (Curve25519), none where the peer told of none.
    """

    node_id: Identifier
    name: Name
    address: Address
    endpoint: Address = ""
    wireguard_public: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    wireguard_port: Port = 0


class Association(Message, frozen=True):
    """One key of an ordered pair, as one of its two ends gets it.

    Of a source, the destination may hold several at a time, for the epochs that the source may still send under; the
    source holds one, which it sends under from `not_before` on. `spi` is unique at the destination.
    """

    peer: Identifier
    peer_name: Name
    direction: Direction
    version: Number
    epoch: Number
    resource_class: ResourceClass
    key: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    spi: Spi = 0
    not_before: Instant = 0.0

    def __repr__(self) -> str:
        return f"Association({self.peer_name!r}, {self.direction}, v{self.version}, epoch {self.epoch})"


class KeyBundle(Message, frozen=True):
    """Cleartext of a delivery: all that this node shall hold in this network from now on, and nothing else.

    `address` and `endpoint` are this node's own, virtual and physical; `accepts` are the versions that a peer may send
    under; `isolated` says that the node itself is cut off, not merely without a key here.
    """

    network: Name
    tier: Tier
    access: Access
    rotation: Rotation
    version: Number | None
    epoch: Number
    rotate_s: Span
    expires_at: Instant
    associations: list[Association]
    address: Address = ""
    endpoint: Address = ""
    isolated: bool = False
    accepts: list[Number] = msgspec.field(default_factory=list)
    peers: list[Peer] = msgspec.field(default_factory=list)


class SealedDelivery(Message, frozen=True):
    """What is signed: `number` grows by one per node, `generation` with every restore of the authority."""

    node_id: Identifier
    network: Name
    generation: Number
    number: Number
    issued_at: Instant
    enc: bytes
    ciphertext: bytes


class Envelope(Message, frozen=True):
    """`payload` is an encoded `SealedDelivery`, `signature` ECDSA P-256 with SHA-256 as r ‖ s over its bytes."""

    payload: bytes
    signature: bytes


def delivery_info(node_id: str, network: str, generation: int, number: int) -> bytes:
    """HPKE `info`: the context that a delivery can be opened in."""
    return length_prefixed("keyvigil/delivery/1", node_id, network, generation, number)


def envelope_signing_input(payload: bytes) -> bytes:
    """The bytes that the Key Orchestration Service signs."""
    return length_prefixed("keyvigil/envelope/1", payload)
