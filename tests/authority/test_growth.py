"""What a larger fleet costs: no beat and no request reads all of it, and no beat keeps the writer for all of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event, insert, select, update

from authority import challenges, joining, releases, scheduler, standing
from authority.keys import create_network
from authority.store import schema
from authority.store.schema_indices import GROWING
from authority.trust import default_policy
from protocol.messages import AttestRequest
from tests.authority.world import World, open_world

TABLES = (
    *("node", "schedule", "challenge", "presentation", "nonce", "profile", "signal", "member", "audit"),
    *("brake_fall", "log_node", "reference_value", "alert"),
)
HOUR_S = 3600.0
OF_REQUESTS = {
    "ix_challenge_group_sensor_node_id",
    "ix_group_member_group",
    "ix_profile_public",
    "ix_profile_node_id_admin",
}
"""Indices that `test_growth_of_requests` looks for."""
Plans = dict[str, list[str]]


class Explained:
    """A small fleet in SQLite, and how the database does what it is asked while `noting`."""

    def __init__(self, conn: Connection) -> None:
        self.world = World(conn, default_policy())
        self.nodes = [self.world.node(f"n{index}", state="active", score=900) for index in range(12)]
        for node in self.nodes:
            self.world.enrol(node)
            accepted = ("accepted", 1000, 1000, self.world.clock)
            standing.record_presentation(conn, self.world.rt, node, f"a{node[:8]}", *accepted)
        create_network(conn, self.world.rt, "core", self.world.clock)
        self.plans: Plans = defaultdict(list)
        self.doing = ""

    def note(self, conn: Connection, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if self.doing and statement.startswith(("SELECT", "UPDATE", "DELETE")):
            raw = conn.connection.cursor()
            raw.execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values)
            self.plans[self.doing] += [row[3] for row in raw.fetchall()]

    def do(self, name: str, work: Callable[..., object], *arguments: Any, **named: Any) -> None:
        self.doing = name
        work(*arguments, **named)
        self.doing = ""

    def everything(self) -> Plans:
        """What happens all the time, once each."""
        world, conn, node = self.world, self.world.conn, self.nodes[0]
        scheduler.sweep(conn, world.rt, world.clock, first=True)
        world.clock += 1
        self.do("sweep", scheduler.sweep, conn, world.rt, world.clock)
        self.do("certificate", joining.node_of_certificate, conn, "0" * 64, world.clock)
        self.do("connect", challenges.open_events, conn, world.rt, node, world.clock)
        self.do("nonce", joining.take_nonce, conn, bytes(32), node, scheduler.ATTEST_PURPOSE, world.clock)
        self.do("attest", standing.record_attestation, conn, world.rt, node, True, "", world.clock)
        profile = conn.execute(select(schema.profile).where(schema.profile.c.node_id == node)).one()
        self.do("begin", releases.check_rate, conn, world.rt, profile, world.clock)
        self.do("summon", scheduler.challenge_now, conn, world.rt, node, "on-demand", world.clock)
        present = (conn, world.rt, node, f"c{node[:8]}", "failed", None, None, world.clock)
        self.do("present", standing.record_presentation, *present)
        for each in self.nodes[1:8]:
            self.do("fall", standing.record_attestation, conn, world.rt, each, False, "PCR 7 differs", world.clock)
        world.clock += 2 * HOUR_S
        conn.execute(update(schema.meta).where(schema.meta.c.key == "heartbeat").values(value=repr(world.clock)))
        self.do("forget", scheduler.sweep, conn, world.rt, world.clock)
        return self.plans


@pytest.fixture(scope="module")
def plans() -> Iterator[Plans]:
    engine = create_engine("sqlite://")
    schema.metadata.create_all(engine)
    with engine.connect() as conn:
        explained = Explained(conn)
        event.listen(engine, "before_cursor_execute", explained.note)
        yield explained.everything()
    engine.dispose()


@pytest.mark.parametrize("doing", ["sweep", "certificate", "connect", "nonce", "attest", "begin", "summon", "present"])
def test_nothing_that_happens_all_the_time_reads_a_whole_table(plans: Plans, doing: str) -> None:
    read = [step for step in plans[doing] if step.startswith("SCAN") and step.split()[1] in TABLES]
    assert plans[doing]
    assert not read


@pytest.mark.parametrize("index", [name for name in GROWING if name not in OF_REQUESTS])
def test_every_index_is_there_for_something(plans: Plans, index: str) -> None:
    assert any(index in step for steps in plans.values() for step in steps)


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as made:
        yield made


def fleet(world: World, nodes: int) -> list[str]:
    return [world.node(f"n{index}", state="active") for index in range(nodes)]


def sweep(world: World, seconds: float = 0.5) -> list[str]:
    """Which nodes are asked to attest."""
    world.clock += seconds
    pushes = scheduler.sweep(world.conn, world.rt, world.clock)
    return [node for node, told in pushes if isinstance(told, AttestRequest)]


def explained(world: World) -> int:
    row = schema.node
    return len(world.conn.execute(select(row.c.id).where(row.c.explanation != "")).all())


def test_a_sweep_recomputes_part_of_a_large_fleet_and_the_next_ones_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "REFRESHED_AT_ONCE", 10)
    fleet(world, 25)
    seen = []
    for _ in range(4):
        sweep(world)
        seen.append(explained(world))
    assert seen == [10, 20, 25, 25]


def test_the_next_pass_begins_when_it_is_due_and_the_one_before_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "REFRESHED_AT_ONCE", 10)
    fleet(world, 15)
    sweep(world)
    world.conn.execute(update(schema.node).values(explanation=""))
    sweep(world, 61)
    assert explained(world) == 5
    sweep(world)
    assert explained(world) == 15


def test_after_an_outage_the_fleet_is_asked_to_attest_in_parts_and_nobody_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "REQUESTED_AT_ONCE", 10)
    nodes = fleet(world, 25)
    asked = [sweep(world) for _ in range(4)]
    assert [len(each) for each in asked] == [10, 10, 5, 0]
    assert sorted(node for each in asked for node in each) == sorted(nodes)


def test_a_refresh_that_changes_nothing_writes_nothing_to_the_node(world: World) -> None:
    (node,) = fleet(world, 1)
    standing.refresh(world.conn, world.rt, node, world.clock)
    written: list[str] = []
    event.listen(world.conn, "before_cursor_execute", lambda *told: written.append(told[2]))
    standing.refresh(world.conn, world.rt, node, world.clock)
    assert written
    assert not [each for each in written if each.startswith("UPDATE node")]


def test_nonces_go_an_hour_after_their_end(world: World) -> None:
    (node,) = fleet(world, 1)
    row = {"node_id": node, "purpose": scheduler.ATTEST_PURPOSE}
    for name, ends in (("old", -HOUR_S - 2), ("new", -HOUR_S + 100)):
        world.conn.execute(insert(schema.nonce).values(value=name, expires_at=world.clock + ends, **row))
    sweep(world)
    kept = {*world.conn.scalars(select(schema.nonce.c.value))}
    assert "new" in kept
    assert "old" not in kept
