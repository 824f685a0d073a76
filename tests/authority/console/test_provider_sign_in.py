"""People sign in at the console by Authlib's authorization server; what others make them bring signs nobody in."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import select

from authority import braking, orders
from authority.config import ConsoleClient, OidcProvider
from authority.console import sessions
from authority.console.desk import COOKIE
from authority.console.provider_sign_in import ATTEMPT_COOKIE
from authority.oidc import people
from authority.oidc.code_flow import ATTEMPT_S
from authority.operators import Operator, register, revoke_every_token
from authority.orders import Action, Order
from authority.refusal import Refused
from authority.roles import Scope
from authority.store import schema
from authority.trust.brake import BrakeDecision
from authority.trust.policy import ApprovalRules
from tests.authority.console.house import ORIGIN, Browser, House, open_house
from tests.authority.oidc.issuer import LOGINS, SECRET, Issuer, issuing
from tests.authority.oidc.site import believing, provider

BACK = f"{ORIGIN}/console/sign-in/corp/back"
ANN, BOB = (f"oidc:corp/{LOGINS[login]}" for login in ("ann", "bob"))


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with issuing(tmp_path_factory.mktemp("issuer") / "ca") as opened:
        opened.console = BACK
        yield opened


def chosen(issuer: Issuer, secret: Path) -> OidcProvider:
    secret.write_text(SECRET + "\n")
    client = ConsoleClient(client_id="vigil-console", redirect_uri=BACK, client_secret_file=str(secret))
    return provider(issuer.url, ca=str(issuer.ca.ca_file), console=client)


@contextmanager
def opened(issuer: Issuer, folder: Path) -> Iterator[House]:
    believed = chosen(issuer, folder / "secret")
    with open_house(folder / "state", time.time(), lambda now: believing(believed, now)) as made:
        yield made


@pytest.fixture(scope="module")
def house(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """For tests that leave clock and people as they are."""
    with opened(issuer, tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture
def fresh(issuer: Issuer, tmp_path: Path) -> Iterator[House]:
    with opened(issuer, tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def bob(issuer: Issuer) -> None:
    """Who has signed in at the provider."""
    issuer.login = "bob"


def led(browser: Browser, path: str = "/console/alerts") -> str:
    """Where the link on the form for signing in leads: the address at the provider."""
    found = re.search(r'href="(/console/sign-in/corp\?[^"]+)"', browser.get(path).text)
    assert found is not None
    answer = browser.get(unescape(found[1]))
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def signed(issuer: Issuer, address: str, **more: str) -> str:
    """The way back from the provider, where somebody has signed in, as path and query."""
    context = ssl.create_default_context(cafile=str(issuer.ca.ca_file))
    with httpx.Client(verify=context, trust_env=False) as http:
        answer = http.get(address, params=dict(parse_qsl(urlsplit(address).query)) | more)
    assert answer.status_code == 302, answer.text
    there = urlsplit(answer.headers["location"])
    assert f"{there.scheme}://{there.netloc}{there.path}" == BACK
    return f"{there.path}?{there.query}"


def come_in(house: House, issuer: Issuer, login: str = "bob") -> Browser:
    issuer.login = login
    browser = house.browser()
    answer = browser.get(signed(issuer, led(browser)))
    assert answer.status_code == 200 and COOKIE in browser.cookies, answer.text
    return browser


def is_in(browser: Browser) -> bool:
    return browser.get("/console").status_code == 200


def test_somebody_signs_in_at_the_provider_and_gets_where_they_wanted(house: House, issuer: Issuer) -> None:
    browser = house.browser()
    answer = browser.get(signed(issuer, led(browser, "/console/alerts?view=all")))
    assert 'content="0; url=/console/alerts?view=all"' in answer.text and "<script>" not in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    kept = next(text for text in answer.headers.get_list("set-cookie") if text.startswith(f"{COOKIE}="))
    parts = {part.strip().lower() for part in kept.split(";")[1:]}
    assert parts == {"httponly", "path=/", "samesite=strict", "secure"}
    assert ATTEMPT_COOKIE not in browser.cookies
    page = browser.page("/console/alerts")
    assert BOB in page and "approve, audit, operate, read" in page
    assert house.audited("console-sign-in")[-1] == (BOB, {"provider": "corp"})
    assert house.audited("oidc-person")[-1][1]["subject"] == LOGINS["bob"]


def test_the_attempt_stays_with_the_browser_and_out_of_the_address(house: House) -> None:
    browser = house.browser()
    found = re.search(r'href="(/console/sign-in/corp\?[^"]+)"', browser.get("/console").text)
    assert found is not None
    answer = browser.get(unescape(found[1]))
    kept = next(text for text in answer.headers.get_list("set-cookie") if text.startswith(f"{ATTEMPT_COOKIE}="))
    parts = {part.strip().lower() for part in kept.split(";")[1:]}
    assert parts == {"httponly", "path=/", "samesite=lax", "secure", f"max-age={ATTEMPT_S:.0f}"}
    assert browser.cookies[ATTEMPT_COOKIE].split("~")[0].split(".")[1] not in answer.headers["location"]
    assert answer.headers["cache-control"] == "no-store"


def test_roles_are_the_provider_s(house: House, issuer: Issuer) -> None:
    assert "admin" in come_in(house, issuer, "ann").page("/console")
    bob = come_in(house, issuer)
    assert bob.post("/console/networks/none/rotation").status_code == 404  # he may: there is none
    issuer.login = "eve"
    LOGINS["eve"] = "eve"
    browser = house.browser()
    answer = browser.get(signed(issuer, led(browser)))
    del LOGINS["eve"]
    assert answer.status_code == 403 and "no role" in answer.text and not is_in(browser)


def test_an_answer_is_good_once(house: House, issuer: Issuer) -> None:
    browser = house.browser()
    back = signed(issuer, led(browser))
    kept = browser.cookies[ATTEMPT_COOKIE]
    assert browser.get(back).status_code == 200
    again = browser.get(back)  # the state again: the attempt is gone from the browser
    assert again.status_code == 401 and "not of a sign-in that this browser began" in again.text
    thief = house.browser()
    thief.cookies = {ATTEMPT_COOKIE: kept}
    answer = thief.get(back)  # and the code is gone at the provider, for whoever kept the attempt
    assert answer.status_code == 401 and "does not take the code" in answer.text and not is_in(thief)


def test_nobody_is_signed_in_as_somebody_else(house: House, issuer: Issuer) -> None:
    """Login CSRF: an attacker's own answer, brought to a browser that began nothing, or something else."""
    attacker = house.browser()
    address = led(attacker)
    victim = house.browser()
    assert victim.get(signed(issuer, address)).status_code == 401 and not is_in(victim)
    led(victim)
    assert victim.get(signed(issuer, address)).status_code == 401 and not is_in(victim)


