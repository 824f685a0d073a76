"""Named counters of nftables, from `nft -j list counters` (libnftables-json(5))."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.errors import AgentError
from agent.signals.settings import CounterSection

Key = tuple[str, str, str]
"""Family, table and name of a counter."""

_MOST_COUNTERS = 4096


class CountersUnreadable(AgentError):
    """The packet filter's counters cannot be read."""

    default_remedy = "Run `nft -j list counters` as the agent's user; it needs the capability CAP_NET_ADMIN."


class _Counter(msgspec.Struct, frozen=True):
    family: str
    table: str
    name: str
    packets: Annotated[int, msgspec.Meta(ge=0)]


class _Entry(msgspec.Struct, frozen=True):
    counter: _Counter | None = None


class _Listing(msgspec.Struct, frozen=True):
    nftables: list[_Entry]


def parse_counters(output: bytes) -> dict[Key, int]:
    """Packets by counter; raises `CountersUnreadable`."""
    try:
        listing = msgspec.json.decode(output, type=_Listing)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise CountersUnreadable("nft did not print a list of counters") from None
    found = [entry.counter for entry in listing.nftables if entry.counter is not None]
    if len(found) > _MOST_COUNTERS:
        raise CountersUnreadable(f"nft lists more than {_MOST_COUNTERS} counters")
    return {(each.family, each.table, each.name): each.packets for each in found}


def growth(before: int | None, now: int) -> int:
    """Packets since the last look; a counter that was set back has counted all that it shows."""
    if before is None:
        return 0
    return now - before if now >= before else now


def as_key(section: CounterSection) -> Key:
    """The counter that a section of the configuration names."""
    return section.family, section.table, section.name
