"""A fleet whose machines all fail to attest keeps its keys until two operators have decided."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import insert

from authority import braking, operators, standing
from authority.roles import Scope
from authority.store import schema
from authority.trust.brake import BrakeDecision
from tests.authority.world import World, open_world

HOLD, RELEASE = BrakeDecision.HOLD, BrakeDecision.RELEASE


class Fleet:
    """Twenty nodes that stand high."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.nodes = [world.node(f"n{index}") for index in range(20)]
        for round_number in range(3):
            for node in self.nodes:
                self.present(node, "accepted", f"{node[:8]}{round_number}")

    def present(self, node: str, kind: str, challenge: str, reason: str = "scheduled") -> standing.Standing:
        world, value = self.world, 1000 if kind == "accepted" else None
        values = {"id": challenge, "node_id": node, "epoch": hash(challenge) % 2**31, "state": kind, "reason": reason}
        world.conn.execute(insert(schema.challenge).values(**values, summoned_at=0.0, expires_at=0.0))
        return standing.record_presentation(world.conn, world.rt, node, challenge, kind, value, value, world.clock)

    def fail_attestation(self, node: str, ok: bool = False) -> None:
        world = self.world
        standing.record_attestation(world.conn, world.rt, node, ok=ok, reason="PCR 7 differs", now=world.clock)

    def vote(self, decision: BrakeDecision, operator: str) -> bool:
        conn, rt = self.world.conn, self.world.rt
        if not operators.name_is_taken(conn, operator, self.world.clock):
            operators.create_operator_token(conn, rt, operator, [Scope.OPERATE], 30 * 86400)
        return bool(braking.vote(conn, rt, decision, operator, "", self.world.clock)["engaged"])

    def refresh(self) -> None:
        standing.refresh_after(self.world.conn, self.world.rt, "", 1000, self.world.clock)

    def tiers(self) -> list[str]:
        return [self.world.row(node).tier for node in self.nodes]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with open_world() as world:
        yield Fleet(world)


def test_a_bad_reference_value_takes_a_fifth_of_the_fleet_and_no_more(fleet: Fleet) -> None:
    for node in fleet.nodes:
        fleet.fail_attestation(node)
    assert fleet.tiers() == ["low"] * 5 + ["high"] * 15
    assert ("critical", "brake-engaged") in fleet.world.alerts()
    held = fleet.world.row(fleet.nodes[9])
    assert (held.state, held.score > 800) == ("active", True)
    assert "held by the brake, would be 0.00" in held.explanation


def test_four_nodes_fall_without_a_brake(fleet: Fleet) -> None:
    for node in fleet.nodes[:4]:
        fleet.fail_attestation(node)
    assert braking.engaged(fleet.world.conn) is None


def test_one_operator_cannot_release_it_and_two_can(fleet: Fleet) -> None:
    for node in fleet.nodes:
        fleet.fail_attestation(node)
    assert fleet.vote(RELEASE, "ada")
    assert fleet.vote(RELEASE, "ada")
    fleet.refresh()
    assert fleet.tiers().count("high") == 15
    assert not fleet.vote(RELEASE, "bob")
    fleet.refresh()
    assert fleet.tiers() == ["low"] * 20
    assert braking.engaged(fleet.world.conn) is None


def test_what_an_operator_orders_for_one_node_acts(fleet: Fleet) -> None:
    for node in fleet.nodes[:6]:
        fleet.fail_attestation(node)
    suspect, other, third = fleet.nodes[10:13]
    fleet.present(other, "failed", "a")
    assert fleet.world.row(other).tier == "high"
    fleet.present(suspect, "failed", "b", "on-demand")
    assert fleet.world.row(suspect).tier != "high"
    standing.isolate(fleet.world.conn, fleet.world.rt, third, "ada", "seen", fleet.world.clock)
    assert fleet.world.row(third).state == "isolated"


def test_what_gets_better_is_not_held(fleet: Fleet) -> None:
    for node in fleet.nodes[:6]:
        fleet.fail_attestation(node)
    fleet.present(fleet.nodes[0], "accepted", "again")
    assert fleet.world.row(fleet.nodes[0]).tier == "high"


def test_two_operators_engage_it_by_hand(fleet: Fleet) -> None:
    assert not fleet.vote(HOLD, "ada")
    assert fleet.vote(HOLD, "bob")
    fleet.fail_attestation(fleet.nodes[0])
    assert fleet.tiers() == ["high"] * 20
    assert not (fleet.vote(RELEASE, "ada") and fleet.vote(RELEASE, "bob"))


def test_one_node_that_falls_again_and_again_is_one_node(fleet: Fleet) -> None:
    falls = [{"node_id": fleet.nodes[0], "at": fleet.world.clock} for _ in range(9)]
    fleet.world.conn.execute(insert(schema.brake_fall), falls)
    for node in fleet.nodes[:4]:
        fleet.fail_attestation(node)
    assert braking.engaged(fleet.world.conn) is None
    fleet.fail_attestation(fleet.nodes[4])
    assert braking.engaged(fleet.world.conn) is not None


def test_falls_of_yesterday_do_not_count(fleet: Fleet) -> None:
    for node in fleet.nodes[:5]:
        fleet.fail_attestation(node)
        fleet.world.clock += 901
    assert braking.engaged(fleet.world.conn) is None


@pytest.mark.parametrize("decision", [HOLD, RELEASE])
def test_a_stolen_token_s_vote_goes_with_the_token(fleet: Fleet, decision: BrakeDecision) -> None:
    if decision is RELEASE:
        for node in fleet.nodes[:6]:
            fleet.fail_attestation(node)
    held = decision is RELEASE
    fleet.vote(decision, "mallory")
    assert operators.revoke_operator_token(fleet.world.conn, "mallory", fleet.world.clock)
    assert fleet.vote(decision, "ada") is held
    assert fleet.vote(decision, "bob") is not held


def test_a_vote_of_last_week_is_no_second_vote(fleet: Fleet) -> None:
    fleet.vote(HOLD, "ada")
    fleet.world.clock += 7 * 86400
    assert not fleet.vote(HOLD, "bob")
    assert fleet.vote(HOLD, "ada")
