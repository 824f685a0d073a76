"""The lab's wires: a bridge in a namespace of its own, a namespace per node on a cable to it, and tunnels."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from agent.sinks.xfrm import read_counters
from simulators.lab.network.namespaces import CLONE_NEWNET, Namespace
from simulators.lab.network.traffic import ask
from simulators.lab.processes import Child, LabError
from simulators.lab.world import wait_for

BRIDGE = "site"
CABLE = "cable"
SITE_ADDRESS = "198.51.100.254"
MEMBERS = "10.77.0.0/24"
"""The addresses that nodes have in the network."""

TUNNELS = Path("/var/run/wireguard")
START_S = 20.0


def leave_host_network() -> None:
    """Give this process, and all that it starts, a network of its own that holds nothing yet; raises `LabError`.

    To be called while the process has one thread.
    """
    if os.geteuid() != 0:
        raise LabError("the lab's network needs root, to make network namespaces", "Run it with sudo.")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        cause = os.strerror(ctypes.get_errno())
        raise LabError(
            f"no network namespace can be made here: {cause}", "Run it on a host, or in a privileged container."
        )
    _ip("link", "set", "lo", "up")
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "add", f"{SITE_ADDRESS}/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"ip {' '.join(arguments)}: {done.stderr.strip()}", "Install iproute2; see docs/lab.md.")


def _drops() -> dict[str, int]:
    here = Path("/proc/thread-self/net")
    names, values = (line.split() for line in (here / "snmp").read_text().splitlines() if line.startswith("Udp:"))
    full = int(dict(zip(names, values, strict=True))["RcvbufErrors"])
    return {**(read_counters(here / "xfrm_stat") or {}), **({"UdpRcvbufErrors": full} if full else {})}


class Port:
    """A node's namespace with its cable to the bridge, its tunnel and its traffic; ends with the stack."""

    def __init__(self, stack: ExitStack, folder: Path, number: int) -> None:
        self.endpoint, self.address = f"198.51.100.{number}", f"10.77.0.{number}"
        self.interface = f"kv{os.getpid() % 10**7}w{number}"
        self.namespace = stack.enter_context(Namespace())
        self._stack, self._folder = stack, folder
        self.control = folder / "traffic.sock"
        self._plug(number)

    def sink(self, network: str) -> tuple[str, dict[str, object]]:
        """Kind and options of the sink that drives the tunnel."""
        key = os.fspath(self._folder / "wireguard.key")
        return "wireguard", {"network": network, "interface": self.interface, "private_key_file": key}

    def kernel_has_wireguard(self) -> bool:
        """Whether an interface can be made here without a program behind it; the sink makes its own."""
        tried = self.namespace.command("ip", "link", "add", "tried", "type", "wireguard", check=False)
        if tried.returncode == 0:
            self.namespace.command("ip", "link", "del", "tried")
        return tried.returncode == 0

    def raise_tunnel(self) -> None:
        """Run wireguard-go in the namespace, and return when it can be configured."""
        argv = self.namespace.argv("wireguard-go", "--foreground", self.interface)
        tunnel = self._child("wireguard-go", argv)
        socket = TUNNELS / f"{self.interface}.sock"
        wait_for("the tunnel", lambda: socket.exists() or None, START_S, tunnel)

    def route(self) -> None:
        """The node's address, and the way to those of all others, whose packets the kernel then wraps."""
        self.namespace.command("ip", "address", "add", f"{self.address}/32", "dev", "lo")
        self.namespace.command("ip", "route", "add", MEMBERS, "dev", CABLE, "src", self.address)

    def start_traffic(self, peers: list[str], rate: float) -> None:
        """Send to the peers' addresses `rate` times a second from now on."""
        argv = [
            sys.executable,
            "-m",
            "simulators.lab.network.traffic",
            os.fspath(self.control),
            self.address,
            f"{rate}",
        ]
        traffic = self._child("traffic", self.namespace.argv(*argv, *peers))
        wait_for("the traffic", lambda: self.control.exists() or None, START_S, traffic)

    def sent(self) -> dict[str, int]:
        """The number that the next packet to each peer will have."""
        return dict(ask(self.control, {"op": "sent"})["next"])

    def totals(self) -> dict[str, tuple[int, float]]:
        """How many different packets came from each peer, and when the last (POSIX seconds)."""
        return {source: (count, last) for source, (count, last) in ask(self.control, {"op": "totals"}).items()}

    def received(self, source: str, begin: int, end: int) -> tuple[int, int]:
        """How many of the numbers came from `source`, and how many packets were duplicates."""
        found = ask(self.control, {"op": "received", "source": source, "begin": begin, "end": end})
        return found["received"], found["duplicated"]

    def drops(self) -> Counter[str]:
        """What the node's kernel counted of packets that it did not hand on: IPsec's counters, and full sockets."""
        return Counter(self.namespace.run(_drops))

    def _child(self, name: str, argv: list[str]) -> Child:
        child = Child(name, argv, self._folder / f"{name}.log").start()
        self._stack.callback(child.stop)
        return child

    def _plug(self, number: int) -> None:
        here, there = f"port{number}", CABLE
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self.namespace.name)
        _ip("link", "set", here, "master", BRIDGE, "up")
        self.namespace.command("ip", "address", "add", f"{self.endpoint}/24", "dev", there)
        self.namespace.command("ip", "link", "set", there, "up")
