"""The authorisation values of a TPM's owner and of its lockout, HPKE-sealed to the node's certified delivery key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from protocol.codec import ProtocolViolation, decode, length_prefixed
from protocol.hpke import POINT_BYTES, open_sealed
from protocol.messages import Message

VALUE_BYTES = 32
Value = Annotated[bytes, msgspec.Meta(min_length=VALUE_BYTES, max_length=VALUE_BYTES)]


class OwnerValues(Message, frozen=True):
    """What a node sets as its TPM's owner and lockout authorisation (32 bytes each)."""

    owner: Value
    lockout: Value

    def __repr__(self) -> str:
        return "OwnerValues()"


def ownership_info(node_id: str, nonce: bytes) -> bytes:
    """HPKE `info` of the values that answer a report over `nonce`."""
    return length_prefixed("keyvigil/owner-values/1", node_id, nonce)


def open_values(sealed: bytes, info: bytes, recipient: bytes, agree: Callable[[bytes], bytes]) -> OwnerValues:
    """The values in `sealed` (encapsulated point ‖ ciphertext); raises `ProtocolViolation`.

    `recipient` is the delivery key's point (65 bytes), `agree` gives the x-coordinate that it shares with another.
    """
    if len(sealed) <= POINT_BYTES:
        raise ProtocolViolation("the owner's values are too short to be sealed")
    return decode(open_sealed(sealed[:POINT_BYTES], sealed[POINT_BYTES:], info, recipient, agree), OwnerValues)
