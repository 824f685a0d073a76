"""Names that people give: nodes, administrators, networks."""

from __future__ import annotations

import re

from protocol.codec import ProtocolViolation

NAME_PATTERN = r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?"
_NAME = re.compile(NAME_PATTERN)


def check_name(kind: str, name: str) -> str:
    """`name` if it is 1 to 63 lower-case letters, digits, dots, hyphens or underscores; else `ProtocolViolation`."""
    if _NAME.fullmatch(name) is None:
        raise ProtocolViolation(
            f"a {kind} name has 1 to 63 of a-z, 0-9, '.', '-', '_' and begins and ends with a letter or digit"
        )
    return name
