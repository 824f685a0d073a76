"""What is kept of a root: one share per modality, to lie inside the sealed record."""

from __future__ import annotations

from typing import Final

import msgspec

SCHEME: Final = 1
"""Version of the scheme and of every number in `parameters`; shares of another one are refused."""

ROOT_BYTES: Final = 32
SALT_BYTES: Final = 32


class BoundShare(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """The share of a bound modality: there is no check value in it, and nothing tells which signs are reliable.

    `salt` 32 bytes; `helper` n bits, the signs of the enrolled embedding xor a codeword; `wrapped_x` and `wrapped_y`
    32 bytes each, X and this modality's share of Y xor keystreams of the codeword's message.
    """

    salt: bytes
    helper: bytes
    wrapped_x: bytes
    wrapped_y: bytes

    def __repr__(self) -> str:
        return "BoundShare()"


class ReleasedShare(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """The share of a released modality: `wrapped_y` (32 bytes) opens with the pepper alone. Access control only."""

    salt: bytes
    wrapped_y: bytes

    def __repr__(self) -> str:
        return "ReleasedShare()"


class Shares(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """All shares of one root, by modality. A modality's place among the sorted names is its x in Shamir's scheme."""

    scheme: int
    bound: dict[str, BoundShare]
    released: dict[str, ReleasedShare]

    def __repr__(self) -> str:
        return "Shares()"

    @property
    def places(self) -> dict[str, int]:
        """The x of each modality's share, from 1."""
        return {name: place for place, name in enumerate(sorted([*self.bound, *self.released]), start=1)}