def test_a_stolen_code_is_worth_nothing_in_another_browser(house: House, issuer: Issuer) -> None:
    """Code injection: the victim's code under the attacker's own state; the provider asks for the verifier."""
    victim, attacker = house.browser(), house.browser()
    stolen = dict(parse_qsl(urlsplit(signed(issuer, led(victim))).query))["code"]
    own = dict(parse_qsl(urlsplit(led(attacker)).query))["state"]
    answer = attacker.get(f"/console/sign-in/corp/back?code={stolen}&state={own}")
    assert answer.status_code == 401 and "does not take the code" in answer.text
    assert not is_in(attacker)


def test_a_code_without_the_challenge_is_refused(house: House, issuer: Issuer) -> None:
    """PKCE taken out of the address on its way: the provider then knows of no challenge, and gets a verifier."""
    browser = house.browser()
    address = re.sub(r"&code_challenge=[^&]+&code_challenge_method=S256", "", led(browser))
    assert "challenge" not in address
    answer = browser.get(signed(issuer, address))
    assert answer.status_code == 401 and not is_in(browser)


def test_another_nonce_signs_nobody_in(house: House, issuer: Issuer) -> None:
    browser = house.browser()
    answer = browser.get(signed(issuer, led(browser), nonce="n-1"))
    assert answer.status_code == 401 and "nonce" in answer.text and not is_in(browser)


