"""An administrator is revoked at every node in one order: nothing of theirs answers any more; it may be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from authority import enrolling, orders, profiles, revoking, scheduler
from authority.operators import Operator, create_operator_token
from authority.orders import Action, Order
from authority.refusal import Refused
from authority.roles import Scope
from authority.store import schema
from authority.trust import default_policy
from authority.trust.policy import ApprovalRules
from protocol.messages import EnrolStart, ErasureOrder
from tests.authority.world import World, open_world

OPERATE = frozenset({Scope.OPERATE, Scope.APPROVE})


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as opened:
        for name in ("n1", "n2", "n3"):
            opened.node(name, state="active", score=900)
        yield opened


def node_id(world: World, name: str) -> Any:
    return world.conn.scalar(select(schema.node.c.id).where(schema.node.c.name == name))


def enrol(world: World, name: str, admin: str = "ada") -> str:
    record = world.enrol(node_id(world, name), admin)
    mine = schema.profile.c.record_id == record
    world.conn.execute(update(schema.profile).where(mine).values(release_share=b"share"))
    return record


def states(world: World, admin: str) -> list[str]:
    row = schema.profile
    return [*world.conn.scalars(select(row.c.state).where(row.c.admin == admin))]


def revoke(world: World, admin: str = "ada") -> tuple[dict[str, Any], list[Any]]:
    return revoking.revoke_everywhere(world.conn, admin, "ann", "left the site", world.clock)


def test_every_node_stops_accepting_them_and_nobody_else(world: World) -> None:
    records = {name: enrol(world, name) for name in ("n1", "n2", "n3")}
    other = enrol(world, "n1", "bob")
    view, pushes = revoke(world)
    assert [(each["node"], each["record_id"], each["was"]) for each in view["nodes"]] == [
        (name, record, "active") for name, record in records.items()
    ]
    assert {(node, event.record_id) for node, event in pushes if isinstance(event, ErasureOrder)} == {
        (node_id(world, name), record) for name, record in records.items()
    }
    assert states(world, "ada") == ["revoked"] * 3 and states(world, "bob") == ["active"]
    shares = dict(world.conn.execute(select(schema.profile.c.record_id, schema.profile.c.release_share)).all())
    assert shares[other] == b"share" and {shares[record] for record in records.values()} == {b""}
    assert ("notice", "administrator-revoked") in world.alerts()


def test_nobody_is_summoned_for_them_any_more(world: World) -> None:
    enrol(world, "n1")
    assert scheduler.challenge_now(world.conn, world.rt, node_id(world, "n1"), "on-demand", world.clock)
    enrol(world, "n2")
    revoke(world)
    with pytest.raises(Refused, match="nobody who is enrolled"):
        scheduler.challenge_now(world.conn, world.rt, node_id(world, "n2"), "on-demand", world.clock)


def test_a_ticket_of_before_is_void_and_a_new_one_is_refused(world: World) -> None:
    node = node_id(world, "n1")
    ticket, pin = enrolling.create_ticket(world.conn, world.rt, "ada", node, 3600, world.clock)
    of_bob, pin_of_bob = enrolling.create_ticket(world.conn, world.rt, "bob", node, 3600, world.clock)
    assert revoke(world)[0]["tickets"] == 1
    for name, each, number, fits in (("ada", ticket, pin, False), ("bob", of_bob, pin_of_bob, True)):
        start = EnrolStart(ticket=each, pin=number, admin=name)
        if fits:  # the control: the other's ticket is still good
            enrolling.start_enrolment(world.conn, world.rt, node, start, world.clock)
            continue
        with pytest.raises(Refused, match="ticket or its PIN"):
            enrolling.start_enrolment(world.conn, world.rt, node, start, world.clock)
    with pytest.raises(Refused, match="is revoked"):
        enrolling.create_ticket(world.conn, world.rt, "ada", node, 3600, world.clock)


def test_a_void_ticket_stays_void_when_the_clock_is_set_back(world: World) -> None:
    node = node_id(world, "n1")
    ticket, pin = enrolling.create_ticket(world.conn, world.rt, "ada", node, 3600, world.clock)
    revoke(world)
    world.clock -= 60
    with pytest.raises(Refused, match="ticket or its PIN"):
        enrolling.start_enrolment(
            world.conn, world.rt, node, EnrolStart(ticket=ticket, pin=pin, admin="ada"), world.clock
        )


def test_what_waits_for_approval_or_is_being_enrolled_ends_too(world: World) -> None:
    for name, state in (("n1", profiles.OPEN), ("n2", profiles.PENDING)):
        mine = schema.profile.c.record_id == enrol(world, name)
        world.conn.execute(update(schema.profile).where(mine).values(state=state))
    view, _ = revoke(world)
    assert [each["was"] for each in view["nodes"]] == ["open", "pending"]
    with pytest.raises(Refused, match="revoked"):
        enrolling.check_approvable(world.conn, view["nodes"][1]["record_id"])


def test_again_it_orders_only_those_that_have_not_obeyed_and_enters_nothing_twice(world: World) -> None:
    first, _ = enrol(world, "n1"), enrol(world, "n2")
    revoke(world)
    profiles.note_gone(world.conn, node_id(world, "n1"), first, world.clock)
    before = world.audit_kinds()
    view, pushes = revoke(world)
    assert [(each["node"], each["was"]) for each in view["nodes"]] == [("n2", "revoked")]
    assert [node for node, _ in pushes] == [node_id(world, "n2")]
    assert world.audit_kinds() == before


def test_an_order_that_broke_off_is_finished_by_repeating_it(world: World) -> None:
    """One profile was revoked by itself and the rest was not: the order goes on from there."""
    record, _ = enrol(world, "n1"), enrol(world, "n2")
    enrolling.revoke_profile(world.conn, world.rt, record, "ann", world.clock)
    view, pushes = revoke(world)
    assert [each["was"] for each in view["nodes"]] == ["revoked", "active"] and len(pushes) == 2
    assert states(world, "ada") == ["revoked"] * 2


def test_a_name_that_nobody_has_is_refused(world: World) -> None:
    with pytest.raises(Refused) as refused:
        revoke(world, "nobody")
    assert refused.value.status == 404 and refused.value.remedy


def test_a_readmitted_administrator_enrols_anew(world: World) -> None:
    enrol(world, "n1")
    with pytest.raises(Refused, match="not revoked"):
        revoking.readmit(world.conn, "ada", "ann", "", world.clock)
    revoke(world)
    revoking.readmit(world.conn, "ada", "ann", "came back", world.clock)
    assert states(world, "ada") == ["revoked"]
    assert enrolling.create_ticket(world.conn, world.rt, "ada", node_id(world, "n1"), 3600, world.clock)


@pytest.mark.parametrize(
    ("rules", "waits"),
    [
        (ApprovalRules(), False),
        (ApprovalRules(persons=2), False),
        (ApprovalRules(persons=2, revocations=True), True),
        (ApprovalRules(persons=1, revocations=True), False),
    ],
)
def test_it_is_one_order_for_two_persons_where_the_policy_asks_for_that(
    world: World, rules: ApprovalRules, waits: bool
) -> None:
    world.policy = msgspec.structs.replace(default_policy(), approvals=rules)
    for name in ("ann", "bob"):
        create_operator_token(world.conn, world.rt, name, [*OPERATE], 86400, f"person:{name}")
    enrol(world, "n1")
    enrol(world, "n2")
    order = Order(Action.ADMIN_REVOKE, revoking.check_known(world.conn, "ada"), {"admin": "ada"}, "left")
    asked = orders.submit(world.conn, world.rt, order, "ann", world.clock, None)
    assert (asked.approval is not None) == waits
    assert states(world, "ada") == ["active" if waits else "revoked"] * 2
    if asked.approval is None:
        return
    with pytest.raises(Refused, match="another"):
        orders.approve(world.conn, world.rt, asked.approval, Operator("ann", OPERATE), "", world.clock, None)
    done = orders.approve(world.conn, world.rt, asked.approval, Operator("bob", OPERATE), "", world.clock, None)
    assert states(world, "ada") == ["revoked"] * 2 and len(done.pushes) == 2
