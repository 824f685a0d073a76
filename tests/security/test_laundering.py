"""Keylime 180e728c: a node that had failed became good again by way of a timeout; only a fresh acceptance may do that.

Keylime #1888 beside it: a deadline kept in memory alone was forgotten by a restart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from authority import scheduler, standing
from protocol.levels import NodeState, Tier
from tests.authority.world import World, open_world
from tests.security.broken import NOTICED

Attest = Callable[[World, str, bool], None]
HOUR = 3600.0


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as opened:
        yield opened


def attest(world: World, node: str, ok: bool) -> None:
    standing.record_attestation(world.conn, world.rt, node, ok, "" if ok else "PCR 4 differs", world.clock)


def forgives_with_time(world: World, node: str, ok: bool) -> None:
    """The flaw: a good attestation ends a failed one by itself."""
    if ok:
        world.set_node(node, attestation_failed=False)
    attest(world, node, ok)


def present(world: World, node: str, kind: str) -> standing.Standing:
    world.clock += 6 * HOUR
    challenge, good = world.seed.randbytes(16).hex(), 1000 if kind == "accepted" else None
    return standing.record_presentation(world.conn, world.rt, node, challenge, kind, good, good, world.clock)


def pass_time(world: World, node: str) -> None:
    world.clock += HOUR
    standing.refresh(world.conn, world.rt, node, world.clock)


def sweep_after_restart(world: World, _node: str) -> None:
    world.clock += HOUR
    scheduler.sweep(world.conn, world.rt, world.clock, first=True)


def steps(attest: Attest) -> dict[str, Callable[[World, str], object]]:
    """Everything that happens to a node without anybody being accepted."""
    return {
        "good attestation": lambda world, node: attest(world, node, True),
        "failed attestation": lambda world, node: attest(world, node, False),
        "missed": lambda world, node: present(world, node, "missed"),
        "time": pass_time,
        "restart": sweep_after_restart,
    }


def check_nothing_launders_a_failure(world: World, attest: Attest, events: int = 2) -> None:
    """Every order of so many such events after a failed attestation, and then a good one."""
    made = steps(attest)
    for names in itertools.product(made, repeat=events):
        node = world.node("n1")
        world.enrol(node)
        for _ in range(3):
            high = present(world, node, "accepted")
        assert high.tier is Tier.HIGH
        attest(world, node, False)
        for name in (*names, "good attestation"):
            made[name](world, node)
            row = world.row(node)
            assert (row.score, row.tier) == (0, "low"), names
        assert present(world, node, "accepted").score > 0
        world.conn.rollback()


def check_only_an_operator_ends_a_ban(world: World, release: Callable[[World, str], object]) -> None:
    node = world.node("banned")
    world.enrol(node)
    present(world, node, "accepted")
    standing.ban(world.conn, world.rt, node, "olga", "stolen", world.clock)
    for step in [*steps(attest).values(), lambda world, node: present(world, node, "accepted"), release]:
        step(world, node)
        assert world.row(node).state == NodeState.BANNED
    standing.release(world.conn, world.rt, node, "olga", "found", world.clock)
    assert world.row(node).state == NodeState.DEMOTED


@pytest.mark.parametrize("events", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_nothing_launders_a_failed_attestation(world: World, events: int) -> None:
    check_nothing_launders_a_failure(world, attest, events)


def test_an_authority_that_forgives_with_time_is_noticed(world: World) -> None:
    with pytest.raises(NOTICED):
        check_nothing_launders_a_failure(world, forgives_with_time)


def test_only_an_operator_ends_a_ban(world: World) -> None:
    check_only_an_operator_ends_a_ban(world, lambda _world, _node: None)


def test_a_ban_that_ends_by_itself_is_noticed(world: World) -> None:
    with pytest.raises(NOTICED):
        check_only_an_operator_ends_a_ban(world, lambda world, node: world.set_node(node, state="active"))
