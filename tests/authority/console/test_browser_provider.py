"""Signing in at an identity provider of another site, in Chromium: by keyboard, with the cookies as they are."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from authority.config import ConsoleClient
from authority.console import provider_sign_in
from authority.console.desk import COOKIE
from authority.planes import operator_server
from tests.authority.console.chromium import NEEDED, Tab, open_tab
from tests.authority.console.house import HOST, House, open_house
from tests.authority.oidc.issuer import LOGINS, SECRET, Issuer, issuing
from tests.authority.oidc.site import believing, provider
from tests.authority.planes.plane import listening

pytestmark = [NEEDED, pytest.mark.timeout(300)]
PATIENCE_S = 40.0


@dataclass
class Place:
    url: str
    house: House
    issuer: Issuer


def free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The console at an address, the provider at a name: they are different sites."""
    folder, port = tmp_path_factory.mktemp("sites"), free_port()
    url = f"https://{HOST}:{port}"
    (folder / "secret").write_text(SECRET)
    with issuing(folder / "ca", "localhost") as issuer:
        issuer.console, issuer.login, issuer.asks = f"{url}/console/sign-in/corp/back", "bob", True
        client = ConsoleClient(
            client_id="vigil-console", redirect_uri=issuer.console, client_secret_file=str(folder / "secret")
        )
        chosen = provider(issuer.url, ca=str(issuer.ca.ca_file), console=client)
        with (
            open_house(folder / "state", time.time(), lambda now: believing(chosen, now)) as house,
            listening(operator_server(house.app, house.ca, HOST, port)),
        ):
            yield Place(url, house, issuer)


@pytest.fixture
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def until(tab: Tab, title: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while tab.value("document.title") != title:
        assert time.monotonic() < end, tab.value("document.title")
        time.sleep(0.05)


def go_there(tab: Tab, place: Place) -> None:
    tab.go(f"{place.url}/console/sign-in?next=/console/alerts")
    tab.tab_to("it.textContent === 'Sign in with corp'")
    tab.press("Enter", leads_on=True)
    until(tab, "Provider")
    tab.complaints.clear()  # of the provider's page, which is none of ours
    tab.call("Runtime.evaluate", expression="document.querySelector('a').click()", userGesture=True)


def kept(tab: Tab) -> dict[str, str]:
    return {each["name"]: each["sameSite"] for each in tab.call("Storage.getCookies")["cookies"]}


def test_somebody_signs_in_by_keyboard_and_out_again(place: Place, tab: Tab) -> None:
    go_there(tab, place)
    until(tab, "Alerts · Keyvigil")
    assert f"oidc:corp/{LOGINS['bob']}" in tab.value("document.body.innerText")
    assert kept(tab) == {COOKIE: "Strict"}
    assert tab.complaints == []
    tab.tab_to("it.textContent === 'Sign out'")
    tab.press("Enter", leads_on=True)
    until(tab, "Sign in · Keyvigil")
    tab.go(f"{place.url}/console/alerts")
    assert tab.value("document.title") == "Sign in · Keyvigil"


@pytest.mark.slow
def test_a_redirection_in_place_of_the_page_would_find_no_session(
    place: Place, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why a page leads on: what the provider's page set off does not bear the session's cookie."""
    plain = provider_sign_in.Response

    def redirecting(*_: object) -> object:
        return plain("", 303, {"location": "/console/alerts"})

    monkeypatch.setattr(provider_sign_in, "Response", redirecting)
    go_there(tab, place)
    until(tab, "Sign in · Keyvigil")
    assert COOKIE in kept(tab)  # it is there, and was not sent
