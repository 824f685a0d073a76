"""Against Authlib's authorization server over TLS: discovery, keys, both grants, rotation, and when it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from authority.client import OpenApi
from authority.config import OidcProvider
from authority.oidc import ProviderUnreachable, SignOn, TokenRefused
from authority.oidc.provider import RETRY_S, UNKNOWN_S
from authority.pki import CertificateAuthority
from authority.planes import operator_server
from authority.roles import Scope
from tests.authority.cli.conftest import Run, run
from tests.authority.oidc.issuer import LOGINS, Issuer, issuing
from tests.authority.oidc.site import NETWORK, ask, believing, open_site, provider, status
from tests.authority.planes.plane import HOST, listening
from tests.authority.planes.test_open_api import add_node

__all__ = ["run"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with issuing(tmp_path_factory.mktemp("issuer") / "ca") as opened:
        yield opened


@pytest.fixture
def issuer(running: Issuer) -> Iterator[Issuer]:
    running.asked.clear()
    yield running
    running.openid, running.lasts_s, running.keys = True, 300, running.keys[-1:]


def chosen(issuer: Issuer, **settings: object) -> OidcProvider:
    return provider(issuer.url, **{"ca": str(issuer.ca.ca_file), **settings})


@dataclass
class Door:
    """What an authority makes of tokens, at a time that stands still until moved."""

    sign_on: SignOn
    clock: list[float]

    def name(self, token: str) -> str:
        return asyncio.run(self.sign_on.person(token)).name

    def refusal(self, token: str) -> str:
        with pytest.raises(TokenRefused) as refused:
            self.name(token)
        return str(refused.value)

    def unreachable(self, token: str) -> str:
        with pytest.raises(ProviderUnreachable) as refused:
            self.name(token)
        return str(refused.value)


def door(issuer: Issuer, **settings: object) -> Door:
    clock = [time.time()]
    return Door(believing(chosen(issuer, **settings), lambda: clock[0]), clock)


def test_people_and_machines_act_under_their_subjects_with_their_roles(issuer: Issuer, tmp_path: Path) -> None:
    site = open_site(tmp_path, chosen(issuer))
    machine, person = issuer.client_token("siem"), issuer.signed_in("bob")["access_token"]
    assert (status(site, machine), status(site, person)) == (200, 200)
    assert ask(site, machine, "POST", "/v1/networks", json=NETWORK).status_code == 403
    assert ask(site, person, "POST", "/v1/networks", json=NETWORK).status_code == 201
    assert site.audits("network") == [f"oidc:corp/{LOGINS['bob']}"]
    assert site.audits("oidc-person") == ["oidc:corp/siem", f"oidc:corp/{LOGINS['bob']}"]
    nobody = ask(site, issuer.client_token("eve"))
    assert (nobody.status_code, nobody.json()["code"]) == (403, "forbidden")
    site.store.close()


def test_the_command_line_and_the_client_bear_such_a_token(issuer: Issuer, tmp_path: Path, run: Run) -> None:
    site, file = open_site(tmp_path, chosen(issuer)), tmp_path / "access.token"
    file.write_text(issuer.signed_in("bob")["access_token"] + "\n")
    add_node(site, "n1")
    with listening(operator_server(site.app, site.ca, HOST, 0)) as running:
        url = f"https://{HOST}:{running.server.port}"
        where = ("--url", url, "--token-file", file, "--ca-file", site.ca.ca_file)
        assert run("node", "isolate", "n1", "--reason", "seen", *where).status == 0
        with OpenApi(url, token=file.read_text().strip(), ca_file=site.ca.ca_file) as api:
            assert [(node.name, node.state) for node in api.nodes()] == [("n1", "isolated")]
    assert site.audits("node-isolate") == [f"oidc:corp/{LOGINS['bob']}"]
    site.store.close()


def test_roles_are_those_of_every_group(issuer: Issuer) -> None:
    person = asyncio.run(door(issuer).sign_on.person(issuer.client_token("siem")))
    assert person.scopes == {Scope.SIGNAL, Scope.READ}


def test_an_id_token_is_for_the_client_alone(issuer: Issuer) -> None:
    tokens = issuer.signed_in("ann")
    strict, lenient = door(issuer), door(issuer, typ="jwt")
    assert strict.refusal(tokens["id_token"]) == "the token's typ is not at+jwt"
    assert "is an ID token" in lenient.refusal(tokens["id_token"])
    for each in (strict, lenient):
        assert each.name(tokens["access_token"]) == f"oidc:corp/{LOGINS['ann']}"


def test_a_token_that_lasts_for_days_is_refused(issuer: Issuer) -> None:
    issuer.lasts_s = 10 * 86400
    token = issuer.client_token("siem")
    assert "longer than" in door(issuer).refusal(token)
    assert door(issuer, longest_s=10 * 86400.0).name(token)


def test_keys_are_fetched_once_for_many_requests(issuer: Issuer) -> None:
    here = door(issuer)
    for _ in range(3):
        assert here.name(issuer.client_token("siem")) == "oidc:corp/siem"
    assert issuer.documents() == 1


def test_a_new_key_is_found_when_a_token_names_it(issuer: Issuer) -> None:
    here, old = door(issuer), issuer.client_token("siem")
    assert here.name(old)
    issuer.rotate()
    here.clock[0] += UNKNOWN_S
    assert here.name(issuer.client_token("siem")) == here.name(old) == "oidc:corp/siem"
    assert issuer.documents() == 2


def test_unknown_keys_cost_the_provider_one_request_a_minute(issuer: Issuer) -> None:
    here, good = door(issuer), issuer.client_token("siem")
    assert here.name(good)
    published = [*issuer.keys]
    issuer.rotate()
    token, issuer.keys = issuer.client_token("siem"), published
    for _ in range(3):
        assert "does not publish" in here.refusal(token)
    assert issuer.documents() == 1
    here.clock[0] += UNKNOWN_S
    for _ in range(3):
        assert here.refusal(token)
    assert issuer.documents() == 2 and here.name(good)


def test_a_withdrawn_key_is_good_no_longer(issuer: Issuer) -> None:
    issuer.lasts_s = 3600
    here, old = door(issuer), issuer.client_token("siem")
    assert here.name(old)
    issuer.rotate(keep=False)
    assert here.name(old)  # within `keys_s`: the control
    here.clock[0] += 600
    assert "does not publish" in here.refusal(old)


def test_an_authorization_server_without_openid_will_do(issuer: Issuer) -> None:
    issuer.openid = False
    assert door(issuer).name(issuer.client_token("siem"))
    assert "/.well-known/oauth-authorization-server/realm" in issuer.asked


def test_a_provider_of_another_ca_is_not_believed(issuer: Issuer, tmp_path: Path) -> None:
    other = CertificateAuthority.create(tmp_path / "other", [HOST], time.time())
    fault = door(issuer, ca=str(other.ca_file)).unreachable(issuer.client_token("siem"))
    assert "certificate" in fault.lower() and issuer.documents() == 0


def test_without_the_provider_kept_keys_go_on_for_a_while(tmp_path: Path) -> None:
    with issuing(tmp_path / "ca") as issuer:
        issuer.lasts_s = 80_000
        here, token = door(issuer, kept_s=3600.0), issuer.client_token("siem")
        assert here.name(token)
        issuer.rotate()
        unknown = issuer.client_token("siem")
    here.clock[0] += 3000
    assert here.name(token)
    assert here.unreachable(unknown)
    here.clock[0] += 700
    assert here.unreachable(token)


def test_a_provider_that_comes_back_is_asked_again(issuer: Issuer) -> None:
    here, token, keys = door(issuer), issuer.client_token("siem"), issuer.keys
    issuer.keys = []
    assert here.refusal(token)
    issuer.keys = keys
    assert here.refusal(token)
    here.clock[0] += max(RETRY_S, UNKNOWN_S)
    assert here.name(token)