@pytest.mark.parametrize(
    "onward",
    [
        *("https://evil.example/console", "//evil.example/console", "/\\evil.example", "/console/../evil"),
        *("javascript:alert(1)", "/console/sign-in/corp", "/console/sign-in/corp/back?code=x", "/v1/nodes"),
    ],
)
def test_it_leads_on_to_pages_of_the_console_alone(house: House, issuer: Issuer, onward: str) -> None:
    browser = house.browser()
    token = browser.form_token("/console/sign-in")
    answer = browser.send("GET", "/console/sign-in/corp", params={"form_token": token, "next": onward})
    page = browser.get(signed(issuer, answer.headers["location"]))
    assert 'content="0; url=/console"' in page.text and "evil" not in page.text


def test_what_a_browser_kept_leads_nowhere_else_either(house: House, issuer: Issuer) -> None:
    browser = house.browser()
    back = signed(issuer, led(browser))
    kept = browser.cookies[ATTEMPT_COOKIE].split("~")[0]
    browser.cookies[ATTEMPT_COOKIE] = f"{kept}~Ly9ldmlsLmV4YW1wbGU"  # //evil.example
    assert 'content="0; url=/console"' in browser.get(back).text


@pytest.mark.parametrize("token", [None, "", "0" * 64, "\N{SNOWMAN}"])
def test_another_site_cannot_begin_it(house: House, token: str | None) -> None:
    browser = house.browser()
    browser.get("/console/sign-in")
    answer = browser.send("GET", "/console/sign-in/corp", params={} if token is None else {"form_token": token})
    assert answer.status_code == 403 and "location" not in answer.headers
    stranger = house.browser()
    given = {"form_token": sessions.form_token("")}
    assert stranger.send("GET", "/console/sign-in/corp", params=given).status_code == 403


def test_what_the_provider_refuses_is_said_in_our_words(house: House, issuer: Issuer) -> None:
    browser = house.browser()
    state = dict(parse_qsl(urlsplit(led(browser)).query))["state"]
    said = f"error=access_denied&error_description=%3Cb%3Ehello&state={state}"
    answer = browser.get(f"/console/sign-in/corp/back?{said}")
    assert answer.status_code == 401 and "did not sign you in" in answer.text and "hello" not in answer.text


def test_it_comes_too_late(fresh: House, issuer: Issuer) -> None:
    browser = fresh.browser()
    back = signed(issuer, led(browser))
    fresh.moved.now += ATTEMPT_S
    assert browser.get(back).status_code == 401 and not is_in(browser)


def test_a_provider_that_is_not_named_is_nowhere(house: House) -> None:
    browser = house.browser()
    assert browser.get("/console/sign-in/other?form_token=x").status_code == 403
    assert browser.get("/console/sign-in/other/back?code=x").status_code == 404


def test_tries_are_counted(house: House) -> None:
    browser = house.browser()
    statuses = {browser.get("/console/sign-in/corp/back?code=x").status_code for _ in range(12)}
    assert statuses == {401, 429}


def test_a_session_ends_with_what_the_provider_said(fresh: House, issuer: Issuer) -> None:
    browser = come_in(fresh, issuer)
    fresh.moved.now += 3590  # an ID token of Authlib is good for an hour
    ids = fresh.do(lambda conn: conn.execute(select(schema.person_session)).all())
    assert ids[0].expires_at <= ids[0].created_at + sessions.SESSION_S
    fresh.moved.now = ids[0].expires_at - 1
    fresh.do(lambda conn: conn.execute(schema.person_session.update().values(seen_at=fresh.moved.now)) and None)
    assert is_in(browser)
    fresh.moved.now += 1
    assert not is_in(browser)


def test_signing_out_ends_it_here_and_everywhere(fresh: House, issuer: Issuer) -> None:
    first, second, other = come_in(fresh, issuer), come_in(fresh, issuer), come_in(fresh, issuer, "ann")
    cookie = first.cookies[COOKIE]
    assert first.post("/console/sign-out").status_code == 303
    first.cookies[COOKIE] = cookie
    assert not is_in(first) and is_in(second)
    third = come_in(fresh, issuer)
    second.post("/console/sign-out", {"everywhere": "yes", "form_token": second.form_token()})
    assert not is_in(second) and not is_in(third) and is_in(other)
    assert fresh.audited("console-sign-out")[-1] == (BOB, {"everywhere": True})


