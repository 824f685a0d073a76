"""The console in Chromium: no complaint of the browser, drawings that are drawn, and the main ways by keyboard."""

from __future__ import annotations

import pytest

from authority.store import schema
from tests.authority.console.chromium import NEEDED, WIDE, Tab
from tests.authority.console.house import House
from tests.authority.console.racks import PAGES

pytestmark = [NEEDED, pytest.mark.timeout(300)]
RACKS = (12, 2)
"""Nodes, and days of their lives: fewer than in the pictures, since a default test cannot wait for more."""
NARROW = (320, 640)
"""To this width everything must fit without a second direction of scrolling (WCAG 2.2, 1.4.10)."""


def test_the_browser_has_nothing_to_complain_of(tab: Tab, url: str) -> None:
    tab.complaints.clear()
    for path in PAGES:
        tab.go(f"{url}{path}")
        assert tab.value("getComputedStyle(document.body).margin") == "0px", "the style sheet was not taken"
        assert tab.value("document.querySelectorAll('time[title]').length > 0"), "the script did not run"
        assert tab.complaints == [], path


def test_the_browser_would_complain(tab: Tab, url: str) -> None:
    """The control: the policy is in force, and the ear is open."""
    tab.go(f"{url}/console")
    tab.complaints.clear()
    tab.value("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.x = 1'}))")
    tab.value("document.body.setAttribute('style', 'color: red')")
    tab.value("fetch('https://127.0.0.1:9/').then(() => 1, () => 0)")
    assert tab.value("window.x") is None
    assert sum("Content Security Policy" in each for each in tab.complaints) >= 3


def test_drawings_are_drawn(tab: Tab, url: str) -> None:
    """Parts that were not ended swallowed those after them: of each drawing only the first part was seen."""
    tab.go(f"{url}/console/nodes/rack-006")
    assert tab.value("document.querySelector('.line.score').getBoundingClientRect().width") > 300
    assert tab.value("document.querySelectorAll('svg :is(rect, line, circle, polyline) *').length") == 0
    lit = "document.querySelectorAll('circle.lit').length"
    dots = (
        "[...document.querySelectorAll('circle.dot')].filter((each) => each.getBoundingClientRect().width > 5).length"
    )
    assert tab.value(dots) == tab.value("document.querySelectorAll('tr[data-move]').length") > 5
    assert tab.value(lit) == 0
    tab.value("document.querySelector('tr[data-move]').dispatchEvent(new Event('pointerenter'))")
    assert tab.value(lit) == 1


def test_the_skip_link_leads_past_the_head(tab: Tab, url: str) -> None:
    tab.go(f"{url}/console")
    tab.press("Tab")
    assert tab.value("document.activeElement.className") == "skip"
    assert tab.value("document.activeElement.getBoundingClientRect().top") >= 0, "it is not seen while it has the focus"
    tab.press("Enter")
    tab.press("Tab")
    assert tab.value("document.activeElement.closest('main') !== null")


def test_a_node_is_found_and_isolated_by_keyboard_alone(tab: Tab, url: str, racks: House) -> None:
    tab.go(f"{url}/console")
    tab.tab_to("it.id === 'search'")
    tab.write("rack-012")
    tab.press("Enter", leads_on=True)
    assert tab.value("document.querySelector('h2').textContent") == "Nodes", "what was found comes first"
    tab.tab_to("it.textContent === 'rack-012'")
    tab.press("Enter", leads_on=True)
    tab.tab_to("it.textContent.startsWith('Isolate')")
    tab.press(" ")
    tab.press("Tab")
    assert tab.value("document.activeElement.labels[0].textContent") == "Reason, for the audit log"
    tab.press("Enter")
    assert tab.value("document.activeElement.validity.valueMissing"), "a reason is asked for before anything is sent"
    tab.write("a visitor without a badge")
    tab.press("Tab")
    tab.press(" ", leads_on=True)
    said = "(({textContent, role}) => [textContent, role])(document.activeElement)"
    assert tab.value(said) == ["The node is isolated.", "status"], "what was done is where the reader is"
    assert racks.row(schema.node, schema.node.c.name == "rack-012").state == "isolated"
    who, kept = racks.audited("node-isolate")[-1]
    assert (who, kept["reason"]) == ("night-desk", "a visitor without a badge")


def test_an_order_of_somebody_else_is_approved_by_keyboard_alone(tab: Tab, url: str, racks: House) -> None:
    tab.go(f"{url}/console/approvals")
    tab.tab_to("it.textContent.startsWith('Approve order')")
    tab.press("Enter", leads_on=True)
    assert tab.value("document.activeElement.textContent") == "The order is carried out."
    assert racks.row(schema.node, schema.node.c.name == "rack-006").state == "banned"


def test_long_work_says_so_and_is_asked_for_once(tab: Tab, url: str) -> None:
    tab.go(f"{url}/console/policy")
    told = "document.getElementById('working').textContent"
    assert tab.value(f"[{told}, document.getElementById('working').role]") == ["", "status"]
    tab.value(
        "addEventListener('submit', (event) => { window.taken = !event.defaultPrevented; event.preventDefault() })"
    )
    tab.value("document.querySelector('main form[method=post]').requestSubmit()")
    assert tab.value(f"[window.taken, {told}]") == [True, "Working …"]
    tab.value("document.querySelector('main form[method=post]').requestSubmit()")
    assert tab.value("window.taken") is False


def test_every_page_fits_a_narrow_window(tab: Tab, url: str) -> None:
    tab.size(*NARROW)
    wide = "document.documentElement.scrollWidth"
    try:
        for path in PAGES:
            tab.go(f"{url}{path}")
            assert tab.value(wide) <= NARROW[0], path
        tab.value("document.querySelector('main').append('m'.repeat(80))")
        assert tab.value(wide) > NARROW[0], "the control: what is too wide is noticed"
    finally:
        tab.size(*WIDE)
