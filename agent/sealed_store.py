"""The newest envelope of each network on disk, still sealed: what an agent goes on with while the authority is away."""

from __future__ import annotations

from pathlib import Path

from agent.durable import read_bytes, remove, write_private
from agent.state import StateDirectory
from protocol.messages import DeliveryEvent

LARGEST_ENVELOPE = 64 * 1024 * 1024


class SealedStore:
    """One 0600 file for each network; only this node's enclave opens them."""

    def __init__(self, state: StateDirectory) -> None:
        self._folder = state.bundles

    def keep(self, network: str, envelope: bytes) -> None:
        """Replace what is kept of a network; raises `StateError`."""
        write_private(self._path(network), envelope)

    def find(self, network: str, number: int) -> DeliveryEvent | None:
        """What is kept of a network, as the delivery of this number; raises `StateError`."""
        envelope = read_bytes(self._path(network), LARGEST_ENVELOPE)
        return None if envelope is None else DeliveryEvent(number=number, envelope=envelope)

    def drop(self, network: str) -> None:
        """Keep nothing of a network; raises `StateError`."""
        remove(self._path(network))

    def _path(self, network: str) -> Path:
        return self._folder / f"{network}.sealed"
