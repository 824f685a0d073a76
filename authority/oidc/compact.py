"""The outside of a signed token: a compact JWS (RFC 7515) of bounded length whose JSON can be read in one way only.

Nothing that is read here is to be trusted before its signature was verified. Of the header `alg`, `kid` and `typ`
count; what it says of keys and where to find them (`jwk`, `jku`, `x5c`, `x5u`) is not even looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

from protocol.codec import ProtocolViolation, unb64url

LONGEST = 12 * 1024
"""Characters of a token; the head of a request, in which it comes, has 16 KiB."""


class TokenRefused(Exception):
    """A token is not good; the text says why, and nothing of what was in it."""


@dataclass(frozen=True)
class Compact:
    """A token taken apart, as it was sent and nothing more."""

    header: dict[str, Any] = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    text: str = field(repr=False)

    @property
    def alg(self) -> str:
        """The algorithm that it says it is signed with."""
        return str(self.header["alg"])

    @property
    def kid(self) -> str | None:
        """The key that it says it is signed with."""
        return self.header.get("kid")


def is_compact(text: str) -> bool:
    """Whether a credential has the form of a signed token."""
    return text.count(".") == 2


def read_compact(text: str) -> Compact:
    """The parts of a token; raises `TokenRefused` for what is no JWS, is too long, or says one thing twice."""
    if len(text) > LONGEST:
        raise TokenRefused(f"the token has more than {LONGEST} characters")
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        raise TokenRefused("the token is not three parts of base64url: it is no signed JWT")
    header, claims = (_object(part) for part in parts[:2])
    _check_header(header)
    return Compact(header, claims, text)


def _check_header(header: dict[str, Any]) -> None:
    if not isinstance(header.get("alg"), str):
        raise TokenRefused("the token names no algorithm")
    if not isinstance(header.get("kid", ""), str) or not isinstance(header.get("typ", ""), str):
        raise TokenRefused("the token's header is not as RFC 7515 has it")
    if "crit" in header:
        raise TokenRefused("the token demands an extension (crit) that is not known here")


def _object(part: str) -> dict[str, Any]:
    try:
        found = json.loads(unb64url(part).decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ProtocolViolation, ValueError, RecursionError):
        raise TokenRefused("the token does not hold JSON in base64url") from None
    if not isinstance(found, dict):
        raise TokenRefused("the token does not hold JSON objects")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two equal names one reader takes the first and another the last (RFC 7519, 4): neither is taken here."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise TokenRefused("the token says one thing twice")
    return found


def _no_number(_: str) -> NoReturn:
    raise ValueError("no JSON")
