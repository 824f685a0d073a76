"""The console in Chromium: no complaint of the browser, the whole of it by keyboard, and nothing that axe-core finds.

`KEYVIGIL_PICTURES` names a folder for pictures of the pages, those of docs/console.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from authority.operators import Scope
from authority.planes import operator_server
from authority.store import schema
from tests.authority.console.chromium import Tab, open_tab
from tests.authority.console.house import HOST, House, open_house
from tests.authority.console.racks import furnish
from tests.authority.planes.plane import listening

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PAGES = (
    "/console",
    "/console/nodes/rack-006",
    "/console/alerts",
    "/console/alerts/1",
    "/console/approvals",
    "/console/networks",
    "/console/networks/control",
    "/console/policy",
    "/console/audit",
    "/console/audit/3",
)
AXE = "axe-core@4"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
STRICT = 'version = "stricter"\n[caps]\none_failure = 500\n[recency]\nhalf_life_presentations = 6.0\n'


@pytest.fixture(scope="module")
def racks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("racks") / "state", time.time()) as house:
        furnish(house)
        yield house


@pytest.fixture(scope="module")
def url(racks: House) -> Iterator[str]:
    with listening(operator_server(racks.app, racks.ca, HOST, 0)) as running:
        yield f"https://{HOST}:{running.server.port}"


@pytest.fixture(scope="module")
def tab(racks: House, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """Signed in by typing the token, and nothing else than keys."""
    with open_tab(tmp_path_factory.mktemp("chromium")) as opened:
        opened.go(f"{url}/console/sign-in")
        while opened.value("document.activeElement.id") != "token":
            opened.press("Tab")
        opened.write(racks.token("night-desk", [Scope.ADMIN]))
        opened.press("Enter", leads_on=True)
        assert opened.value("document.title") == "Fleet · Keyvigil"
        yield opened


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


FOCUSABLE = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"


@pytest.mark.parametrize("path", PAGES)
def test_every_control_is_reached_by_tab_and_seen(tab: Tab, url: str, path: str) -> None:
    tab.go(f"{url}{path}")
    shown = f"[...document.querySelectorAll({FOCUSABLE!r})].filter((each) => each.checkVisibility()).length"
    wanted, reached = tab.value(shown), 0
    tab.press("Tab")
    assert tab.value("document.activeElement.className") == "skip"
    while tab.value("document.activeElement !== document.body") and reached < wanted:
        style = (
            "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
        )
        assert tab.value(style) == ["solid", "3px"], tab.value("document.activeElement.outerHTML")
        reached += 1
        tab.press("Tab")
    assert reached == wanted > 10


def test_a_node_is_isolated_by_keyboard_alone(tab: Tab, url: str, racks: House) -> None:
    tab.go(f"{url}/console/nodes/rack-012")
    while not tab.value("document.activeElement.textContent.startsWith('Isolate')"):
        tab.press("Tab")
    tab.press("Enter")
    tab.press("Tab")
    assert tab.value("document.activeElement.labels[0].textContent") == "Reason, for the audit log"
    tab.write("a visitor without a badge")
    tab.press("Enter", leads_on=True)
    assert tab.value("document.querySelector('[role=status]').textContent") == "The node is isolated."
    assert racks.row(schema.node, schema.node.c.name == "rack-012").state == "isolated"
    assert racks.audited("node-isolate")[-1][0] == "night-desk"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The accessibility engine, fetched for these tests alone."""
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("axe")
    if npm is None:
        pytest.skip("no npm to fetch axe-core with: apt-get install npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), AXE]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"npm could not fetch {AXE}: is there a network?")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_accessibility_engine_finds_nothing(tab: Tab, url: str, axe: str, scheme: str) -> None:
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    for path in PAGES:
        tab.go(f"{url}{path}")
        tab.value(axe + "; 0")
        tab.value("for (const each of document.querySelectorAll('details')) each.open = true; 0")
        shown = "(all) => all.violations.map((one) => [one.id, one.nodes[0].html, one.nodes[0].failureSummary])"
        assert tab.value(f"axe.run(document, {{runOnly: {RULES!r}}}).then({shown})") == [], path


def test_the_accessibility_engine_would_find_something(tab: Tab, url: str, axe: str) -> None:
    tab.go(f"{url}/console")
    tab.value(axe + "; document.querySelector('label').remove(); 0")
    assert "label" in tab.value("axe.run().then((all) => all.violations.map((one) => one.id))")


def test_pictures_are_taken(tab: Tab, url: str, tmp_path: Path) -> None:
    """A page that is looked at: the score's drawing has a size, and nothing is wider than the window."""
    folder = Path(os.environ.get("KEYVIGIL_PICTURES", tmp_path))
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    for path, name, height in (("", "fleet", 1250), ("/nodes/rack-006", "node", 1350), ("/alerts", "alerts", 900)):
        tab.go(f"{url}/console{path}")
        tab.picture(folder / f"console-{name}.png", height)
        assert tab.value("document.documentElement.scrollWidth <= innerWidth"), path
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    tab.go(f"{url}/console/approvals")
    tab.picture(folder / "console-approvals-dark.png", 900)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])


def test_a_policy_is_replayed(tab: Tab, url: str, tmp_path: Path) -> None:
    tab.go(f"{url}/console/policy")
    tab.complaints.clear()
    tab.value("document.getElementById('text').focus()")
    tab.write(STRICT)
    loads = tab.loads
    tab.value("document.querySelector('form[action=\"/console/policy/replay\"] button').click()")
    tab.wait_for_load(loads)
    assert tab.value("document.querySelector('h1').textContent") == "Replay of stricter"
    assert tab.value("document.querySelectorAll('svg.spark').length") == 24
    assert tab.complaints == []
    tab.picture(Path(os.environ.get("KEYVIGIL_PICTURES", tmp_path)) / "console-replay.png", 1250)
