"""Every page is there, says what it is to say, and shows what others wrote as text."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import insert, update

from authority import audit, references, standing
from authority.alerts import raise_alert
from authority.keys import networks
from authority.roles import Scope
from authority.store import schema
from protocol.levels import ResourceClass
from tests.authority.console.house import READ, Browser, House, add_node, enrol
from tests.authority.console.test_markup import seen

PAGES = (
    "/console",
    "/console/nodes/rack-01",
    "/console/nodes/rack-01?period=30d",
    "/console/alerts",
    "/console/alerts?view=all&severity=warning&node=rack",
    "/console/alerts/1",
    "/console/approvals",
    "/console/networks",
    "/console/networks/plant",
    "/console/policy",
    "/console/audit",
    "/console/audit/1",
)


@pytest.fixture(scope="module")
def viewer(house: House) -> Browser:
    node_id = house.node("rack-01", devices='[{"kind": "camera", "driver": "opencv", "port": "/dev/video0"}]')

    def fill(conn) -> None:
        rt, now = house.rt, house.rt.now()
        enrol(conn, rt, node_id, "ada")
        networks.create_network(conn, rt, "plant", now)
        networks.add_member(conn, rt, "plant", node_id, "10.0.0.1", ResourceClass.NORMAL, now)
        for hours, kind in ((1, "accepted"), (2, "accepted"), (3, "failed")):
            standing.record_presentation(conn, rt, node_id, f"c{hours}", kind, 900, 900, now + hours * 3600)
        row = conn.execute(schema.node.select()).first()
        references.note_candidate(conn, row, references.Kind.PCRS, {"7": "ab" * 32}, now)

    house.do(fill)
    house.moved.now += 4 * 3600
    return house.signed_in([*READ, Scope.AUDIT], "vera")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_its_landmarks_and_one_heading(viewer: Browser, path: str) -> None:
    page = viewer.page(path)
    for landmark in ("<header", "<main", "<footer", 'role="search"', 'aria-label="Sections"', 'href="#main"'):
        assert page.count(landmark) == 1, landmark
    assert page.count("<h1>") == 1 and '<html lang="en">' in page
    assert "None" not in page.replace("None of", "")


def test_the_fleet_is_counted_and_listed(viewer: Browser) -> None:
    page = viewer.page("/console")
    assert '<span class="number">1</span><span class="name">nodes</span>' in page
    assert "needs the scope" not in page and 'href="/console/nodes/rack-01"' in page
    assert "0 of 1 have answered" in page, "the member owes an answer to its first delivery"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=RACK", True),
        ("q=elsewhere", False),
        ("tier=high", False),
        ("tier=medium", True),
        ("network=plant", True),
        ("network=office", False),
        ("state=banned", False),
        ("q=%25", False),
        ("late=yes", False),
    ],
)
def test_filters_narrow_the_list(viewer: Browser, query: str, found: bool) -> None:
    assert ('href="/console/nodes/rack-01"' in viewer.page(f"/console?{query}")) is found


@pytest.mark.parametrize("path", ["/console?tier=best", "/console?order=best", "/console/nodes/rack-01?period=1y"])
def test_a_filter_that_there_is_not_is_refused(viewer: Browser, path: str) -> None:
    assert viewer.get(path).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/console/nodes/nobody",
        "/console/alerts/99",
        "/console/alerts/x",
        "/console/audit/999",
        "/console/networks/none",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(viewer: Browser, path: str) -> None:
    response = viewer.get(path)
    assert response.status_code == 404
    assert "<h1>Not Found</h1>" in response.text and 'href="/console"' in response.text


def test_thousands_of_nodes_come_page_by_page(house: House, viewer: Browser) -> None:
    def many(conn) -> None:
        for number in range(120):
            add_node(conn, house.rt, f"far-{number:03}", state="pending")

    house.do(many)
    first, last = (viewer.page(f"/console?q=far-&order=name&page={number}") for number in (1, 3))
    assert first.count('href="/console/nodes/far-') == 50 and "120 nodes, page 1 of 3" in first
    assert last.count('href="/console/nodes/far-') == 20
    assert 'href="/console?q=far-&amp;order=name&amp;page=2"' in first


def test_each_move_of_the_score_is_explained(viewer: Browser) -> None:
    page = viewer.page("/console/nodes/rack-01")
    assert page.count("<td>somebody presented themselves and was accepted</td>") == 2
    assert page.count("<td>a presentation failed</td>") == 1
    assert page.count("<circle") == page.count("<tr data-move=") >= 3
    assert 'role="img"' in page and "<title>Score of rack-01 over a week" in page


def test_a_record_is_proven_by_the_signed_checkpoint(viewer: Browser) -> None:
    page = viewer.page("/console/audit/2")
    assert "record 2 is in the log" in page and "verified" in page


def test_a_record_that_was_changed_is_not_proven(house: House, viewer: Browser) -> None:
    """The control of the test above: the words come from the proof and not from the page."""
    row = schema.audit
    kept = house.row(row, row.c.seq == 2)
    house.do(lambda conn: conn.execute(update(row).where(row.c.seq == 2).values(data='{"forged":1}')) and None)
    page = viewer.page("/console/audit/2")
    house.do(lambda conn: conn.execute(update(row).where(row.c.seq == 2).values(data=kept.data)) and None)
    assert "does not hold" in page and "verified" not in page
    assert "does not cover record 2" in page


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202eevil\x00'


def test_what_others_wrote_is_shown_as_text(house: House) -> None:
    """A node's name that went around every check, an alert's words, an operator's name, devices, audit data."""

    def write(conn) -> None:
        rt, now = house.rt, house.rt.now()
        node_id = add_node(
            conn, rt, HOSTILE[:60], devices=json.dumps([{"kind": HOSTILE, "driver": HOSTILE, "x": HOSTILE}])
        )
        conn.execute(insert(schema.network).values(name=HOSTILE[:40], created_at=now))
        raise_alert(conn, "error", HOSTILE[:30], node_id, HOSTILE, {HOSTILE: HOSTILE}, now)
        audit.append(conn, "hostile", HOSTILE, node_id, {HOSTILE: HOSTILE}, now)
        conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(explanation=HOSTILE, reason=HOSTILE))

    house.do(write)
    browser = house.signed_in(name=HOSTILE[:60])
    alert = house.row(schema.alert, schema.alert.c.text == HOSTILE)
    record = house.row(schema.audit, schema.audit.c.kind == "hostile")
    node = house.row(schema.node, schema.node.c.name == HOSTILE[:60])
    lists = ("/console", "/console?q=%3Cscript%3E", "/console/alerts", "/console/networks", "/console/audit")
    for path in (*lists, f"/console/nodes/{node.id}", f"/console/alerts/{alert.id}", f"/console/audit/{record.seq}"):
        page = browser.page(path)
        assert "<script>alert" not in page and "<img src=x" not in page, path
        assert "&lt;script&gt;" in page, path
        assert "\u202e" not in page and "\x00" not in page, path
    house.do(lambda conn: conn.execute(schema.network.delete().where(schema.network.c.name == HOSTILE[:40])) and None)


def test_no_page_has_a_script_or_a_style_of_its_own(viewer: Browser) -> None:
    for path in PAGES:
        for tag, attributes in seen(viewer.page(path)).tags:
            assert tag != "style" and not {name for name in attributes if name.startswith(("on", "style"))}, path
            assert tag != "script" or attributes["src"].startswith("/console/static/"), path


def test_every_answer_forbids_what_no_page_needs(house: House, viewer: Browser) -> None:
    asked = [viewer.get(path) for path in (*PAGES, "/console/nodes/nobody", "/console/static/console.css")]
    asked += [house.browser().get("/console"), house.browser().get("/console/sign-in")]
    for response in asked:
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    assert {each.headers["cache-control"] for each in asked if "static" not in str(each.url)} == {"no-store"}
