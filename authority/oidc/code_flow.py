"""Signing people in by the authorization code flow with PKCE (RFC 6749, 4.1; RFC 7636; OpenID Connect Core 1.0, 3.1).

State, nonce and verifier of a sign-in all follow from a secret that the browser alone keeps, in a cookie that no script
reads: whoever comes back with another's state, or brings another's code, lacks it. Nothing is stored here before the
provider has answered, so that nobody fills a table by beginning.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from authority.config import ConsoleClient
from authority.oidc.compact import TokenRefused, read_compact
from authority.oidc.id_tokens import SignedIn, signed_in
from authority.oidc.keys import verify
from authority.oidc.provider import Provider, ProviderUnreachable
from authority.oidc.transport import FetchFailed, Post
from protocol.codec import b64url

ATTEMPT_S = 600.0
"""From the first redirection to the answer: people type passwords and look for second factors."""
_CODE = re.compile(r"[\x20-\x7e]{1,2048}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """One sign-in under way; `kept` is the cookie's text, and all of it."""

    kept: str = field(repr=False)
    begun_at: float

    @staticmethod
    def begin(secret: bytes, now: float) -> Attempt:
        """A new one; `secret` is 32 random bytes."""
        return Attempt(f"{int(now)}.{b64url(secret)}", float(int(now)))

    @staticmethod
    def of(kept: str, now: float) -> Attempt | None:
        """The one that a browser kept, unless it is too old."""
        begun, _, secret = kept.partition(".")
        if not (begun.isascii() and begun.isdecimal() and len(begun) < 16 and len(secret) >= 43):
            return None
        return Attempt(kept, float(begun)) if 0 <= now - float(begun) < ATTEMPT_S else None

    def state(self, provider: str) -> str:
        """What comes back from this provider through the browser; another's is another."""
        return self._drawn(f"state/{provider}")

    def nonce(self, provider: str) -> str:
        """What the provider signs."""
        return self._drawn(f"nonce/{provider}")

    def verifier(self, provider: str) -> str:
        """43 characters that nobody sees before they are sent to the provider with the code (RFC 7636, 4.1)."""
        return self._drawn(f"verifier/{provider}")

    def _drawn(self, use: str) -> str:
        return b64url(hmac.digest(self.kept.encode(errors="replace"), f"keyvigil/sign-in/{use}".encode(), "sha256"))


class CodeFlow:
    """The console as a client of one provider."""

    def __init__(self, provider: Provider, client: ConsoleClient, secret_file: Path | None, post: Post) -> None:
        self.provider, self.client = provider, client
        self._secret_file, self._post = secret_file, post

    @property
    def name(self) -> str:
        """The provider's."""
        return self.provider.chosen.name

    async def address(self, attempt: Attempt) -> str:
        """Where the browser is sent to sign in; raises `ProviderUnreachable`."""
        places = await self.provider.places()
        challenge = b64url(hashlib.sha256(attempt.verifier(self.name).encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": self.client.redirect_uri,
            "scope": " ".join(self.client.scopes),
            "state": attempt.state(self.name),
            "nonce": attempt.nonce(self.name),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        there = urlsplit(places.authorization)
        query = "&".join(part for part in (there.query, urlencode(asked)) if part)
        return urlunsplit((there.scheme, there.netloc, there.path, query, ""))

    async def finish(self, attempt: Attempt, answer: Mapping[str, str], now: float) -> SignedIn:
        """Who the provider's answer in the browser's address signs in.

        Raises `TokenRefused`, and `ProviderUnreachable` while that cannot be told.
        """
        code = self._code(attempt, answer)
        said = await self._exchanged(code, attempt.verifier(self.name))
        id_token, access_token = said.get("id_token"), said.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise TokenRefused("the provider gave no ID token: is openid among the scopes?")
        token = read_compact(id_token)
        if token.alg not in self.provider.chosen.algorithms:
            raise TokenRefused("the ID token is signed with an algorithm that is not allowed here")
        verify(token, await self.provider.key_for(token))
        nonce = attempt.nonce(self.name)
        return signed_in(token, self.provider.chosen, self.client, nonce, access_token, code, now)

    def _code(self, attempt: Attempt, answer: Mapping[str, str]) -> str:
        """The code that answers this very attempt (RFC 6749, 10.12; RFC 9207 where the provider says who it is)."""
        state = answer.get("state", "").encode(errors="replace")
        if not hmac.compare_digest(state, attempt.state(self.name).encode()):
            raise TokenRefused("this answer is not of a sign-in that this browser began")
        if answer.get("iss", self.provider.chosen.issuer) != self.provider.chosen.issuer:
            raise TokenRefused("this answer is of another provider")
        if "error" in answer:
            raise TokenRefused("the identity provider did not sign you in")
        code = answer.get("code", "")
        if _CODE.fullmatch(code) is None:
            raise TokenRefused("this answer has no code")
        return code

    async def _exchanged(self, code: str, verifier: str) -> dict[str, Any]:
        """What the provider gives for the code, asked over TLS and by nobody else (RFC 6749, 4.1.3)."""
        places = await self.provider.places()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.client.redirect_uri,
            "code_verifier": verifier,
        }
        secret = self._secret()
        if secret is None:
            form["client_id"] = self.client.client_id
        identity = None if secret is None else (self.client.client_id, secret)
        try:
            status, document = await self._post(places.token, form, identity)
        except FetchFailed as error:
            raise ProviderUnreachable(str(error)) from None
        if status >= 500:
            raise ProviderUnreachable(f"it answered {status}")
        return self._answer(status, document)

    def _answer(self, status: int, document: bytes) -> dict[str, Any]:
        try:
            said = json.loads(document)
        except (ValueError, RecursionError):
            said = None
        if status != 200 or not isinstance(said, dict):
            fault = said.get("error") if isinstance(said, dict) else None
            known = fault if isinstance(fault, str) and re.fullmatch(r"[a-z_]{1,40}", fault) else "unknown"
            _log.warning("an identity provider refused a code", extra={"provider": self.name, "cause": known})
            raise TokenRefused("the provider does not take the code: it was used, is old, or is not of this sign-in")
        return said

    def _secret(self) -> str | None:
        if self._secret_file is None:
            return None
        try:
            return self._secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ProviderUnreachable(f"the client's secret cannot be read: {type(error).__name__}") from None
