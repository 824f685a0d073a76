"""Flows of the connection tracking (/proc/net/nf_conntrack, `conntrack -L -o extended`): who calls in vain."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

LONGEST_LINE = 1024
MOST_FLOWS = 200_000
_PROTOCOLS = {"tcp", "udp", "udplite", "dccp", "sctp"}


@dataclass(frozen=True)
class Flow:
    """The original direction of a flow that nobody has answered yet."""

    source: str
    destination: str
    port: int


def unanswered(lines: Iterable[str]) -> Iterator[Flow]:
    """Flows marked UNREPLIED, and TCP ones that still wait for an answer; what is no such line is passed over."""
    for number, line in enumerate(lines):
        if number >= MOST_FLOWS:
            return
        flow = _flow(line) if len(line) <= LONGEST_LINE else None
        if flow is not None:
            yield flow


def fan_out(flows: Iterable[Flow]) -> Mapping[str, int]:
    """Distinct destinations (address and port) by source."""
    targets: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for flow in flows:
        targets[flow.source].add((flow.destination, flow.port))
    return {source: len(found) for source, found in targets.items()}


def _flow(line: str) -> Flow | None:
    words = line.split()
    if "[UNREPLIED]" not in words and "SYN_SENT" not in words:
        return None
    if len(words) < 4 or words[2] not in _PROTOCOLS:
        return None
    said: dict[str, str] = {}
    for name, _, value in (word.partition("=") for word in words):
        said.setdefault(name, value)
    source, destination, port = _address(said.get("src")), _address(said.get("dst")), said.get("dport", "")
    if source is None or destination is None or not (port.isdecimal() and port.isascii() and len(port) <= 5):
        return None
    return Flow(source, destination, int(port))


def _address(text: str | None) -> str | None:
    try:
        return str(ipaddress.ip_address(text or ""))
    except ValueError:
        return None
