"""What an ID token must be for whoever it names to be signed in at the console (OpenID Connect Core 1.0, 3.1.3.7)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from authority.config import ConsoleClient, OidcProvider
from authority.oidc.claims import Person, check_times, person_named, texts_of
from authority.oidc.compact import Compact, TokenRefused
from protocol.codec import b64url

_OTHER_KINDS = ("Bearer", "Refresh", "Logout")
_HALVED = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


@dataclass(frozen=True)
class SignedIn:
    """A person, and the POSIX second at which what the provider said of them ends."""

    person: Person
    ends_at: float


def signed_in(
    token: Compact, chosen: OidcProvider, client: ConsoleClient, nonce: str, access_token: str, code: str, now: float
) -> SignedIn:
    """Who a token whose signature was verified signs in; raises `TokenRefused`.

    `nonce` is what the sign-in was begun with; the token came with `access_token`, for `code`.
    """
    claims = token.claims
    _check_kind(token)
    if claims.get("iss") != chosen.issuer:
        raise TokenRefused("the ID token is of another issuer")
    _check_audience(token, client)
    ends_at = check_times(claims, chosen, now)
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(errors="replace"), nonce.encode()):
        raise TokenRefused("the ID token is not of this sign-in (nonce)")
    for name, text in (("at_hash", access_token), ("c_hash", code)):
        if name in claims and claims[name] != half_hash(token.alg, text):
            raise TokenRefused(f"the ID token did not come with this answer ({name})")
    return SignedIn(person_named(claims, chosen, ends_at, now), ends_at)


def half_hash(alg: str, text: str) -> str:
    """`at_hash` and `c_hash`: the left half of the hash that belongs to the signature's algorithm."""
    digest = _HALVED.get(alg[-3:], hashlib.sha512)(text.encode(errors="replace")).digest()
    return b64url(digest[: len(digest) // 2])


def _check_kind(token: Compact) -> None:
    said = token.header.get("typ", "").lower().removeprefix("application/")
    if said not in {"", "jwt"} or "events" in token.claims or token.claims.get("typ") in _OTHER_KINDS:
        raise TokenRefused("the token is no ID token")


def _check_audience(token: Compact, client: ConsoleClient) -> None:
    """For this client; where it is for others too, this one must be whom it was issued to."""
    audience, party = texts_of(token.claims.get("aud")), token.claims.get("azp")
    if client.client_id not in audience:
        raise TokenRefused("the ID token is for another client")
    alone = {*audience} == {client.client_id}
    if party != client.client_id and not (party is None and alone):
        raise TokenRefused("the ID token was issued to another client (azp)")
