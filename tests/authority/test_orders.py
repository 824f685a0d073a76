"""Orders of weight: one person carries them out, or two do, and no way round the second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from authority import orders, standing
from authority.operators import Operator, create_operator_token, revoke_operator_token
from authority.orders import Action, Order, OrderState
from authority.refusal import Refused
from authority.roles import Scope
from authority.store import schema
from authority.trust import Policy, default_policy
from authority.trust.policy import ApprovalRules
from tests.authority.world import World, open_world

TWO = msgspec.structs.replace(default_policy(), approvals=ApprovalRules(persons=2, expires_s=3600))
OPERATE = frozenset({Scope.OPERATE, Scope.APPROVE})


def world_of(policy: Policy) -> Iterator[World]:
    with open_world(policy) as opened:
        for name in ("ann", "bob"):
            create_operator_token(opened.conn, opened.rt, name, [*OPERATE], 86400, f"person:{name}")
        yield opened


@pytest.fixture
def alone() -> Iterator[World]:
    yield from world_of(default_policy())


@pytest.fixture
def world() -> Iterator[World]:
    yield from world_of(TWO)


def ban(world: World, node_id: str, actor: str = "ann", reason: str = "stolen") -> orders.Carried:
    order = Order(Action.NODE_BAN, "n1", {"node_id": node_id}, reason)
    return orders.submit(world.conn, world.rt, order, actor, world.clock, None)


def approve(world: World, number: int | None, name: str = "bob", scopes: frozenset[Scope] = OPERATE) -> orders.Carried:
    assert number is not None
    return orders.approve(world.conn, world.rt, number, Operator(name, scopes), "seen", world.clock, None)


def state(world: World, node_id: str) -> Any:
    return world.conn.scalar(select(schema.node.c.state).where(schema.node.c.id == node_id))


def test_one_person_is_enough_where_the_policy_says_so(alone: World) -> None:
    node = alone.node("n1", state="active", score=900)
    assert ban(alone, node).approval is None
    assert state(alone, node) == "banned"


def test_an_order_waits_and_nothing_happens_before_the_second(world: World) -> None:
    node = world.node("n1", state="active", score=900)
    asked = ban(world, node)
    assert asked.view == {"ok": False, "approval": asked.approval} and asked.pushes == []
    assert state(world, node) == "active"
    assert ("notice", "approval-requested") in world.alerts()
    assert approve(world, asked.approval).view["ok"] is True
    assert state(world, node) == "banned"
    assert world.audit_kinds()[-1] == "approval-approved"


def test_the_second_is_another(world: World) -> None:
    node = world.node("n1", state="active", score=900)
    with pytest.raises(Refused, match="another"):
        approve(world, ban(world, node).approval, "ann")
    assert state(world, node) == "active"


@pytest.mark.parametrize("scopes", [frozenset({Scope.READ}), frozenset({Scope.APPROVE})])
def test_the_second_could_have_ordered_it(world: World, scopes: frozenset[Scope]) -> None:
    node = world.node("n1", state="active", score=900)
    with pytest.raises(Refused, match="lacks the scope operate"):
        approve(world, ban(world, node).approval, scopes=scopes)
    assert state(world, node) == "active"


def test_what_a_revoked_operator_asked_for_is_not_carried_out(world: World) -> None:
    node = world.node("n1", state="active", score=900)
    asked = ban(world, node)
    assert revoke_operator_token(world.conn, "ann", world.clock)
    with pytest.raises(Refused, match="no longer good"):
        approve(world, asked.approval)
    assert state(world, node) == "active"


def test_an_order_expires(world: World) -> None:
    node = world.node("n1", state="active", score=900)
    asked = ban(world, node)
    world.clock += 3600
    with pytest.raises(Refused, match="expired"):
        approve(world, asked.approval)
    assert [each["state"] for each in orders.listing(world.conn, world.clock)] == ["expired"]
    assert orders.listing(world.conn, world.clock, OrderState.OPEN) == []


def test_an_order_is_carried_out_once(world: World) -> None:
    node = world.node("n1", state="active", score=900)
    asked = ban(world, node)
    approve(world, asked.approval)
    standing.release(world.conn, world.rt, node, "ann", "", world.clock)
    with pytest.raises(Refused, match="is approved"):
        approve(world, asked.approval)
    assert state(world, node) != "banned"


def test_a_rejected_order_is_over_and_whoever_asked_may_take_it_back(world: World) -> None:
    node = world.node("n1", state="active", score=900)
    asked = ban(world, node)
    assert asked.approval is not None
    orders.reject(world.conn, asked.approval, Operator("ann", OPERATE), "a mistake", world.clock)
    with pytest.raises(Refused, match="is rejected"):
        approve(world, asked.approval)
    assert orders.detail(world.conn, asked.approval, world.clock)["decision"] == "a mistake"


def test_the_same_order_again_is_the_same_and_another_is_another(world: World) -> None:
    node = world.node("n1", state="active", score=900)
    first = ban(world, node).approval
    assert ban(world, node).approval == first
    assert ban(world, node, reason="lost").approval != first
    assert ban(world, node, actor="bob").approval != first


def test_orders_that_wait_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node = world.node("n1", state="active", score=900)
    monkeypatch.setattr(orders, "MOST_OPEN", 2)
    for reason in ("one", "two"):
        ban(world, node, reason=reason)
    with pytest.raises(Refused) as refused:
        ban(world, node, reason="three")
    assert refused.value.status == 429 and refused.value.retry_after_s
    assert ban(world, node, actor="bob").approval


def test_a_policy_is_the_one_that_was_asked_for(world: World) -> None:
    asked_for = msgspec.structs.replace(TWO, version="new")
    admins = frozenset({Scope.ADMIN})
    order = Order(Action.POLICY_RELOAD, "new", dict(asked_for.identity))
    asked = orders.submit(world.conn, world.rt, order, "ann", world.clock, lambda: asked_for)
    assert asked.approval is not None
    swapped = msgspec.structs.replace(asked_for, approvals=ApprovalRules(persons=1))
    bob = Operator("bob", admins)
    with pytest.raises(Refused, match="changed since"):
        orders.approve(world.conn, world.rt, asked.approval, bob, "", world.clock, lambda: swapped)
    done = orders.approve(world.conn, world.rt, asked.approval, bob, "", world.clock, lambda: asked_for)
    assert done.view["sha256"] == asked_for.sha256
