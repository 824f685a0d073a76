"""Every page of the console as WCAG 2.2 AA asks for it: by keyboard, by structure, by contrast, in light and dark.

With `KEYVIGIL_AXE` the name of an axe-core file (`npm pack axe-core`; package/axe.min.js), that engine judges as well.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from tests.authority.console.chromium import NEEDED, Tab
from tests.authority.console.looking import BARE_CELLS, CONTRAST, HEADINGS, MOVING, UNNAMED
from tests.authority.console.racks import PAGES

pytestmark = [NEEDED, pytest.mark.slow, pytest.mark.timeout(600)]
RACKS = (12, 3)
SCHEMES = ("light", "dark")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FOCUSABLE = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"
OUTLINE = "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
EVERYTHING_OPEN = "for (const each of document.querySelectorAll('details')) each.open = true; 0"


@pytest.mark.parametrize("path", PAGES)
def test_every_control_is_reached_by_tab_in_order_and_seen(tab: Tab, url: str, path: str) -> None:
    tab.go(f"{url}{path}")
    tab.value(
        f"window.left = [...document.querySelectorAll({FOCUSABLE!r})].filter((each) => each.checkVisibility()); 0"
    )
    wanted = tab.value("left.length")
    assert wanted > 10
    for _ in range(wanted):
        tab.press("Tab")
        assert tab.value("document.activeElement === left.shift()"), tab.value("document.activeElement.outerHTML")
        assert tab.value(OUTLINE) == ["solid", "3px"], tab.value("document.activeElement.outerHTML")
        assert tab.value("document.activeElement.matches(':focus-visible')")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_one_that_can_be_found_through(tab: Tab, url: str, path: str) -> None:
    tab.go(f"{url}{path}")
    levels = tab.value(HEADINGS)
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    for landmark in ("body > header", "main", "body > footer", "nav[aria-label='Sections']", "[role=search]"):
        assert tab.value(f'document.querySelectorAll("{landmark}").length') == 1, landmark
    assert tab.value("document.documentElement.lang") == "en"
    assert tab.value(UNNAMED) == []
    assert tab.value(BARE_CELLS) == []


def test_what_has_no_name_or_no_heading_would_be_noticed(tab: Tab, url: str) -> None:
    """The control of the test above."""
    tab.go(f"{url}/console")
    tab.value("document.querySelector('label[for=search]').remove(); 0")
    assert len(tab.value(UNNAMED)) == 1
    tab.value("document.querySelector('table th').removeAttribute('scope'); 0")
    assert len(tab.value(BARE_CELLS)) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", [*PAGES, "/console/sign-in"])
def test_everything_stands_out_from_what_is_behind_it(tab: Tab, url: str, path: str, scheme: str) -> None:
    tab.prefer(color_scheme=scheme, reduced_motion="reduce")
    tab.go(f"{url}{path}")
    tab.value(EVERYTHING_OPEN)
    found = tab.value(CONTRAST)
    assert len(found) > 5
    assert [each for each in found if each[0] < each[1]] == []


def test_what_hardly_stands_out_would_be_noticed(tab: Tab, url: str) -> None:
    """The control of the test above."""
    tab.prefer(color_scheme="light")
    tab.go(f"{url}/console")
    rule = "document.styleSheets[0].insertRule('.faint { color: #8a8a8a }', document.styleSheets[0].cssRules.length); 0"
    tab.value(rule)
    assert any(is_now < least for is_now, least, *_ in tab.value(CONTRAST))


def test_nothing_moves_for_whoever_wants_it_so(tab: Tab, url: str) -> None:
    for wish, moves in (("reduce", False), ("no-preference", True)):
        tab.prefer(reduced_motion=wish)
        tab.go(f"{url}/console")
        assert (tab.value(MOVING) > 0) is moves, wish


@pytest.fixture(scope="module")
def axe() -> str:
    """The accessibility engine: brought by whoever tests, since its licence (MPL-2.0) and its size are its own."""
    name = os.environ.get("KEYVIGIL_AXE")
    if not name:
        pytest.skip("KEYVIGIL_AXE names no axe-core file: npm pack axe-core, and unpack package/axe.min.js")
    return Path(name).read_text()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_accessibility_engine_finds_nothing(tab: Tab, url: str, axe: str, scheme: str) -> None:
    tab.prefer(color_scheme=scheme, reduced_motion="reduce")
    for path in (*PAGES, "/console/sign-in"):
        tab.go(f"{url}{path}")
        tab.value(axe + "; 0")
        tab.value(EVERYTHING_OPEN)
        shown = "(all) => all.violations.map((one) => [one.id, one.nodes[0].html, one.nodes[0].failureSummary])"
        assert tab.value(f"axe.run(document, {{runOnly: {RULES!r}}}).then({shown})") == [], path


def test_the_accessibility_engine_would_find_something(tab: Tab, url: str, axe: str) -> None:
    tab.go(f"{url}/console")
    tab.value(axe + "; document.querySelector('label[for=words]').remove(); 0")
    assert "label" in tab.value("axe.run().then((all) => all.violations.map((one) => one.id))")
