"""What operators may do, and what their tokens look like: no database, so that a command line starts at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum

from protocol.codec import b64url

PREFIX = "kvo1."


class Scope(StrEnum):
    """What a token allows; `AUDIT` is the audit log with its proofs, `ADMIN` allows everything."""

    READ = "read"
    AUDIT = "audit"
    OPERATE = "operate"
    APPROVE = "approve"
    SIGNAL = "signal"
    METRICS = "metrics"
    ADMIN = "admin"


class Role(StrEnum):
    """A set of scopes with a name, as a site hands them out."""

    VIEWER = "viewer"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    ADMIN = "admin"
    TAP = "tap"

    @property
    def scopes(self) -> frozenset[Scope]:
        """What it allows."""
        return ROLES[self]


ROLES = {
    Role.VIEWER: frozenset({Scope.READ}),
    Role.AUDITOR: frozenset({Scope.READ, Scope.AUDIT}),
    Role.OPERATOR: frozenset({Scope.READ, Scope.AUDIT, Scope.OPERATE, Scope.APPROVE}),
    Role.ADMIN: frozenset({Scope.ADMIN}),
    Role.TAP: frozenset({Scope.SIGNAL}),
}


def draw_token(random: Callable[[int], bytes]) -> str:
    """The text of a new token, which only whoever is to use it need ever know."""
    return PREFIX + b64url(random(32))


def lookup_of(text: str) -> str:
    """SHA-256 of a token's text, in hexadecimal: all that is kept of it."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
