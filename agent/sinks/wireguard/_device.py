"""What a WireGuard interface holds, whoever drives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

KEY_BYTES = 32


@dataclass(frozen=True)
class PeerSetting:
    """A peer as it shall be: Curve25519 key and preshared key of 32 bytes, allowed addresses with their prefix length.

    `endpoint` is address and port of its other end, none to leave what there is.
    """

    public: bytes
    psk: bytes = field(repr=False)
    allowed: frozenset[str]
    endpoint: tuple[str, int] | None = None
    keepalive_s: int = 0


@dataclass(frozen=True)
class PeerState:
    """A peer as the interface has it; the last handshake in POSIX seconds, 0 for none."""

    public: bytes
    psk: bytes = field(default=bytes(KEY_BYTES), repr=False)
    allowed: frozenset[str] = frozenset()
    endpoint: tuple[str, int] | None = None
    last_handshake: float = 0.0
    received: int = 0
    sent: int = 0


@dataclass(frozen=True)
class DeviceState:
    """An interface: its private key (none set: empty), its UDP port, its peers by public key."""

    private: bytes = field(repr=False)
    port: int
    peers: dict[bytes, PeerState]


class WireGuardDevice(Protocol):
    """One interface. Methods raise `SinkFailed`."""

    def read(self) -> DeviceState:
        """What it holds now."""
        ...

    def configure(self, private: bytes, port: int) -> None:
        """Give it its private key and its UDP port."""
        ...

    def apply(self, remove: Sequence[bytes], put: Sequence[PeerSetting]) -> None:
        """Remove peers, then add or change others; sessions of the others stay."""
        ...
