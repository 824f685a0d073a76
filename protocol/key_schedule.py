"""Keys of an ordered pair of nodes, derived from a network's version secret."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from protocol.codec import length_prefixed
from protocol.levels import ResourceClass

KEY_BYTES = 32
FRESH_BYTES = 16
_NO_SALT = bytes(32)
SLOT_BITS, EPOCH_BITS = 20, 12


@dataclass(frozen=True)
class PairContext:
    """Everything that a pair's key depends on besides the version secret.

    `version` and `epoch` are the source's, `generation` changes with every restore of the authority, `fresh` is drawn
    at issue and given to both ends, so that no derived key is ever installed outbound twice.
    """

    network: str
    version: int
    source: str
    destination: str
    resource_class: ResourceClass
    epoch: int
    generation: int
    fresh: bytes


class PairKeys:
    """Keys of pairs under one version secret: HKDF-SHA256 (RFC 5869), extracted once, expanded for each pair."""

    def __init__(self, secret: bytes) -> None:
        """Raises `ValueError` unless the version secret has 32 bytes."""
        if len(secret) != KEY_BYTES:
            raise ValueError("a version secret has 32 bytes")
        self._extracted = hmac.digest(_NO_SALT, secret, "sha256")

    def key(self, pair: PairContext) -> bytes:
        """The pair's 32-byte key, one block of output; raises `ValueError` unless its fresh value has 16 bytes."""
        if len(pair.fresh) != FRESH_BYTES:
            raise ValueError("a fresh value has 16 bytes")
        info = length_prefixed(
            "keyvigil/pair-key/1",
            pair.network,
            pair.version,
            pair.source,
            pair.destination,
            pair.resource_class.value,
            pair.epoch,
            pair.generation,
            pair.fresh,
        )
        return hmac.digest(self._extracted, info + b"\x01", "sha256")


def derive_pair_key(secret: bytes, pair: PairContext) -> bytes:
    """32-byte key of one pair over the 32-byte version secret; raises `ValueError` on wrong lengths."""
    return PairKeys(secret).key(pair)


def pair_spi(slot: int, epoch: int) -> int:
    """The SPI of what a source sends: unique at every destination, and above the reserved ones (RFC 4303, section 2.1).

    `slot`, 1 to 2^20 - 1, numbers the memberships of all networks, so that it names network and source; no source has
    two epochs alive that are 4,096 apart. Raises `ValueError` for a slot out of range.
    """
    if not 0 < slot < 1 << SLOT_BITS:
        raise ValueError(f"a slot lies between 1 and {(1 << SLOT_BITS) - 1}")
    return slot << EPOCH_BITS | epoch % (1 << EPOCH_BITS)
