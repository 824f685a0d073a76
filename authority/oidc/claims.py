"""What the claims of a verified token must be, and what they make of whoever bears it (RFC 9068, section 4)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authority.config import OidcProvider
from authority.oidc.compact import Compact, TokenRefused
from authority.operators import PERSON_PREFIX
from authority.roles import ROLES, Role, Scope
from protocol.codec import b64url

NAME_LENGTH = 63
_SUBJECT = re.compile(r"[\x21-\x7e]{1,255}")
_PLAIN = re.compile(r"[A-Za-z0-9._@|:+=~/-]+")
_DIGESTED = "sha256:"
_OF_ACCESS = ("client_id", "jti")
_NOT_FOR_ACCESS = ("ID", "Refresh", "Logout")
_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash")


@dataclass(frozen=True)
class Person:
    """Whoever a token was issued to; `stands_until` is when what they ordered and voted for stands no longer."""

    name: str
    provider: str
    subject: str
    scopes: frozenset[Scope]
    stands_until: float


def person_of(token: Compact, chosen: OidcProvider, now: float, certificate_sha256: str = "") -> Person:
    """Who bears a token whose signature was verified; raises `TokenRefused`.

    `certificate_sha256` (hexadecimal) is that of the connection's client certificate, for tokens bound to one.
    """
    claims = token.claims
    _check_kind(token, chosen)
    if claims.get("iss") != chosen.issuer:
        raise TokenRefused("the token is of another issuer")
    if chosen.audience not in texts_of(claims.get("aud")):
        raise TokenRefused("the token is for another audience")
    ends_at = check_times(claims, chosen, now)
    _check_binding(claims, certificate_sha256)
    return person_named(claims, chosen, ends_at, now)


def person_named(claims: Mapping[str, Any], chosen: OidcProvider, ends_at: float, now: float) -> Person:
    """Whom the claims of a token that is good until `ends_at` name; raises `TokenRefused`."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or _SUBJECT.fullmatch(subject) is None:
        raise TokenRefused("the token has no subject (sub) of 1 to 255 printable ASCII characters")
    return Person(
        name=name_of(chosen.name, subject),
        provider=chosen.name,
        subject=subject,
        scopes=scopes_of(claims, chosen),
        stands_until=max(ends_at, now + chosen.stands_s),
    )


def name_of(provider: str, subject: str) -> str:
    """How a person is called here; a subject that is long or odd is named by its SHA-256, and is in the audit log."""
    prefix = f"{PERSON_PREFIX}{provider}/"
    plain = _PLAIN.fullmatch(subject) is not None and not subject.startswith(_DIGESTED)
    if plain and len(prefix) + len(subject) <= NAME_LENGTH:
        return prefix + subject
    return f"{prefix}{_DIGESTED}{hashlib.sha256(subject.encode()).hexdigest()[:32]}"


def scopes_of(claims: Mapping[str, Any], chosen: OidcProvider) -> frozenset[Scope]:
    """Those of every role that a value of the configured claim stands for."""
    found: Any = claims
    for step in chosen.claim:
        found = found.get(step) if isinstance(found, dict) else None
    roles = {chosen.roles[value] for value in texts_of(found) if value in chosen.roles}
    return frozenset(scope for role in roles for scope in ROLES[Role(role)])


def _check_kind(token: Compact, chosen: OidcProvider) -> None:
    """An access token: what is for the client alone (an ID token, a logout token) opens nothing."""
    said = token.header.get("typ", "").lower().removeprefix("application/")
    if chosen.typ == "at+jwt":
        if said != "at+jwt":
            raise TokenRefused("the token's typ is not at+jwt")
        if not all(isinstance(token.claims.get(name), str) for name in _OF_ACCESS):
            raise TokenRefused("the token lacks client_id or jti, which RFC 9068 demands")
    elif said not in {"jwt", "at+jwt", ""}:
        raise TokenRefused("the token's typ is neither JWT nor at+jwt")
    if any(name in token.claims for name in _OF_ID_TOKENS) or token.claims.get("typ") in _NOT_FOR_ACCESS:
        raise TokenRefused("the token is an ID token, or another one that is no access token")


def check_times(claims: Mapping[str, Any], chosen: OidcProvider, now: float) -> float:
    """When a token ends, in POSIX seconds; raises `TokenRefused` for one that is not good now, or for too long."""
    begun, ends = _time(claims, "iat"), _time(claims, "exp")
    good_from = _time(claims, "nbf") if "nbf" in claims else begun
    if ends + chosen.leeway_s <= now:
        raise TokenRefused("the token has expired")
    if max(begun, good_from) - chosen.leeway_s > now:
        raise TokenRefused("the token is not good yet")
    if ends - begun > chosen.longest_s:
        raise TokenRefused(f"the token is good for longer than {chosen.longest_s:.0f} s")
    return ends


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise TokenRefused(f"the token has no {name} in POSIX seconds")
    return float(value)


def _check_binding(claims: Mapping[str, Any], certificate_sha256: str) -> None:
    """A token that is bound to a key is good with that key alone (RFC 8705, 3; RFC 9449 is not supported)."""
    bound = claims.get("cnf")
    if bound is None:
        return
    shown = b64url(bytes.fromhex(certificate_sha256))
    if not isinstance(bound, dict) or set(bound) != {"x5t#S256"} or not shown or bound["x5t#S256"] != shown:
        raise TokenRefused("the token is bound to a key (cnf) that this connection does not show")


def texts_of(value: Any) -> list[str]:
    """A claim that is one text or a list of texts."""
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, str)]
