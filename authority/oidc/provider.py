"""One identity provider: where its keys are (OpenID Connect Discovery 1.0, RFC 8414), and the keys, kept for a while.

Keys are fetched again when they are older than `keys_s`, and when a token names one that is not known: for that once in
`UNKNOWN_S`, so that whoever makes up names costs the provider nothing. While the provider does not answer, the keys of
before are good until they are `kept_s` old.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from authority.config import OidcProvider
from authority.oidc.compact import Compact, TokenRefused
from authority.oidc.keys import KeySetUnreadable, SigningKey, fitting, read_key_set
from authority.oidc.transport import Fetch, FetchFailed

UNKNOWN_S = 60.0
RETRY_S = 10.0
_log = logging.getLogger(__name__)


class ProviderUnreachable(Exception):
    """There are no keys to verify by, because the provider does not give them; the text says why."""


@dataclass(frozen=True)
class Places:
    """Where people sign in, and where a code is exchanged; both `https:`."""

    authorization: str
    token: str


class Provider:
    """The keys of `chosen`; `now` gives POSIX seconds."""

    def __init__(self, chosen: OidcProvider, fetch: Fetch, now: Callable[[], float]) -> None:
        self.chosen, self._fetch, self._now = chosen, fetch, now
        self._keys: tuple[SigningKey, ...] = ()
        self._fetched_at, self._tried_at = float("-inf"), float("-inf")
        self._fault = ""
        self._places: Places | None = None
        self._fetching = asyncio.Lock()

    async def key_for(self, token: Compact) -> SigningKey:
        """The key that a token may be signed with; raises `TokenRefused`, and `ProviderUnreachable`."""
        if self._older_than(self._fetched_at, self.chosen.keys_s):
            await self._refresh(RETRY_S)
        found = fitting(self._known(), token)
        if found is None:
            await self._refresh(UNKNOWN_S)
            found = fitting(self._known(), token)
        if found is None and self._fault:
            raise ProviderUnreachable(self._fault)
        if found is None:
            raise TokenRefused("the token is signed with a key that the provider does not publish, or no longer")
        return found

    async def places(self) -> Places:
        """Where people sign in; raises `ProviderUnreachable`."""
        if self._older_than(self._fetched_at, self.chosen.keys_s):
            await self._refresh(RETRY_S)
        if self._places is None:
            raise ProviderUnreachable(self._fault or "its metadata names no https endpoints for signing in")
        return self._places

    def _known(self) -> tuple[SigningKey, ...]:
        if self._older_than(self._fetched_at, self.chosen.kept_s):
            self._keys = ()
        return self._keys

    async def _refresh(self, pause_s: float) -> None:
        """Fetch the keys, unless that was tried within `pause_s`; who has some waits for nobody else's fetching."""
        if self._keys and self._fetching.locked():
            return
        async with self._fetching:
            if not self._older_than(self._tried_at, pause_s):
                return
            self._tried_at = self._now()
            try:
                self._keys = await self._fetched()
                self._fetched_at, self._fault = self._tried_at, ""
            except (FetchFailed, KeySetUnreadable) as error:
                self._fault = str(error)
                _log.warning(
                    "an identity provider gives no keys", extra={"provider": self.chosen.name, "cause": self._fault}
                )

    async def _fetched(self) -> tuple[SigningKey, ...]:
        document = await self._metadata()
        try:
            said = json.loads(document)
            issuer, place = said["issuer"], said["jwks_uri"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise KeySetUnreadable("the provider's metadata has no issuer and jwks_uri") from None
        if issuer != self.chosen.issuer:
            raise KeySetUnreadable("the provider's metadata is of another issuer")
        if not isinstance(place, str) or not place.startswith("https://"):
            raise KeySetUnreadable("the provider's jwks_uri is no https address")
        keys = read_key_set(await self._fetch(place))
        self._places = _places(said)
        return keys

    async def _metadata(self) -> bytes:
        """As OpenID Connect has it, behind the issuer's path; or else as RFC 8414, before it."""
        issuer = self.chosen.issuer
        try:
            return await self._fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        except FetchFailed as error:
            if not error.missing:
                raise
        there = urlsplit(issuer)
        path = there.path.rstrip("/")
        return await self._fetch(f"{there.scheme}://{there.netloc}/.well-known/oauth-authorization-server{path}")

    def _older_than(self, at: float, seconds: float) -> bool:
        """A clock that went back makes everything old."""
        return not 0 <= self._now() - at < seconds


def _places(said: Mapping[str, Any]) -> Places | None:
    """None where the metadata has none, as that of a provider that machines alone go to."""
    found = [said.get(name) for name in ("authorization_endpoint", "token_endpoint")]
    texts = [each for each in found if isinstance(each, str) and each.startswith("https://")]
    return Places(*texts) if len(texts) == len(found) else None
