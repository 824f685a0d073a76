"""Options of the sink."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec

from agent.errors import ConfigError
from agent.sinks.xfrm.constants import LARGEST_REPLAY_WINDOW
from protocol.bounds import Address


class XfrmOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`state_dir` is an absolute path of a folder of the sink's own, which it makes.

    `networks` are those whose keys the sink takes, none for all. `endpoint` is the address of this node that packets
    shall come to, told to the authority where it is not set there.

    `replay_window` counts packets. `fail_closed`: traffic with a member's address never goes in clear, with or without
    an association. `protect`: prefixes for which the same holds whoever is a member. `priority` of the policies, of
    which the lowest goes first.
    """

    state_dir: str
    networks: Annotated[list[str], msgspec.Meta(max_length=256)] = []
    endpoint: Address = ""
    replay_window: Annotated[int, msgspec.Meta(ge=32, le=LARGEST_REPLAY_WINDOW)] = 128
    fail_closed: bool = True
    protect: Annotated[list[str], msgspec.Meta(max_length=64)] = []
    priority: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = 1000


def check_options(options: XfrmOptions) -> XfrmOptions:
    """The options, where paths and prefixes are what they should be; raises `ConfigError`."""
    if not Path(options.state_dir).is_absolute():
        raise ConfigError(
            f"sinks: the xfrm sink's state_dir {options.state_dir!r} is not an absolute path",
            remedy="Name a folder of the sink's own, for instance below the agent's state directory.",
        )
    try:
        ipaddress.ip_address(options.endpoint or "::")
    except ValueError as error:
        raise ConfigError(f"sinks: the xfrm sink's endpoint: {error}", remedy="Write one IP address.") from None
    for prefix in options.protect:
        try:
            ipaddress.ip_network(prefix)
        except ValueError as error:
            raise ConfigError(
                f"sinks: the xfrm sink cannot protect {prefix!r}: {error}",
                remedy="Write prefixes like 10.9.0.0/16 or fd00:9::/32.",
            ) from None
    return options
