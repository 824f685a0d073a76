"""Nodes as network namespaces around a router, with addresses of the network on their loopback."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.sinks.xfrm.client import open_xfrm

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Place:
    """A node: the network's address of it, where packets go to, and its namespace."""

    name: str
    address: str
    endpoint: str

    @property
    def version(self) -> int:
        return 6 if ":" in self.endpoint else 4


def place(index: int, kind: str = "tunnel4") -> Place:
    """Node `index`, from 1; `kind` is the mode and the versions: tunnel4, transport6, tunnel64 (6 within 4), …"""
    endpoint = f"fd01:{index:x}::2" if kind.endswith(("t6", "l6")) or kind == "tunnel46" else f"10.1.{index}.2"
    if kind.startswith("transport"):
        return Place(f"n{index}", endpoint, endpoint)
    return Place(f"n{index}", f"fd09::{index:x}" if kind in {"tunnel6", "tunnel64"} else f"10.9.0.{index}", endpoint)


def raise_nodes(count: int) -> None:
    """Namespaces n1 to nN, each with both versions of everything, and a router that would forward clear packets too."""
    for name in ["router", *(f"n{index}" for index in range(1, count + 1))]:
        ip([f"netns add {name}"])
        ip(["link set lo up"], name)
    for index in range(1, count + 1):
        ip([f"link add v{index} netns router type veth peer name eth0 netns n{index}"])
        ip(_router_side(index), "router")
        ip(_node_side(index), f"n{index}")
    within("router", _forward)


def _router_side(index: int) -> list[str]:
    return [
        f"addr add 10.1.{index}.1/24 dev v{index}",
        f"addr add fd01:{index:x}::1/64 dev v{index} nodad",
        f"link set v{index} up",
        f"route add 10.9.0.{index}/32 via 10.1.{index}.2",
        f"-6 route add fd09::{index:x}/128 via fd01:{index:x}::2",
    ]


def _node_side(index: int) -> list[str]:
    return [
        f"addr add 10.1.{index}.2/24 dev eth0",
        f"addr add fd01:{index:x}::2/64 dev eth0 nodad",
        "link set eth0 up",
        f"addr add 10.9.0.{index}/32 dev lo",
        f"addr add fd09::{index:x}/128 dev lo nodad",
        f"route add default via 10.1.{index}.1",
        f"route add 10.9.0.0/24 via 10.1.{index}.1 src 10.9.0.{index}",
        f"-6 route add default via fd01:{index:x}::1",
        f"-6 route add fd09::/64 via fd01:{index:x}::1 src fd09::{index:x}",
    ]


def _forward() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")


def ip(commands: Sequence[str], namespace: str = "") -> None:
    """Run ip(8) commands in a namespace."""
    for command in commands:
        subprocess.run([*(["ip", "-n", namespace] if namespace else ["ip"]), *command.split()], check=True)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread in a namespace; sockets stay in the one that they were made in."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _set(there)
        yield
    finally:
        _set(home)
        os.close(there)
        os.close(home)


def within(namespace: str, work: Callable[[], T]) -> T:
    """`work` done in a namespace."""
    with inside(namespace):
        return work()


def connector(namespace: str) -> Callable[[], socket.socket]:
    """How a sink reaches the kernel's tables of a namespace."""
    return lambda: within(namespace, open_xfrm)


def _set(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
