"""One-time secrets that a person carries: join tokens and enrolment tickets."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from protocol.codec import ProtocolViolation, b64url, unb64url

_JOIN = re.compile(r"kvj1\.([A-Za-z0-9_-]{43})\.([0-9a-f]{64})")
_TICKET = re.compile(r"kvt1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class JoinToken:
    """Lets one node join and tells it which authority to trust: `ca_sha256` is the SHA-256 of the CA certificate."""

    secret: bytes = field(repr=False)
    ca_sha256: str

    def format(self) -> str:
        """Text form: `kvj1.<secret>.<CA hash>`."""
        return f"kvj1.{b64url(self.secret)}.{self.ca_sha256}"

    @property
    def lookup(self) -> str:
        """What the authority stores: SHA-256 of the secret, hexadecimal."""
        return hashlib.sha256(self.secret).hexdigest()


@dataclass(frozen=True)
class Ticket:
    """Lets one administrator enrol at one node, together with a PIN that travels another way."""

    ticket_id: str
    secret: bytes = field(repr=False)

    def format(self) -> str:
        """Text form: `kvt1.<id>.<secret>`."""
        return f"kvt1.{self.ticket_id}.{b64url(self.secret)}"

    @property
    def lookup(self) -> str:
        """SHA-256 of the secret, hexadecimal."""
        return hashlib.sha256(self.secret).hexdigest()


def parse_join_token(text: str) -> JoinToken:
    """The token in `text`; raises `ProtocolViolation` without repeating it."""
    match = _JOIN.fullmatch(text.strip())
    if match is None:
        raise ProtocolViolation("this is not a join token (kvj1.…); copy it whole from `keyvigil-authority node token`")
    return JoinToken(unb64url(match[1]), match[2])


def parse_ticket(text: str) -> Ticket:
    """The ticket in `text`; raises `ProtocolViolation` without repeating it."""
    match = _TICKET.fullmatch(text.strip())
    if match is None:
        raise ProtocolViolation("this is not a ticket (kvt1.…); copy it whole from `keyvigil-authority admin ticket`")
    return Ticket(match[1], unb64url(match[2]))
