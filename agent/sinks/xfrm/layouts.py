"""Structures of linux/xfrm.h that states and policies share: addresses, selectors, lifetimes."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from functools import lru_cache

from agent.sinks.xfrm.constants import NO_LIMIT
from agent.sinks.xfrm.netlink import MalformedMessage

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

SELECTOR = struct.Struct("=16s16sHHHHHBBB3xiI")
"""xfrm_selector: daddr, saddr, dport, dport_mask, sport, sport_mask, family, prefixlen_d, prefixlen_s, proto, ifindex,
user; 56 bytes."""
LIFETIMES = struct.Struct("=8Q")
"""xfrm_lifetime_cfg: soft and hard limits of bytes and of packets, then of seconds since addition and since use."""
CURRENT = struct.Struct("=4Q")
"""xfrm_lifetime_cur: bytes, packets, add_time, use_time."""
_KNOWN = 1 << 16
"""Addresses that are remembered: making one costs more than all else that is done with an entry."""
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True)
class Selector:
    """Which packets: from `source` to `destination`; `narrow` where ports, protocol or interface restrict it more."""

    source: IpNetwork
    destination: IpNetwork
    narrow: bool = False

    def __str__(self) -> str:
        return f"{self.source} to {self.destination}"


@lru_cache(_KNOWN)
def parse(text: str) -> IpAddress:
    """An address in text; raises `ValueError`."""
    return ipaddress.ip_address(text)


@lru_cache(_KNOWN)
def host(address: IpAddress) -> IpNetwork:
    """The network of one address."""
    return ipaddress.ip_network(address)


@lru_cache
def everything(version: int) -> IpNetwork:
    """All addresses of IPv4 or IPv6."""
    return ipaddress.ip_network("0.0.0.0/0" if version == 4 else "::/0")


def family(version: int) -> int:
    """AF_INET or AF_INET6."""
    return int(_FAMILIES[version])


def pack_address(address: IpAddress) -> bytes:
    """xfrm_address_t: 16 bytes, of which IPv4 takes the first four."""
    return address.packed.ljust(16, b"\0")


@lru_cache(_KNOWN)
def read_address(data: bytes, of_family: int) -> IpAddress:
    """The address of a family; raises `MalformedMessage` for another family."""
    if of_family == socket.AF_INET:
        return ipaddress.IPv4Address(data[:4])
    if of_family == socket.AF_INET6:
        return ipaddress.IPv6Address(data)
    raise MalformedMessage(f"an address has the unknown family {of_family}")


@lru_cache(_KNOWN)
def _network(data: bytes, of_family: int, bits: int) -> IpNetwork:
    return ipaddress.ip_network((read_address(data, of_family), bits), strict=False)


def pack_selector(selector: Selector) -> bytes:
    """xfrm_selector of whole addresses."""
    source, destination = selector.source, selector.destination
    return SELECTOR.pack(
        pack_address(destination.network_address),
        pack_address(source.network_address),
        0,
        0,
        0,
        0,
        family(source.version),
        destination.prefixlen,
        source.prefixlen,
        0,
        0,
        0,
    )


def read_selector(data: memoryview) -> Selector | None:
    """A selector, `None` for the one without family, which any packet fits; raises `MalformedMessage`."""
    if len(data) < SELECTOR.size:
        raise MalformedMessage("a selector ends too early")
    fields = SELECTOR.unpack_from(data)
    destination, source, of_family, to_bits, from_bits = fields[0], fields[1], *fields[6:9]
    if of_family == socket.AF_UNSPEC:
        return None
    try:
        return Selector(
            _network(source, of_family, from_bits),
            _network(destination, of_family, to_bits),
            narrow=any((*fields[2:6], *fields[9:12])),
        )
    except ValueError as error:
        raise MalformedMessage(f"a selector is impossible: {error}") from None


def pack_lifetimes(hard_seconds: int = 0) -> bytes:
    """xfrm_lifetime_cfg with a limit of seconds since addition alone; 0 is none."""
    return LIFETIMES.pack(NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT, 0, hard_seconds, 0, 0)
