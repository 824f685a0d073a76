"""A provider in memory that exchanges codes for whatever ID token it is told to give."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from authority.config import ConsoleClient, Site
from authority.oidc import SignOn, sign_on
from authority.oidc.code_flow import Attempt, CodeFlow
from authority.oidc.transport import FetchFailed, Post
from protocol.codec import b64url
from tests.authority.oidc.forge import CLAIMS, ISSUER, NOW, RSA, Documents, Sign, chosen, compact, rs256
from tests.authority.oidc.site import config

CLIENT = ConsoleClient(client_id="console", redirect_uri="https://vigil.example/console/sign-in/corp/back")
PLACES = {"authorization_endpoint": f"{ISSUER}/authorize", "token_endpoint": f"{ISSUER}/token"}
ACCESS = "an access token"
CODE = "a-code"
HEADER = {"alg": "RS256", "kid": "rsa", "typ": "JWT"}
ATTEMPT = Attempt.begin(b"s" * 32, NOW)
ID_CLAIMS: dict[str, Any] = {
    **{name: value for name, value in CLAIMS.items() if name not in {"client_id", "jti"}},
    "aud": CLIENT.client_id,
    "nonce": ATTEMPT.nonce("corp"),
}


def id_token(header: Mapping[str, Any] | None = None, sign: Sign | None = None, **claims: Any) -> str:
    """A good one for `ATTEMPT` but for what is named; a claim of `...` is left out."""
    said = {name: value for name, value in {**ID_CLAIMS, **claims}.items() if value is not ...}
    named = {name: value for name, value in {**HEADER, **(header or {})}.items() if value is not ...}
    return compact(named, said, sign or rs256(RSA))


class Exchange:
    """Answers a form at the token endpoint as a provider with PKCE does; `answer` is given for the right one."""

    def __init__(self, **answer: Any) -> None:
        self.answer: dict[str, Any] = {"access_token": ACCESS, "token_type": "Bearer", **answer}
        self.challenge = ""
        self.asked: list[tuple[str, dict[str, str], tuple[str, str] | None]] = []
        self.down = False

    def make(self, _ca: Path | None) -> Post:
        return self.post

    async def post(self, url: str, form: Mapping[str, str], client: tuple[str, str] | None) -> tuple[int, bytes]:
        self.asked.append((url, dict(form), client))
        if self.down:
            raise FetchFailed("ConnectError: refused")
        proof = b64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if form.get("code") != CODE or (self.challenge and proof != self.challenge):
            return 400, b'{"error": "invalid_grant", "error_description": "ann"}'
        return 200, json.dumps(self.answer).encode()


def console(
    exchange: Exchange, documents: Documents | None = None, client: ConsoleClient = CLIENT, folder: Path = Path("/")
) -> CodeFlow:
    """The way to sign in by that provider."""
    made = opened(exchange, documents, client, folder).console("corp")
    assert made is not None
    return made


def opened(exchange: Exchange, documents: Documents | None, client: ConsoleClient, folder: Path) -> SignOn:
    site = Site(folder, config(chosen(console=client)))
    made = sign_on(site, lambda: NOW, (documents or Documents(**PLACES)).make, exchange.make)
    assert made is not None
    return made


def asked_of(address: str) -> dict[str, str]:
    """What a browser is sent to the provider with."""
    return dict(parse_qsl(urlsplit(address).query, strict_parsing=True))
