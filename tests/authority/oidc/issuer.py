"""An identity provider on loopback: Authlib's authorization server behind TLS, with two people and two machines."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import httpx
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core import OpenIDCode
from flask import Flask, jsonify, request
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import WSGIRequestHandler, make_server

from authority.pki import CertificateAuthority
from authority.planes.tls import server_context
from tests.authority.planes.plane import HOST

AUDIENCE = "https://vigil.example/operator"
CALLBACK = "https://client.example/callback"
SECRET = "client-secret"
GROUPS = {
    "ann": ["staff", "vigil-admins"],
    "bob": ["vigil-operators"],
    "eve": ["staff"],
    "siem": ["vigil-taps", "vigil-viewers"],
}
LOGINS = {"ann": "248289761001", "bob": "bob@example.org"}
"""Subjects by login."""


@dataclass
class Account(ClientMixin):  # type: ignore[misc]
    """A client, confidential, of both grants."""

    client_id: str
    callback: str = CALLBACK
    id_token_signed_response_alg = "RS256"

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return self.callback

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.callback

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method, endpoint) == ("client_secret_basic", "token")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in {"client_credentials", "authorization_code"}


@dataclass
class Signed:
    """A person who has signed in at the provider."""

    login: str

    def get_user_id(self) -> str:
        return LOGINS[self.login]


@dataclass
class Code(AuthorizationCodeMixin):  # type: ignore[misc]
    client_id: str
    scope: str
    nonce: str
    user: Signed
    callback: str
    code_challenge: str | None
    code_challenge_method: str | None

    def get_redirect_uri(self) -> str:
        return self.callback

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class Quiet(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """Nothing."""


def new_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)


@dataclass
class Issuer:
    """`keys` are published, the last one signs; `asked` are the paths of all requests, `lasts_s` is how long tokens do.

    `console` is where the client `vigil-console` comes back to, `login` who has signed in in every browser;
    with `asks` they have to say so on a page. Without `openid` it is an authorization server alone, whose metadata is
    where RFC 8414 has it.
    """

    url: str
    ca: CertificateAuthority
    keys: list[RSAKey]
    codes: dict[str, Code] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    openid: bool = True
    lasts_s: int = 300
    console: str = CALLBACK
    login: str = ""
    asks: bool = False

    def metadata(self) -> dict[str, Any]:
        """Refuses to be what RFC 8414 does not allow."""
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        said: dict[str, Any] = {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in places.items()}}
        said |= {"response_types_supported": ["code"]}
        AuthorizationServerMetadata(said).validate()
        return said

    def documents(self) -> int:
        """How often its keys were fetched."""
        return self.asked.count("/realm/jwks")

    def rotate(self, *, keep: bool = True) -> None:
        self.keys = [*(self.keys if keep else ()), new_key()]

    def client_token(self, client: str) -> str:
        """By the client credentials grant, over TLS."""
        return str(self._token({"grant_type": "client_credentials"}, client)["access_token"])

    def signed_in(self, login: str) -> dict[str, Any]:
        """Access token and ID token of a person, by the code flow."""
        wanted = {"response_type": "code", "client_id": "vigil-cli", "scope": "openid", "nonce": "n-1", "state": "s"}
        answer = self._http().get(f"{self.url}/authorize", params={**wanted, "redirect_uri": CALLBACK, "login": login})
        assert answer.status_code == 302, answer.text
        code = httpx.URL(answer.headers["location"]).params["code"]
        grant = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        return self._token(grant, "vigil-cli")

    def _token(self, grant: dict[str, str], client: str) -> dict[str, Any]:
        answer = self._http().post(f"{self.url}/token", data=grant, auth=(client, SECRET))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def _http(self) -> httpx.Client:
        return httpx.Client(verify=ssl.create_default_context(cafile=str(self.ca.ca_file)), trust_env=False)


@contextmanager
def issuing(folder: Path, host: str = HOST) -> Iterator[Issuer]:
    """A provider that answers until the end of the block, on loopback, and is called `host`."""
    app = Flask("issuer")
    ca = CertificateAuthority.create(folder, [host], time.time())
    server = make_server(HOST, 0, app, threaded=True, request_handler=Quiet, ssl_context=server_context(ca))
    issuer = Issuer(f"https://{host}:{server.server_port}/realm", ca, [new_key()])
    _documents(app, issuer)
    _endpoints(app, issuer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _documents(app: Flask, issuer: Issuer) -> None:
    @app.before_request
    def note() -> None:
        issuer.asked.append(request.path)

    @app.get("/realm/.well-known/openid-configuration")
    def configuration() -> Any:
        return jsonify(issuer.metadata()) if issuer.openid else ("none", 404)

    @app.get("/.well-known/oauth-authorization-server/realm")
    def metadata() -> Any:
        return jsonify(issuer.metadata())

    @app.get("/realm/jwks")
    def jwks() -> Any:
        return jsonify(KeySet([*issuer.keys]).as_dict(private=False))


def _endpoints(app: Flask, issuer: Issuer) -> None:
    def account(client_id: str) -> Account:
        return Account(client_id, issuer.console if client_id == "vigil-console" else CALLBACK)

    server = AuthorizationServer(app, account, lambda *_: None)
    server.scopes_supported = ["openid"]
    server.register_token_generator("default", _access_tokens(issuer))
    server.register_grant(grants.ClientCredentialsGrant)
    server.register_grant(_code_grant(issuer), [_id_tokens(issuer), CodeChallenge()])

    @app.get("/realm/authorize")
    def authorize() -> Any:
        if issuer.asks and "login" not in request.args:
            page = "<!doctype html><link rel=icon href='data:,'><title>Provider</title><a href='?{}'>It is me</a>"
            return page.format(escape(f"{request.query_string.decode()}&login={issuer.login}"))
        user = Signed(request.args.get("login", issuer.login))
        return server.create_authorization_response(grant_user=user, grant=server.get_consent_grant(end_user=user))

    @app.post("/realm/token")
    def token() -> Any:
        return server.create_token_response()


def _access_tokens(issuer: Issuer) -> JWTBearerTokenGenerator:
    class Tokens(JWTBearerTokenGenerator):  # type: ignore[misc]
        def get_jwks(self) -> KeySet:
            return KeySet([issuer.keys[-1]])

        def get_audiences(self, client: Account, _user: object, _scope: str) -> list[str]:
            return [client.client_id, AUDIENCE]

        def get_extra_claims(self, client: Account, _grant: str, user: Signed | None, _scope: str) -> dict[str, Any]:
            return {"groups": GROUPS[user.login if user else client.client_id]}

    return Tokens(issuer.url, expires_generator=lambda *_: issuer.lasts_s)


def _code_grant(issuer: Issuer) -> type[grants.AuthorizationCodeGrant]:
    class CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
        def save_authorization_code(self, code: str, asked: Any) -> None:
            said, client = asked.payload.data, asked.client
            proof = said.get("code_challenge"), said.get("code_challenge_method")
            whose = client.client_id, asked.payload.scope, said.get("nonce"), asked.user, client.callback
            issuer.codes[code] = Code(*whose, *proof)

        def query_authorization_code(self, code: str, _client: Account) -> Code | None:
            return issuer.codes.get(code)

        def delete_authorization_code(self, used: Code) -> None:
            issuer.codes = {code: each for code, each in issuer.codes.items() if each is not used}

        def authenticate_user(self, code: Code) -> Signed:
            return code.user

    return CodeGrant


def _id_tokens(issuer: Issuer) -> OpenIDCode:
    class IdTokens(OpenIDCode):  # type: ignore[misc]
        def exists_nonce(self, *_: object) -> bool:
            return False

        def resolve_client_private_key(self, _client: Account) -> KeySet:
            return KeySet([issuer.keys[-1]])

        def get_client_claims(self, client: Account) -> dict[str, Any]:
            others = [] if client.client_id == "vigil-console" else [AUDIENCE]
            return {"iss": issuer.url, "aud": [client.client_id, *others]}

        def generate_user_info(self, user: Signed, _scope: str) -> dict[str, Any]:
            return {"sub": user.get_user_id(), "groups": GROUPS[user.login]}

    return IdTokens()
