"""TCP ports for what the lab starts."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from itertools import cycle, islice

from simulators.lab.processes import LabError

FIRST, LAST = 20000, 31999
"""Below those that the kernel gives to outgoing connections (net.ipv4.ip_local_port_range, from 32768 on)."""

_START = secrets.randbelow(LAST + 1 - FIRST)
_turn = islice(cycle(range(FIRST, LAST + 1)), _START, None)


def free_port() -> int:
    """A TCP port of loopback that is free now and likely so when it is used; raises `LabError` where none is.

    A process's ports come one after another, from a start drawn at random, so that others that look for some at the
    same time look elsewhere.
    """
    for port in islice(_turn, LAST + 1 - FIRST):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise LabError(f"no TCP port of 127.0.0.1 between {FIRST} and {LAST} is free: end what holds them")
