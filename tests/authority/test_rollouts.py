"""A reference value goes out in waves: to a share, once the wave before has held, and is taken back everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from authority import references, rollouts
from authority.references import Kind
from authority.refusal import Refused
from authority.rollouts import Wave
from authority.store import schema
from tests.authority.world import World, open_world

OLD, NEW = {"0": "00" * 32}, {"0": "11" * 32}
NAMES = [f"n{number:02d}" for number in range(21)]
CANARY = "n00"


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as opened:
        for name in NAMES:
            references.learn(opened.conn, opened.node(name, state="active"), Kind.PCRS, OLD, opened.clock)
        yield opened


def node_id(world: World, name: str) -> Any:
    return world.conn.scalar(select(schema.node.c.id).where(schema.node.c.name == name))


def show(world: World, *names: str, value: dict[str, str] = NEW) -> list[bool]:
    world.clock += 10
    return [
        references.holds(world.conn, node_id(world, name), Kind.PCRS, value, world.clock, learned=value == OLD)
        for name in names
    ]


@pytest.fixture
def value(world: World) -> int:
    """A candidate of the canary that was accepted, and has held there."""
    row = world.row(node_id(world, CANARY))
    references.note_candidate(world.conn, row, Kind.PCRS, NEW, world.clock)  # type: ignore[arg-type]
    (found,) = references.listing(world.conn, None, "candidate")
    references.accept(world.conn, found["id"], "ann", world.clock)
    assert show(world, CANARY) == [True]
    return int(found["id"])


def stage(world: World, value: int, wave: Wave) -> list[str]:
    names = rollouts.choose(world.conn, value, wave)
    done = references.stage(world.conn, value, [node_id(world, name) for name in names], "ann", world.clock)
    assert done == len(names)
    return names


def test_a_share_takes_as_many_nodes_and_a_larger_one_has_them_too(world: World, value: int) -> None:
    first = stage(world, value, Wave(percent=10))
    assert len(first) == 2 and CANARY not in first
    assert show(world, *first) == [True, True]
    others = [name for name in NAMES if name not in {CANARY, *first}]
    assert show(world, *others) == [False] * 18  # the control: nobody else may
    second = stage(world, value, Wave(percent=50))
    assert len(second) == 8 and not {*first} & {*second}
    assert {*stage(world, value, Wave())} == {*NAMES} - {CANARY, *first, *second}


def test_the_choice_is_the_same_every_time_and_another_for_another_value(world: World, value: int) -> None:
    wave = Wave(percent=30)
    assert rollouts.choose(world.conn, value, wave) == rollouts.choose(world.conn, value, wave)
    chosen = rollouts.choose(world.conn, value, wave)
    world.conn.execute(
        update(schema.reference_value).where(schema.reference_value.c.id == value).values(digest="f" * 64)
    )
    assert rollouts.choose(world.conn, value, wave) != chosen


def test_promotion_waits_for_the_wave_before(world: World, value: int) -> None:
    first = stage(world, value, Wave(percent=20))
    show(world, *first[:2])
    with pytest.raises(Refused, match="3 of 5 nodes"):
        rollouts.choose(world.conn, value, Wave(held_percent=100))
    assert len(rollouts.choose(world.conn, value, Wave(held_percent=60))) == 16
    show(world, *first)
    assert len(stage(world, value, Wave(held_percent=100))) == 16


def test_promotion_stops_at_a_node_that_fails(world: World, value: int) -> None:
    first = stage(world, value, Wave(percent=10))
    show(world, *first)
    world.set_node(node_id(world, first[0]), attestation_failed=True)
    with pytest.raises(Refused, match=f"1 nodes that accept the value fail their attestation: {first[0]}"):
        rollouts.choose(world.conn, value, Wave(held_percent=50))
    world.set_node(node_id(world, first[0]), state="retired")
    assert rollouts.choose(world.conn, value, Wave(held_percent=50))


def test_a_roll_back_takes_it_from_every_wave(world: World, value: int) -> None:
    first = stage(world, value, Wave(percent=10))
    show(world, *first)
    assert references.rollback(world.conn, value, "ann", world.clock) == 3
    assert show(world, CANARY, *first) == [False] * 3
    assert show(world, CANARY, *first, value=OLD) == [True] * 3
    assert {each["state"] for each in rollouts.progress(world.conn, value)} == {"withdrawn"}


def test_the_progress_tells_who_has_shown_it(world: World, value: int) -> None:
    first = stage(world, value, Wave(percent=10))
    show(world, first[0])
    told = {each["node"]: (each["canary"], each["held"]) for each in rollouts.progress(world.conn, value)}
    assert told == {CANARY: (True, True), first[0]: (False, True), first[1]: (False, False)}


def test_only_nodes_in_service_that_are_like_the_canary_are_taken(world: World, value: int) -> None:
    for name, values in (
        ("n01", {"state": "retired"}),
        ("n02", {"state": "banned"}),
        ("n03", {"lab": True}),
        ("n04", {"enclave_kind": "software"}),
    ):
        world.set_node(node_id(world, name), **values)
    assert rollouts.choose(world.conn, value, Wave()) == NAMES[5:]


def test_a_node_where_it_was_rejected_is_left_out(world: World, value: int) -> None:
    row = world.row(node_id(world, "n05"))
    references.note_candidate(world.conn, row, Kind.PCRS, NEW, world.clock)  # type: ignore[arg-type]
    (found,) = references.listing(world.conn, None, "candidate")
    references.reject(world.conn, found["id"], "ann", world.clock)
    assert "n05" not in rollouts.choose(world.conn, value, Wave())


def test_a_network_or_a_group_bounds_the_share(world: World, value: int) -> None:
    world.conn.execute(insert(schema.network).values(name="prod", created_at=0.0))
    for number, name in enumerate(("n01", "n02"), 1):
        member = {"network": "prod", "node_id": node_id(world, name), "address": f"10.0.0.{number}", "slot": number}
        world.conn.execute(insert(schema.member).values(**member, resource_class="normal"))
    group = {"name": "rack", "sensor_node_id": node_id(world, "n03"), "created_at": 0.0}
    world.conn.execute(insert(schema.challenge_group).values(**group))
    world.conn.execute(insert(schema.group_member).values(node_id=node_id(world, "n04"), group="rack"))
    assert rollouts.choose(world.conn, value, Wave(network="prod")) == ["n01", "n02"]
    assert len(rollouts.choose(world.conn, value, Wave(percent=50, network="prod"))) == 1
    assert rollouts.choose(world.conn, value, Wave(group="rack")) == ["n03", "n04"]
    for wave in (Wave(network="nowhere"), Wave(group="nowhere")):
        with pytest.raises(Refused, match="named 'nowhere'"):
            rollouts.choose(world.conn, value, wave)


def test_a_share_that_has_it_already_and_one_that_is_too_large_are_refused(
    world: World, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts, "MOST_STAGED", 19)
    with pytest.raises(Refused, match="20 nodes are too many"):
        rollouts.choose(world.conn, value, Wave())
    stage(world, value, Wave(percent=50))
    with pytest.raises(Refused, match="accepts the value already"):
        rollouts.choose(world.conn, value, Wave(percent=50))
