"""Key deliveries: HPKE-sealed to a TPM key of the node, signed by the Key Orchestration Service."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from protocol.bounds import Identifier, Instant, Name, Number, Span
from protocol.codec import length_prefixed
from protocol.key_schedule import KEY_BYTES
from protocol.levels import Access, ResourceClass, Rotation, Tier
from protocol.messages import Message


class Direction(StrEnum):
    """Whether this node sends or receives under an association."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"


class Association(Message, frozen=True):
    """One key of an ordered pair, as one of its two ends gets it."""

    peer: Identifier
    peer_name: Name
    direction: Direction
    version: Number
    epoch: Number
    resource_class: ResourceClass
    key: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]

    def __repr__(self) -> str:
        return f"Association({self.peer_name!r}, {self.direction}, v{self.version}, epoch {self.epoch})"


class KeyBundle(Message, frozen=True):
    """Cleartext of a delivery: all that this node shall hold in this network from now on, and nothing else."""

    network: Name
    tier: Tier
    access: Access
    rotation: Rotation
    version: Number | None
    epoch: Number
    rotate_s: Span
    expires_at: Instant
    associations: list[Association]


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
