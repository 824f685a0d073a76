"""From the text of a token to whoever bears it: the provider by its issuer, its key, the signature, then the claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from authority.config import ConfigError, OidcProvider, Site
from authority.oidc.claims import Person, person_of
from authority.oidc.code_flow import CodeFlow
from authority.oidc.compact import TokenRefused, read_compact
from authority.oidc.keys import FAMILIES, verify
from authority.oidc.provider import Provider
from authority.oidc.transport import Fetch, Post, https_fetch, https_post

MakeFetch = Callable[[Path | None], Fetch]
MakePost = Callable[[Path | None], Post]


class SignOn:
    """The identity providers that a site names."""

    def __init__(
        self, providers: Sequence[Provider], now: Callable[[], float], consoles: Sequence[CodeFlow] = ()
    ) -> None:
        self._providers = {each.chosen.issuer: each for each in providers}
        self._consoles = {each.name: each for each in consoles}
        self._now = now

    @property
    def consoles(self) -> list[str]:
        """Names of the providers by which people sign in at the console."""
        return [*self._consoles]

    def console(self, name: str) -> CodeFlow | None:
        """Signing in by the provider of this name."""
        return self._consoles.get(name)

    async def person(self, text: str, certificate_sha256: str = "") -> Person:
        """Who bears a token; raises `TokenRefused`, and `ProviderUnreachable` while that cannot be told.

        The issuer that a token names chooses whose keys verify it, and is believed when they do.
        """
        token = read_compact(text)
        issuer = token.claims.get("iss")
        provider = self._providers.get(issuer) if isinstance(issuer, str) else None
        if provider is None:
            raise TokenRefused("the token is of an issuer that is not configured here")
        if token.alg not in provider.chosen.algorithms:
            raise TokenRefused("the token is signed with an algorithm that is not allowed here")
        verify(token, await provider.key_for(token))
        return person_of(token, provider.chosen, self._now(), certificate_sha256)


def sign_on(
    site: Site, now: Callable[[], float], make_fetch: MakeFetch = https_fetch, make_post: MakePost = https_post
) -> SignOn | None:
    """The providers of a site's configuration, if it names any; raises `ConfigError`. Asks none of them yet."""
    chosen = site.config.oidc
    for names in ([each.name for each in chosen], [each.issuer for each in chosen]):
        if len({*names}) != len(names):
            raise ConfigError("two tables [[oidc]] are of one name or issuer", "Give each its own.")
    providers = [_provider(site, each, now, make_fetch) for each in chosen]
    flows = (_console(site, each, make_post) for each in providers)
    return SignOn(providers, now, [each for each in flows if each is not None]) if chosen else None


def _console(site: Site, provider: Provider, make_post: MakePost) -> CodeFlow | None:
    chosen = provider.chosen
    client = chosen.console
    if client is None:
        return None
    where, there = f"identity provider {chosen.name}", urlsplit(client.redirect_uri)
    back = f"/console/sign-in/{chosen.name}/back"
    if there.scheme != "https" or not there.hostname or there.query or there.fragment or there.path != back:
        raise ConfigError(f"{where}: redirect_uri is not https://…{back}", "Write the address that browsers use.")
    if "openid" not in client.scopes:
        raise ConfigError(f"{where}: scopes lack openid", "Without it the provider gives no ID token.")
    secret = site.path(client.client_secret_file) if client.client_secret_file else None
    if secret is not None and not secret.is_file():
        raise ConfigError(f"{where}: there is no file {secret}", "Write the client's secret into it (0600).")
    ca = site.path(chosen.ca) if chosen.ca else None
    return CodeFlow(provider, client, secret, make_post(ca))


def _provider(site: Site, chosen: OidcProvider, now: Callable[[], float], make_fetch: MakeFetch) -> Provider:
    where, there = f"identity provider {chosen.name}", urlsplit(chosen.issuer)
    if there.scheme != "https" or not there.hostname or there.query or there.fragment:
        raise ConfigError(f"{where}: issuer is no https address", "Write it as the provider's metadata has it.")
    foreign = sorted({*chosen.algorithms} - {*FAMILIES})
    if foreign or not chosen.algorithms:
        raise ConfigError(f"{where}: algorithms {foreign} are not allowed", f"Choose among {', '.join(FAMILIES)}.")
    ca = site.path(chosen.ca) if chosen.ca else None
    if ca is not None and not ca.is_file():
        raise ConfigError(f"{where}: there is no file {ca}", "Name the PEM file that its certificate chains to.")
    return Provider(chosen, make_fetch(ca), now)
