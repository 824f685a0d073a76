"""A namespace, a tunnel and numbered packets for every node of a world, and what came of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from simulators.lab.network.fabric import SITE_ADDRESS, Port
from simulators.lab.network.plane import USER, DataPlane
from simulators.lab.processes import LabError
from simulators.lab.world import wait_for

RATE = 20.0
"""Packets a second from every node to every other one."""
QUIET_S = 1.0
"""A pair over which nothing came for so long, at `RATE`, is cut."""


class NodeWires:
    """The ports of a world's nodes; a context manager, to be left after the world.

    The process must have left the host's network (`fabric.leave_host_network`).
    """

    address = SITE_ADDRESS

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._stack = ExitStack()
        self._ports: dict[str, Port] = {}

    def __enter__(self) -> NodeWires:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def plug(self, name: str, folder: Path) -> None:
        """Give the node a network, and a tunnel that its agent is to configure."""
        port = self._ports[name] = Port(self._stack, folder, len(self._ports) + 1)
        if self._plane.name == USER:
            port.raise_tunnel()

    def argv(self, name: str, command: Sequence[str]) -> list[str]:
        """The command, to be run in the node's network."""
        return self._ports[name].namespace.argv(*command)

    def sink(self, name: str, network: str) -> tuple[str, Mapping[str, object]]:
        """The sink that drives the node's tunnel."""
        return self._ports[name].sink(network)

    def endpoint(self, name: str) -> str:
        """Where its peers' tunnels reach the node."""
        return self._ports[name].endpoint

    def start_traffic(self) -> None:
        """Have every node send to every other one from now on."""
        for port in self._ports.values():
            port.start_traffic([other.address for other in self._ports.values() if other is not port], RATE)

    def came(self, source: str, destination: str) -> tuple[int, float]:
        """How many packets of `source` came to `destination`, and how many seconds ago the last did."""
        count, last = self._ports[destination].totals().get(self._ports[source].address, (0, 0.0))
        return count, time.time() - last

    def total(self) -> int:
        """How many packets came anywhere."""
        return sum(count for port in self._ports.values() for count, _ in port.totals().values())

    def passes(self, pairs: Sequence[tuple[str, str]], seconds: float) -> bool:
        """Whether packets come over each of the ordered pairs now, or do within `seconds`."""
        return _within(seconds, "packets", lambda: all(self.came(*pair)[1] < QUIET_S for pair in pairs))

    def reached(self, pairs: Sequence[tuple[str, str]], seconds: float) -> bool:
        """Whether some packet came over each of the ordered pairs so far, or does within `seconds`."""
        return _within(seconds, "packets", lambda: all(self.came(*pair)[0] > 0 for pair in pairs))

    def stopped(self, pairs: Sequence[tuple[str, str]], seconds: float) -> bool:
        """Whether packets that did come over each of the ordered pairs no longer do, or cease to within `seconds`."""

        def silent() -> bool:
            found = [self.came(*pair) for pair in pairs]
            return all(count > 0 and ago > QUIET_S for count, ago in found)

        return _within(seconds, "silence", silent)


def _within(seconds: float, what: str, holds: Callable[[], bool]) -> bool:
    try:
        return wait_for(what, lambda: holds() or None, seconds)
    except LabError:
        return False
