"""An operator plane that believes an identity provider, and requests with any bearer token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec

from authority.config import AuthorityConfig, Listener, OidcProvider, Site
from authority.oidc import SignOn, sign_on
from authority.oidc.transport import Fetch, https_fetch
from authority.trust import Policy
from tests.authority.oidc.issuer import AUDIENCE
from tests.authority.planes.operator_site import OperatorSite, open_operator_site

ROLES: dict[str, Any] = {
    "vigil-admins": "admin",
    "vigil-operators": "operator",
    "vigil-taps": "tap",
    "vigil-viewers": "viewer",
}
NETWORK = {"name": "prod"}


def provider(issuer: str, **settings: Any) -> OidcProvider:
    chosen = OidcProvider(name="corp", issuer=issuer, audience=AUDIENCE, roles=ROLES, claim=("groups",))
    return msgspec.structs.replace(chosen, **settings)


def config(*providers: OidcProvider) -> AuthorityConfig:
    return AuthorityConfig(
        names=["vigil.example"],
        node_plane=Listener("127.0.0.1", 8443),
        operator_plane=Listener("127.0.0.1", 8444),
        oidc=[*providers],
    )


def believing(
    chosen: OidcProvider, now: Callable[[], float], make_fetch: Callable[[Path | None], Fetch] = https_fetch
) -> SignOn:
    made = sign_on(Site(Path("/"), config(chosen)), now, make_fetch)
    assert made is not None
    return made


def open_site(
    folder: Path,
    chosen: OidcProvider,
    make_fetch: Callable[[Path | None], Fetch] = https_fetch,
    policy: Policy | None = None,
    **options: Any,
) -> OperatorSite:
    opened: list[OperatorSite] = []
    believed = believing(chosen, lambda: opened[0].clock[0], make_fetch)
    opened.append(open_operator_site(folder, policy, sign_on=believed, **options))
    return opened[0]


def ask(site: OperatorSite, token: str, method: str = "GET", path: str = "/v1/nodes", **sent: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} | sent.pop("headers", {})
    return site.ask(method, path, None, headers, **sent)


def status(site: OperatorSite, token: str) -> int:
    return ask(site, token).status_code
