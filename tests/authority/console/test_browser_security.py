"""What others' words, another site and a browser left open do at the console, in Chromium: nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from authority.console import sessions
from authority.planes import operator_server
from authority.roles import Scope
from authority.store import schema
from tests.authority.console.chromium import NEEDED, Tab, open_tab
from tests.authority.console.hostile import WORDS, Site, elsewhere, furnish
from tests.authority.console.house import HOST, House
from tests.authority.planes.plane import listening

pytestmark = [NEEDED, pytest.mark.timeout(300)]
INTRUDERS = (
    "[onerror], [onload], [onfocus], iframe, a[href^='javascript:'], form[action^='javascript:'], script:not([src])"
)
COUNT = f'document.querySelectorAll("{INTRUDERS}").length'
RAN = "new Promise((done) => setTimeout(() => done(window.hit ?? null), 40))"
"""What ran meanwhile would have left something behind."""
PLACES = ("<p>{}</p>", "<p>{}</p>", '<input value="{}">', "<input value='{}'>", '<input value="{}">')
RAW = [*zip((*PLACES, "<textarea>{}</textarea>", '<a href="{}">x</a>'), WORDS, strict=True)]


@pytest.fixture(scope="module")
def url(house: House) -> Iterator[str]:
    with listening(operator_server(house.app, house.ca, HOST, 0)) as running:
        yield f"https://{HOST}:{running.server.port}"


@pytest.fixture(scope="module")
def site(house: House) -> Iterator[Site]:
    with elsewhere(house) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def tab(browser: Tab, house: House, url: str) -> Iterator[Tab]:
    """Signed in anew, with an active node `n`; later, since tries at signing in are counted."""
    if house.row(schema.node, schema.node.c.name == "n") is None:
        house.node("n")
    house.set_node("n", state="active")
    house.moved.now += 60
    browser.call("Network.clearBrowserCookies")
    sign_in(browser, url, house)
    browser.complaints.clear()
    yield browser
    browser.call("Page.setBypassCSP", enabled=False)


def sign_in(tab: Tab, url: str, house: House, path: str = "/console/sign-in") -> None:
    tab.go(f"{url}{path}")
    tab.tab_to("it.id === 'token'")
    tab.write(house.token("olga", [Scope.ADMIN]))
    tab.press("Enter", leads_on=True)


def state(house: House) -> str:
    return str(house.row(schema.node, schema.node.c.name == "n").state)


class TestWords:
    def test_words_stay_words_even_without_the_security_policy(self, tab: Tab, url: str, house: House) -> None:
        """Escaping alone, while the browser is told to look away."""
        tab.call("Page.setBypassCSP", enabled=True)
        seen = ""
        for path in furnish(house):
            tab.go(f"{url}{path}")
            tab.value("for (const each of document.querySelectorAll('details')) each.open = true; 0")
            assert tab.value(COUNT) == 0, path
            assert tab.value(RAN) is None, path
            told = "document.body.textContent + [...document.querySelectorAll('input')].map((each) => each.value)"
            seen += tab.value(f"document.title + {told}")
        assert all(seen.count(each) > 4 for each in WORDS), "the words were on the pages"

    @pytest.mark.parametrize(("place", "words"), RAW, ids=range(len(RAW)))
    def test_the_same_words_run_where_nobody_escapes_them(self, tab: Tab, site: Site, place: str, words: str) -> None:
        """The control: what looks for them finds each."""
        tab.go(site.put(place.format(words)))
        assert tab.value(COUNT) >= 1
        tab.value("document.querySelector('a')?.click()")
        assert tab.value(RAN) == 1

    @pytest.mark.parametrize("words", [WORDS[0], WORDS[5]])
    def test_the_policy_stops_what_escaping_would_miss(self, tab: Tab, url: str, words: str) -> None:
        """The second wall alone."""
        tab.go(f"{url}/console")
        tab.complaints.clear()
        tab.value(f"document.querySelector('main').insertAdjacentHTML('beforeend', {words!r}); 0")
        assert tab.value(RAN) is None
        assert any("Content Security Policy" in each for each in tab.complaints)


class TestAnotherSite:
    @pytest.mark.parametrize(("host", "title"), [(HOST, "Forbidden"), ("localhost", "Sign in")])
    def test_its_form_does_nothing(self, tab: Tab, url: str, site: Site, house: House, host: str, title: str) -> None:
        """Even with the session's own value in it: a neighbour's is refused, a stranger's comes without the cookie."""
        value = tab.value("document.querySelector('[name=form_token]').value")
        fields = f'<input name="form_token" value="{value}"><input name="reason" value="theirs"><button>Win</button>'
        form = f'<form method="post" action="{url}/console/nodes/n/isolate">{fields}</form>'
        tab.go(site.put(form, host))
        tab.tab_to("it.localName === 'button'")
        tab.press("Enter", leads_on=True)
        assert tab.value("document.title") == f"{title} · Keyvigil"
        assert state(house) == "active"

    def test_the_console_s_own_form_does(self, tab: Tab, url: str, house: House) -> None:
        """The control: the same form on a page of the console."""
        tab.go(f"{url}/console/nodes/n")
        tab.tab_to("it.textContent.startsWith('Isolate')")
        tab.press("Enter")
        tab.press("Tab")
        tab.write("ours")
        tab.press("Enter", leads_on=True)
        assert state(house) == "isolated"

    def test_it_cannot_frame_the_console(self, tab: Tab, url: str, site: Site) -> None:
        tab.go(site.put(f'<iframe src="{url}/console"></iframe>'))
        assert any("frame-ancestors" in each for each in tab.complaints)
        tab.complaints.clear()
        tab.go(site.put(f'<iframe src="{site.put("anything else")}"></iframe>'))
        assert tab.complaints == [], "the control: other pages are framed"


class TestABrowserLeftOpen:
    def test_a_session_that_nobody_uses_is_over(self, tab: Tab, url: str, house: House) -> None:
        house.moved.now += sessions.IDLE_S - 60
        tab.go(f"{url}/console/nodes/n")
        assert tab.value("document.querySelector('h1').textContent") == "n"
        house.moved.now += sessions.IDLE_S + 60
        tab.go(f"{url}/console/nodes/n?period=1d")
        assert tab.value("document.querySelector('h1').textContent") == "Sign in"
        assert tab.value("document.querySelector('[name=next]').value") == "/console/nodes/n?period=1d"

    def test_going_back_after_signing_out_shows_nothing(self, tab: Tab, url: str) -> None:
        tab.go(f"{url}/console/nodes/n")
        tab.tab_to("it.textContent === 'Sign out'")
        tab.press("Enter", leads_on=True)
        loads = tab.loads
        tab.value("history.back()")
        tab.wait_for_load(loads)
        assert tab.value("location.pathname") == "/console/nodes/n"
        assert tab.value("document.querySelector('h1').textContent") == "Sign in"


def test_a_script_finds_no_cookie(tab: Tab, url: str) -> None:
    tab.go(f"{url}/console")
    assert tab.value("document.cookie") == ""
    kept = tab.call("Network.getCookies", urls=[f"{url}/console"])["cookies"]
    assert [(each["httpOnly"], each["secure"], each["sameSite"]) for each in kept] == [(True, True, "Strict")]
