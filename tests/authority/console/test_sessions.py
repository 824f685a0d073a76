"""A session is a token's: no longer, no stronger, and ended with it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from authority.console import entry, sessions
from authority.console.desk import COOKIE
from authority.operators import revoke_operator_token
from authority.roles import Scope
from authority.store import schema
from tests.authority.console.house import READ, House


def is_in(browser) -> bool:
    return browser.get("/console").status_code == 200


def test_without_a_session_every_page_is_the_form_for_a_token(house: House) -> None:
    for path in ("/console", "/console/audit/1", "/console/nodes/none"):
        response = house.browser().get(path)
        assert response.status_code == 401
        assert 'name="token"' in response.text and f'name="next" value="{path}"' in response.text


def test_a_token_opens_a_session_in_a_cookie_that_stays_here(house: House) -> None:
    response = house.browser().sign_in(house.token("olga", READ), next="/console/alerts")
    assert (response.status_code, response.headers["location"]) == (303, "/console/alerts")
    kept = next(text for text in response.headers.get_list("set-cookie") if text.startswith(f"{COOKIE}="))
    parts = {part.strip().lower() for part in kept.split(";")[1:]}
    assert COOKIE.startswith("__Host-") and parts == {"httponly", "path=/", "samesite=strict", "secure"}
    assert house.audited("console-sign-in")[-1][0] == "olga"


@pytest.mark.parametrize("token", ["", "kvo1.guessed", "\N{SNOWMAN}" * 10, "x" * 5000])
def test_what_is_no_token_opens_none(house: House, token: str) -> None:
    browser = house.browser()
    response = browser.sign_in(token)
    assert response.status_code == 401 and 'role="alert"' in response.text
    assert COOKIE not in browser.cookies and (not token or token not in response.text)


def test_a_token_that_may_not_look_opens_none(house: House) -> None:
    browser = house.browser()
    assert browser.sign_in(house.token("tap", [Scope.SIGNAL])).status_code == 403
    assert not is_in(browser)


def test_only_the_hash_of_a_session_is_stored(house: House) -> None:
    browser = house.signed_in()
    lookups = house.do(lambda conn: [*conn.scalars(select(schema.console_session.c.lookup))])
    assert lookups and browser.cookies[COOKIE] not in lookups
    thief = house.browser()
    thief.cookies = {COOKIE: lookups[-1]}
    assert is_in(browser) and not is_in(thief)


def test_a_revoked_token_ends_its_sessions_at_once(house: House) -> None:
    browser, other = house.signed_in(name="gone"), house.signed_in(name="stays")
    house.do(lambda conn: revoke_operator_token(conn, "gone", house.rt.now()))
    assert not is_in(browser) and is_in(other)


def test_a_session_ends_with_its_token(house: House) -> None:
    browser = house.browser()
    browser.sign_in(house.token("short", READ, lifetime_s=600))
    house.moved.now += 599
    assert is_in(browser)
    house.moved.now += 1
    assert not is_in(browser)


def test_a_session_that_nobody_uses_ends(house: House) -> None:
    used, idle = house.signed_in(), house.signed_in()
    for _ in range(2):
        house.moved.now += sessions.IDLE_S - 1
        assert is_in(used)
    assert not is_in(idle)


def test_a_session_ends_however_much_it_is_used(house: House) -> None:
    browser = house.signed_in()
    begun = house.moved.now
    while house.moved.now + sessions.IDLE_S - 1 < begun + sessions.SESSION_S:
        house.moved.now += sessions.IDLE_S - 1
        assert is_in(browser)
    house.moved.now = begun + sessions.SESSION_S
    assert not is_in(browser)


def test_signing_out_ends_the_session_and_not_only_the_cookie(house: House) -> None:
    browser = house.signed_in()
    kept = dict(browser.cookies)
    assert browser.post("/console/sign-out").headers["location"] == "/console/sign-in"
    assert COOKIE not in browser.cookies
    browser.cookies = kept
    assert not is_in(browser)


def test_signing_out_everywhere_ends_all_sessions_of_the_token(house: House) -> None:
    token, other = house.token("twice", READ), house.signed_in(name="other")
    one, two = house.browser(), house.browser()
    for browser in (one, two):
        browser.sign_in(token)
    one.post("/console/sign-out", {"everywhere": "yes"})
    assert not is_in(two) and is_in(other)


def test_sessions_that_ended_are_forgotten(house: House) -> None:
    house.signed_in()
    house.moved.now += sessions.SESSION_S + 1
    house.signed_in()
    row = schema.console_session
    assert (
        house.do(lambda conn: [*conn.scalars(select(row.c.expires_at).where(row.c.expires_at <= house.rt.now()))]) == []
    )


@pytest.mark.parametrize(
    "after",
    [
        "https://evil.example/console",
        "//evil.example/console/",
        "/\\evil.example",
        "javascript:alert(1)",
        "/v1/nodes",
        "//[",
        "/console/../v1/nodes",
        "",
    ],
)
def test_signing_in_leads_nowhere_else(after: str) -> None:
    assert entry.inside(after) == "/console"
    assert entry.inside("/console/alerts?view=all") == "/console/alerts?view=all"


def test_guessing_tokens_is_slowed_down(house: House) -> None:
    house.moved.now += 3600
    browser = house.browser()
    answers = [browser.sign_in("kvo1.guessed").status_code for _ in range(12)]
    assert answers[:10] == [401] * 10 and answers[-1] == 429
    assert house.signed_in() is not None, "from another address"
    house.moved.now += 60
    assert browser.sign_in(house.token("olga", READ)).status_code == 303


def test_a_session_opens_no_route_of_the_api(house: House) -> None:
    """The API takes tokens in a header alone, so that no page of another site can use somebody's cookie on it."""
    browser = house.signed_in()
    assert browser.get("/v1/nodes").status_code == 401
    answer = browser.send("GET", "/v1/nodes", headers={"authorization": f"Bearer {house.token('api', READ)}"})
    assert answer.status_code == 200
