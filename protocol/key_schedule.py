"""Keys of an ordered pair of nodes, derived from a network's version secret."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.codec import length_prefixed
from protocol.levels import ResourceClass

KEY_BYTES = 32
FRESH_BYTES = 16
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


def derive_pair_key(secret: bytes, pair: PairContext) -> bytes:
    """32-byte key: HKDF-SHA256 (RFC 5869) over the 32-byte version secret; raises `ValueError` on wrong lengths."""
    if len(secret) != KEY_BYTES or len(pair.fresh) != FRESH_BYTES:
        raise ValueError("a version secret has 32 bytes and a fresh value 16")
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
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)


def pair_spi(slot: int, epoch: int) -> int:
    """The SPI of what a source sends: unique at every destination, and above the reserved ones (RFC 4303, section 2.1).

    `slot`, 1 to 2^20 - 1, numbers the memberships of all networks, so that it names network and source; no source has
    two epochs alive that are 4,096 apart. Raises `ValueError` for a slot out of range.
    """
    if not 0 < slot < 1 << SLOT_BITS:
        raise ValueError(f"a slot lies between 1 and {(1 << SLOT_BITS) - 1}")
    return slot << EPOCH_BITS | epoch % (1 << EPOCH_BITS)
