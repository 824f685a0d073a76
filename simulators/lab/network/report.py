"""What is measured on the lab's network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from agent.sinks.wireguard._uapi import UapiDevice


@dataclass
class Report:
    """What was measured; cuts are seconds from a verdict to the last packet at any peer.

    `installed_s` are seconds from a decision to the acknowledgement that its keys are installed, of every delivery.
    `drops` is what kernels counted of packets that they did not hand on while sent ones were counted. Over tunnels,
    `staged` is how many keys the one with the fewest was given, `in_force` how many handshakes it made.
    """

    sink: str
    nodes: int
    rotations: int = 0
    seconds: float = 0.0
    sent: int = 0
    lost: int = 0
    duplicated: int = 0
    cut_s: list[float] = field(default_factory=list)
    cut_unheeded_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    installed_s: list[float] = field(default_factory=list)
    drops: dict[str, int] = field(default_factory=dict)
    staged: int = 0
    in_force: int = 0


class Tunnels:
    """Preshared keys and handshakes of every tunnel, as they were whenever somebody looked."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, bytes], set[bytes]] = {}
        self._handshakes: dict[tuple[str, bytes], set[float]] = {}

    def look(self, name: str, interface: str) -> None:
        """Note what the interface of a node has now."""
        for public, peer in UapiDevice(interface).read().peers.items():
            tunnel = (name, public)
            self._keys.setdefault(tunnel, set()).add(hashlib.sha256(peer.psk).digest())
            self._handshakes.setdefault(tunnel, set()).add(peer.last_handshake)

    def staged(self) -> int:
        """Keys that were given to the tunnel with the fewest, after the first."""
        return min(map(len, self._keys.values()), default=1) - 1

    def in_force(self) -> int:
        """Handshakes of the tunnel with the fewest, after the first: each brought what was staged into force."""
        return min(map(len, self._handshakes.values()), default=1) - 1
