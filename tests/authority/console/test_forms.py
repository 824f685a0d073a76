"""Each form does what it says, in the name of whoever sent it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from authority import fleet_orders, references
from authority.alerts import raise_alert
from authority.keys import networks
from authority.store import schema
from protocol.levels import ResourceClass
from tests.authority.console.house import Browser, House, enrol


@pytest.fixture(scope="module")
def admin(house: House) -> Browser:
    return house.signed_in()


def state_of(house: House, name: str) -> str:
    return house.row(schema.node, schema.node.c.name == name).state


def test_a_node_is_isolated_released_banned_and_retired(house: House, admin: Browser) -> None:
    house.node("n-orders")
    for verb, state in (("isolate", "isolated"), ("release", "pending"), ("ban", "banned"), ("retire", "retired")):
        response = admin.post(f"/console/nodes/n-orders/{verb}", {"reason": f"because of {verb}"})
        assert (response.status_code, response.headers["location"]) == (303, f"/console/nodes/n-orders?done={verb}")
        assert state_of(house, "n-orders") == state
        actor, data = house.audited(f"node-{verb}")[-1]
        assert (actor, data["reason"]) == ("olga", f"because of {verb}")


def test_an_order_needs_a_reason_of_a_sensible_length(house: House, admin: Browser) -> None:
    house.node("n-reason")
    for reason in ("", "   ", "x" * 501):
        assert admin.post("/console/nodes/n-reason/isolate", {"reason": reason}).status_code == 422
    assert state_of(house, "n-reason") == "active"


def test_an_order_that_the_state_does_not_allow_is_a_page_that_says_so(house: House, admin: Browser) -> None:
    house.node("n-not", state="active")
    response = admin.post("/console/nodes/n-not/release", {"reason": "why not"})
    assert response.status_code == 409 and "<h1>Conflict</h1>" in response.text


def test_somebody_is_summoned(house: House, admin: Browser) -> None:
    node_id = house.node("n-summon")
    refused = admin.post("/console/nodes/n-summon/challenge")
    assert refused.status_code == 409 and "obody who is enrolled" in refused.text
    house.do(lambda conn: enrol(conn, house.rt, node_id, "ada"))
    assert admin.post("/console/nodes/n-summon/challenge").status_code == 303
    found = house.row(schema.challenge, schema.challenge.c.node_id == node_id)
    assert (found.state, found.reason) == ("summoned", "on-demand")


def test_an_alert_is_acknowledged_once_with_who_and_why(house: House, admin: Browser) -> None:
    house.do(lambda conn: raise_alert(conn, "error", "test", None, "something", {}, house.rt.now()))
    alert = house.row(schema.alert, schema.alert.c.kind == "test")
    assert admin.post(f"/console/alerts/{alert.id}/acknowledge", {"reason": "a loose cable"}).status_code == 303
    page = admin.page(f"/console/alerts/{alert.id}?done=acknowledged")
    assert "a loose cable" in page and "olga" in page and 'role="status"' in page
    assert f"/alerts/{alert.id}/acknowledge" not in page
    assert admin.post(f"/console/alerts/{alert.id}/acknowledge", {"reason": "again"}).status_code == 409
    assert "a loose cable" in admin.page("/console/alerts?view=reviewed")
    assert "a loose cable" not in admin.page("/console/alerts?view=open")
    assert house.audited("alert-acknowledged") == [("olga", {"alert": alert.id, "reason": "a loose cable"})]


def test_an_enrolment_is_approved_or_refused(house: House, admin: Browser) -> None:
    node_id = house.node("n-people")
    yes, no = (house.do(lambda conn, who=who: enrol(conn, house.rt, node_id, who, "pending")) for who in ("ada", "eve"))
    page = admin.page("/console/approvals")
    assert page.count(" at n-people</span>") == 4
    assert admin.post(f"/console/profiles/{yes}/approve").headers["location"] == "/console/approvals?done=approved"
    assert admin.post(f"/console/profiles/{no}/refuse").headers["location"] == "/console/approvals?done=refused"
    rows = house.do(lambda conn: conn.execute(select(schema.profile.c.record_id, schema.profile.c.state)).all())
    states = dict(tuple(each) for each in rows)
    assert (states[yes], states[no]) == ("active", "revoked")
    assert "n-people" not in admin.page("/console/approvals")


def test_a_state_of_a_machine_is_accepted_or_rejected(house: House, admin: Browser) -> None:
    node_id = house.node("n-state")
    row = house.row(schema.node, schema.node.c.id == node_id)
    for digest in ("ab", "cd"):
        value = {"7": digest * 32}
        house.do(
            lambda conn, value=value: references.note_candidate(conn, row, references.Kind.PCRS, value, house.rt.now())
        )
    first, second = house.do(lambda conn: [each["id"] for each in references.listing(conn, node_id)])
    assert admin.post(f"/console/references/{first}/accept").status_code == 303
    assert admin.post(f"/console/references/{second}/reject").status_code == 303
    states = house.do(lambda conn: [each["state"] for each in references.listing(conn, node_id)])
    assert states == ["accepted", "rejected"]


def test_an_order_over_the_whole_fleet_is_seen_while_it_is_under_way(house: House, admin: Browser) -> None:
    assert "Revoking ada" not in admin.page("/console")
    begun = fleet_orders.Kind.REVOKE, "ada", "olga", "left", 1200, 0.0
    house.do(lambda conn: fleet_orders.begin(conn, *begun))
    assert "Revoking ada: 0 of 1,200." in admin.page("/console")
    house.do(lambda conn: fleet_orders.move_on(conn, fleet_orders.next_due(conn), "", 1200, 1.0))
    assert "Revoking ada" not in admin.page("/console")


def test_the_brake_takes_two_votes(house: House, admin: Browser) -> None:
    other = house.signed_in(name="otto")
    assert admin.post("/console/brake/hold", {"reason": "something is wrong"}).status_code == 303
    assert "The brake does not hold." in admin.page("/console/approvals")
    other.post("/console/brake/hold", {"reason": "indeed"})
    assert "The brake holds" in admin.page("/console")
    for browser in (admin, other):
        browser.post("/console/brake/release", {"reason": "found it"})
    assert "The brake holds" not in admin.page("/console")
    assert admin.post("/console/brake/other", {"reason": "x"}).status_code == 404


def test_the_keys_of_a_network_are_rotated(house: House, admin: Browser) -> None:
    node_id = house.node("n-keys", score=900, tier="high")

    def build(conn) -> None:
        networks.create_network(conn, house.rt, "plant", house.rt.now())
        networks.add_member(conn, house.rt, "plant", node_id, "10.0.0.1", ResourceClass.NORMAL, house.rt.now())

    house.do(build)
    epoch = house.row(schema.member, schema.member.c.node_id == node_id).epoch
    assert admin.post("/console/networks/plant/rotation").status_code == 303
    assert house.audited("rotation-started")[-1][0] == "olga"
    assert admin.post("/console/networks/plant/emergency", {"reason": "a stolen rack"}).status_code == 303
    assert house.audited("rotation-emergency")[-1][1]["reason"] == "a stolen rack"
    assert house.row(schema.member, schema.member.c.node_id == node_id).epoch > epoch
    assert admin.post("/console/networks/plant/versions").status_code == 303
    assert house.audited("keys-rotated")[-1][0] == "olga"
    assert admin.post("/console/networks/nowhere/versions").status_code == 404