def test_whoever_is_shut_out_is_out_at_once_and_stays_out(fresh: House, issuer: Issuer) -> None:
    browser, other = come_in(fresh, issuer), come_in(fresh, issuer, "ann")
    assert fresh.do(lambda conn: people.shut_out(conn, BOB, "ann", fresh.rt.now()))
    assert not is_in(browser) and is_in(other)
    again = fresh.browser()
    issuer.login = "bob"
    assert again.get(signed(issuer, led(again))).status_code == 403
    assert fresh.do(lambda conn: people.readmit(conn, BOB, "ann", fresh.rt.now()))
    assert not is_in(browser)  # what was ended stays ended


def test_a_restore_ends_every_session(fresh: House, issuer: Issuer) -> None:
    browser = come_in(fresh, issuer)
    fresh.do(lambda conn: revoke_every_token(conn, fresh.rt.now()))
    assert not is_in(browser)


def test_the_database_has_the_hash_only(house: House, issuer: Issuer) -> None:
    browser = come_in(house, issuer)
    rows = house.do(lambda conn: conn.execute(select(schema.person_session)).all())
    assert browser.cookies[COOKIE] not in repr(rows)


def credential(name: str, identity: str = "") -> dict[str, Any]:
    known = {"identity": identity} if identity else {}
    return {"name": name, "kind": "token", "scopes": ["admin"], "lifetime_s": 3600.0, "lookup": f"of {name}"} | known


def with_tokens(house: House, **identities: str) -> None:
    """Tokens by name, which may say whose they are."""
    for name, identity in identities.items():
        given = credential(name, identity)
        house.do(lambda conn, given=given: register(conn, given, "ann", house.rt.now()))


def ask(house: House, actor: str, number: list[int]) -> int:
    """An order of `actor` that waits for a second person."""
    number.append(len(number))
    order = Order(Action.TOKEN_CREATE, "tap", credential(f"tap-{len(number)}"), "for the tap")
    asked = house.do(lambda conn: orders.submit(conn, house.rt, order, actor, house.rt.now(), None))
    return int(asked.approval)


def refusal(house: House, number: int, operator: str) -> str:
    second = Operator(operator, frozenset({Scope.ADMIN}))
    with pytest.raises(Refused) as refused:
        house.do(lambda conn: orders.approve(conn, house.rt, number, second, "", house.rt.now(), None))
    return str(refused.value)


def test_a_token_and_an_identity_of_one_person_are_one_person(fresh: House, issuer: Issuer) -> None:
    come_in(fresh, issuer)
    fresh.rt.policy = replace(fresh.rt.policy, approvals=ApprovalRules(persons=2))
    with_tokens(fresh, cli=BOB, desk=BOB, other="person:cy")
    number: list[int] = []
    for asked, second in ((BOB, "cli"), ("cli", BOB), ("cli", "desk"), (BOB, BOB)):
        assert "another person" in refusal(fresh, ask(fresh, asked, number), second), (asked, second)
    by_other = ask(fresh, BOB, number), Operator("other", frozenset({Scope.ADMIN})), ""
    done = fresh.do(lambda conn: orders.approve(conn, fresh.rt, *by_other, fresh.rt.now(), None))
    assert done.view["ok"]  # the control: that token is another's


def test_votes_of_one_person_are_one_vote(fresh: House, issuer: Issuer) -> None:
    come_in(fresh, issuer)
    with_tokens(fresh, cli=BOB, plain="")

    def vote(name: str) -> bool:
        hold = BrakeDecision.HOLD
        return bool(fresh.do(lambda conn: braking.vote(conn, fresh.rt, hold, name, "", fresh.rt.now()))["engaged"])

    assert [vote(BOB), vote("cli"), vote("plain")] == [False, False, True]


def test_without_the_provider_the_form_says_so_and_tokens_work(house: House, issuer: Issuer, tmp_path: Path) -> None:
    with issuing(tmp_path / "gone") as gone:
        believed = chosen(gone, tmp_path / "other-secret")
    with open_house(tmp_path / "other", time.time(), lambda now: believing(believed, now)) as alone:
        browser = alone.browser()
        found = re.search(r'href="(/console/sign-in/corp\?[^"]+)"', browser.get("/console").text)
        assert found is not None
        answer = browser.get(unescape(found[1]))
        assert answer.status_code == 503 and "does not answer now" in answer.text
        assert is_in(alone.signed_in())


def test_without_a_provider_there_is_no_link(tmp_path: Path) -> None:
    with open_house(tmp_path / "state") as plain:
        assert "Sign in with" not in plain.browser().get("/console").text
