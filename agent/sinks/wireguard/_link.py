"""The interface as the kernel's routing sees it: there, up, with the node's address and a route to every peer."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from agent.errors import SinkFailed

ROUTE_PROTOCOL = 0x4B
"""What marks our routes (rtnetlink(7), `rtm_protocol`, above the reserved values): those of others stay."""


def exists(interface: str) -> bool:
    """Whether there is an interface of this name."""
    with IPRoute() as routing:
        return bool(routing.link_lookup(ifname=interface))


def create(interface: str) -> None:
    """A new interface of the kernel's WireGuard; raises `SinkFailed`."""
    try:
        with IPRoute() as routing:
            routing.link("add", ifname=interface, kind="wireguard")
    except NetlinkError as error:
        raise _failed(interface, error) from None


def settle(interface: str, address: str, peers: Iterable[str]) -> None:
    """Bring it up with `address` and exactly one route of ours to every address of `peers`; raises `SinkFailed`."""
    try:
        with IPRoute() as routing:
            (index,) = routing.link_lookup(ifname=interface) or (0,)
            if not index:
                raise SinkFailed(f"wireguard sink: there is no interface {interface}", remedy="Make it first.")
            if address:
                routing.addr("replace", index=index, address=address, prefixlen=_bits(address))
            routing.link("set", index=index, state="up")
            _route(routing, index, {*peers})
    except NetlinkError as error:
        raise _failed(interface, error) from None


def _route(routing: Any, index: int, wanted: set[str]) -> None:
    present = {str(each) for each in _routes(routing, index)}
    for address in wanted - present:
        routing.route("replace", dst=f"{address}/{_bits(address)}", oif=index, proto=ROUTE_PROTOCOL)
    for address in present - wanted:
        routing.route("del", dst=f"{address}/{_bits(address)}", oif=index, proto=ROUTE_PROTOCOL)


def _routes(routing: Any, index: int) -> Iterable[str]:
    for route in routing.get_routes(oif=index):
        destination = route.get_attr("RTA_DST")
        if route["proto"] == ROUTE_PROTOCOL and destination is not None:
            yield str(ipaddress.ip_address(destination))


def _bits(address: str) -> int:
    return ipaddress.ip_address(address).max_prefixlen


def _failed(interface: str, error: NetlinkError) -> SinkFailed:
    return SinkFailed(
        f"wireguard sink: interface {interface} could not be set up: {os.strerror(error.code)}",
        remedy="Run the agent with CAP_NET_ADMIN, on a kernel with WireGuard or beside wireguard-go.",
    )
