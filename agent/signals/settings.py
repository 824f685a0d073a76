"""The section `[signals]` of the node's configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec

from protocol.signals import Kind, Lifetime, Severity, Subject

SELF = "self"

Least = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
CounterName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_./\\-]{0,63}\Z")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class CounterSection(_Section, frozen=True, kw_only=True):
    """A named nftables counter: `packets` more within one look are a signal about `node` ("self", or a peer)."""

    family: Annotated[str, msgspec.Meta(pattern=r"\A(ip|ip6|inet|arp|bridge|netdev)\Z")] = "inet"
    table: CounterName
    name: CounterName
    kind: Kind
    severity: Severity = Severity.MEDIUM
    packets: Least = 10
    node: Subject = SELF


class ConntrackSection(_Section, frozen=True, kw_only=True):
    """Unanswered flows of the connection tracking: `fan_out` distinct targets of one source are a scan.

    `path` is read where it exists, `command` is run otherwise. `local` are this node's addresses: a scan from one of
    them is told of the node itself, one from elsewhere of the peer with that address, if the authority knows it.
    """

    path: str = "/proc/net/nf_conntrack"
    command: list[str] = msgspec.field(default_factory=lambda: ["conntrack", "-L", "-o", "extended"])
    local: Annotated[list[str], msgspec.Meta(min_length=1, max_length=64)]
    fan_out: Least = 25
    severity: Severity = Severity.HIGH


class SignalsSection(_Section, frozen=True, kw_only=True):
    """How often the node looks (`interval_s`), and for how long a signal counts at the authority (`ttl_s`)."""

    interval_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 15.0
    ttl_s: Lifetime = 3600.0
    nft: list[str] = msgspec.field(default_factory=lambda: ["nft"])
    counters: Annotated[list[CounterSection], msgspec.Meta(max_length=64)] = []
    conntrack: ConntrackSection | None = None
