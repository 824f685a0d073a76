"""Every page is there, says what it is to say, and shows what others wrote as text."""

from __future__ import annotations

import pytest

from authority import references, standing
from authority.keys import networks
from authority.store import schema
from protocol.levels import ResourceClass
from tests.authority.console.house import READ, Browser, House, enrol

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
    return house.signed_in(READ, "vera")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_its_landmarks_and_one_heading(viewer: Browser, path: str) -> None:
    page = viewer.page(path)
    for landmark in ("<header", "<main", "<footer", 'role="search"', 'aria-label="Sections"', 'href="#main"'):
        assert page.count(landmark) == 1, landmark
    assert page.count("<h1>") == 1 and '<html lang="en">' in page
    assert "None" not in page.replace("None of", "")
