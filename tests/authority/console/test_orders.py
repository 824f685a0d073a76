"""Where the policy asks for two persons, the console is no way around it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from authority.store import schema
from authority.trust.policy import ApprovalRules
from tests.authority.console.house import OPERATE, READ, Browser, House, enrol


@pytest.fixture
def two(house: House) -> Iterator[House]:
    """The house while its policy asks for two persons."""
    before = house.rt.policy
    house.rt.policy = replace(before, approvals=ApprovalRules(persons=2))
    yield house
    house.rt.policy = before


def state_of(house: House, name: str) -> str:
    return str(house.row(schema.node, schema.node.c.name == name).state)


def waiting(browser: Browser) -> list[str]:
    page = browser.page("/console/approvals")
    return [part.split("/")[0] for part in page.split('action="/console/orders/')[1:]]


def test_a_ban_waits_for_another_operator(two: House) -> None:
    two.node("n-ban")
    olga, otto = two.signed_in(name="olga"), two.signed_in(name="otto")
    asked = olga.post("/console/nodes/n-ban/ban", {"reason": "stolen"})
    assert asked.headers["location"] == "/console/approvals?done=asked"
    assert state_of(two, "n-ban") == "active"
    number = waiting(olga)[0]
    assert olga.post(f"/console/orders/{number}/approve").status_code == 403
    assert state_of(two, "n-ban") == "active"
    assert otto.post(f"/console/orders/{number}/approve", {"reason": "indeed"}).status_code == 303
    assert state_of(two, "n-ban") == "banned" and two.audited("node-ban")[-1][0] == "olga"


def test_one_person_is_enough_where_the_policy_says_so(house: House) -> None:
    """The control of the test above."""
    house.node("n-one")
    assert house.signed_in().post("/console/nodes/n-one/ban", {"reason": "stolen"}).status_code == 303
    assert state_of(house, "n-one") == "banned"


def test_an_enrolment_waits_and_may_be_rejected(two: House) -> None:
    node_id = two.node("n-enrol")
    record = two.do(lambda conn: enrol(conn, two.rt, node_id, "ada", "pending"))
    olga, otto = two.signed_in(name="olga"), two.signed_in(name="otto")
    olga.post(f"/console/profiles/{record}/approve")
    number = waiting(otto)[0]
    assert otto.post(f"/console/orders/{number}/reject", {"reason": "unknown"}).status_code == 303
    assert two.row(schema.profile, schema.profile.c.record_id == record).state == "pending"
    assert waiting(otto) == [] and otto.post(f"/console/orders/{number}/approve").status_code == 409


def test_whoever_could_not_order_it_does_not_approve_it(two: House) -> None:
    two.node("n-scope")
    two.signed_in(name="olga").post("/console/nodes/n-scope/ban", {"reason": "stolen"})
    number = waiting(two.signed_in())[0]
    for name, scopes in (("operates", OPERATE), ("reads", READ)):
        assert two.signed_in(scopes, name).post(f"/console/orders/{number}/approve").status_code == 403
    assert state_of(two, "n-scope") == "active"
