"""Release shares: the authority's half of what opens a sealed record, HPKE-sealed to the node's certified delivery key.

Shares are numbered; a record says in clear which one opens it. With each activated challenge the authority hands out
the present share and the one that the record is refreshed to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from protocol.bounds import Number
from protocol.codec import ProtocolViolation, decode, length_prefixed
from protocol.hpke import POINT_BYTES, open_sealed
from protocol.messages import Message

SHARE_BYTES = 32
Share = Annotated[bytes, msgspec.Meta(min_length=SHARE_BYTES, max_length=SHARE_BYTES)]


class ReleasedShares(Message, frozen=True):
    """Cleartext of a release: share `number`, and share `number` + 1 if there is one (32 bytes each)."""

    number: Number
    present: Share
    following: Share | None = None

    def __repr__(self) -> str:
        return f"ReleasedShares(number={self.number})"

    def get(self, number: int) -> bytes | None:
        """The share of this number, if it was released."""
        return {self.number: self.present, self.number + 1: self.following}.get(number)


def enrolment_release_info(node_id: str, record_id: str, enrolment_id: str, nonce: bytes) -> bytes:
    """HPKE `info` of the first share, given when an enrolment begins."""
    return length_prefixed("keyvigil/release-enrolment/1", node_id, record_id, enrolment_id, nonce)


def challenge_release_info(node_id: str, record_id: str, challenge_id: str, nonce: bytes) -> bytes:
    """HPKE `info` of the shares that an activation brings."""
    return length_prefixed("keyvigil/release-challenge/1", node_id, record_id, challenge_id, nonce)


def open_release(sealed: bytes, info: bytes, recipient: bytes, agree: Callable[[bytes], bytes]) -> ReleasedShares:
    """The shares in `sealed` (encapsulated point ‖ ciphertext); raises `ProtocolViolation`.

    `recipient` is the delivery key's point (65 bytes), `agree` gives the x-coordinate that it shares with another.
    """
    if len(sealed) <= POINT_BYTES:
        raise ProtocolViolation("a release share is too short to be sealed")
    return decode(open_sealed(sealed[:POINT_BYTES], sealed[POINT_BYTES:], info, recipient, agree), ReleasedShares)
