"""Orders over the whole fleet: bounded passes, in turn, and none lost or made twice when the process is killed."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select

from authority import fleet_orders, passes, policies, revoking, scheduler, standing
from authority.refusal import Refused
from authority.store import Store, schema
from authority.trust import Policy, PresentationKind, default_policy
from authority.trust.policy import Caps
from tests.authority.world import World, open_world

AT_ONCE = fleet_orders.AT_ONCE
STRICTER = msgspec.structs.replace(default_policy(), version="stricter", caps=Caps(one_failure=300, unowned_tpm=700))
REVOKED = 2 * AT_ONCE + 50


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as opened:
        yield opened


def fleet(world: World, count: int) -> list[str]:
    """Active nodes, by id, whose TPM is not the authority's."""
    ids = [f"{number:064x}" for number in range(count)]
    plain: dict[str, Any] = {"state": "active", "lab": False, "reference_pcrs": "{}", "devices": "[]", "joined_at": 0.0}
    keys = {"ek_public": b"", "ak_public": b"", "delivery_public": b"", "certificate_sha256": ""}
    rows = [{"id": each, "name": f"n{each[-6:]}", "certificate_not_after": 0.0, **plain, **keys} for each in ids]
    world.conn.execute(insert(schema.node), rows)
    return ids


def present(world: World, node_id: str) -> int:
    accepted = (PresentationKind.ACCEPTED, 1000, 1000, world.clock)
    return standing.record_presentation(world.conn, world.rt, node_id, world.seed.randbytes(9).hex(), *accepted).score


def enrolled(conn: Any, node_id: str, count: int) -> list[str]:
    """So many records of ada at one node, by name."""
    conn.execute(insert(schema.administrator).values(name="ada", created_at=0.0))
    row = {"node_id": node_id, "admin": "ada", "state": "active", "nonce": b"", "release_share": b"share"}
    named = [{"record_id": f"{number:032x}", "enrolment_id": f"{number:032x}"} for number in range(count)]
    conn.execute(insert(schema.profile), [{**row, **each, "created_at": 0.0, "expires_at": 0.0} for each in named])
    return [each["record_id"] for each in named]


def revoke(world: World) -> tuple[dict[str, Any], list[Any]]:
    return revoking.revoke_everywhere(world.conn, "ada", "ann", "left", world.clock)


def the_rest(world: World) -> list[int]:
    """How many nodes each pass told, until there is none to make."""
    told = []
    while (done := passes.go_on(world.conn, world.rt, world.clock))[1]:
        told.append(len(done[0]))
    return told


def states(conn: Any) -> list[str]:
    return [*conn.scalars(select(schema.profile.c.state).order_by(schema.profile.c.record_id))]


def test_a_revocation_comes_to_every_record_once_and_to_no_more_at_a_time(world: World) -> None:
    (node,) = fleet(world, 1)
    enrolled(world.conn, node, REVOKED)
    view, pushes = revoke(world)
    come = len(pushes)
    assert 0 < come <= AT_ONCE and view["records"] == len(view["nodes"]) == REVOKED
    assert states(world.conn).count("revoked") == come
    (order,) = fleet_orders.running(world.conn)
    assert (order["id"], order["subject"], order["done"], order["total"]) == (view["order"], "ada", come, REVOKED)
    told = the_rest(world)
    assert sum(told) == REVOKED - come and max(told) <= AT_ONCE
    assert {*states(world.conn)} == {"revoked"} and world.audit_kinds().count("revoked") == REVOKED
    (order,) = fleet_orders.listing(world.conn)
    assert (order["state"], order["done"]) == ("done", REVOKED) and fleet_orders.running(world.conn) == []


def test_given_again_meanwhile_it_tells_how_far_it_came_and_begins_nothing(world: World) -> None:
    (node,) = fleet(world, 1)
    enrolled(world.conn, node, REVOKED)
    first = revoke(world)[0]
    again, pushes = revoke(world)
    assert (again["order"], pushes) == (first["order"], [])
    the_rest(world)
    later, pushes = revoke(world)  # the nodes have not said yet that they removed anything
    assert later["order"] != first["order"] and len(pushes) + sum(the_rest(world)) == REVOKED
    assert world.audit_kinds().count("revoked") == REVOKED


def test_nobody_is_let_in_again_before_all_of_theirs_is_revoked(world: World) -> None:
    """Otherwise what no pass has come to would be good again."""
    (node,) = fleet(world, 1)
    enrolled(world.conn, node, REVOKED)
    revoke(world)
    with pytest.raises(Refused, match=r"has come to \d+ of 450"):
        revoking.readmit(world.conn, "ada", "ann", "", world.clock)
    the_rest(world)
    revoking.readmit(world.conn, "ada", "ann", "", world.clock)
    assert {*states(world.conn)} == {"revoked"}


def test_an_answer_names_a_thousand_records_at_most(world: World) -> None:
    (node,) = fleet(world, 1)
    enrolled(world.conn, node, revoking.MOST_TOLD + 1)
    view, _ = revoke(world)
    assert (len(view["nodes"]), view["records"]) == (revoking.MOST_TOLD, revoking.MOST_TOLD + 1)


def scores(world: World) -> list[int]:
    return [*world.conn.scalars(select(schema.node.c.score).order_by(schema.node.c.id))]


def adopt(world: World, policy: Policy) -> list[Any]:
    """As `policy reload` does it; the world makes a runtime for each use."""
    rt = world.rt
    pushes = policies.adopt(world.conn, rt, policy, "ann", world.clock)
    world.policy = rt.policy
    return pushes


def test_a_policy_decides_at_once_and_comes_to_every_node_in_passes(world: World) -> None:
    nodes = fleet(world, AT_ONCE + 30)
    before = present(world, nodes[0])
    for node in nodes[1:]:
        present(world, node)
    adopt(world, STRICTER)
    assert 0 < scores(world).count(700) <= AT_ONCE and scores(world)[-1] == before
    assert present(world, nodes[-1]) == 700  # no pass has come to it, and the policy in force decides
    assert [order["kind"] for order in fleet_orders.running(world.conn)] == ["policy"]
    the_rest(world)
    assert {*scores(world)} == {700} and before > 700
    assert fleet_orders.listing(world.conn)[0]["state"] == "done"


def test_a_later_policy_takes_the_place_of_one_under_way(world: World) -> None:
    fleet(world, AT_ONCE + 30)
    adopt(world, STRICTER)
    adopt(world, msgspec.structs.replace(STRICTER, version="stricter still"))
    the_rest(world)
    first, second = fleet_orders.listing(world.conn)
    assert first["state"] == "superseded" and first["done"] <= AT_ONCE
    assert (second["subject"], second["state"], second["done"]) == ("stricter still", "done", AT_ONCE + 30)


def test_the_pass_of_time_waits_while_those_of_a_policy_run(world: World) -> None:
    fleet(world, AT_ONCE + 30)
    adopt(world, STRICTER)
    scheduler.sweep(world.conn, world.rt, world.clock, first=True)
    reached = select(schema.meta.c.value).where(schema.meta.c.key == "refreshed-to")
    assert world.conn.scalar(reached) == "0"
    the_rest(world)
    world.clock += 1
    scheduler.sweep(world.conn, world.rt, world.clock)
    assert (world.conn.scalar(reached) or "") > "0"


def test_two_orders_take_turns(world: World) -> None:
    nodes = fleet(world, 2 * AT_ONCE + 30)
    enrolled(world.conn, nodes[0], REVOKED)
    revoke(world)
    world.clock += 1
    adopt(world, STRICTER)
    come = [[each["done"] for each in fleet_orders.running(world.conn)]]
    for _ in range(2):
        world.clock += 1
        passes.go_on(world.conn, world.rt, world.clock)
        come.append([each["done"] for each in fleet_orders.running(world.conn)])
    first, second, third = come
    assert second[0] > first[0] and second[1] == first[1]  # the one that waited longer
    assert third[0] == second[0] and third[1] > second[1]


def test_a_pass_that_takes_long_ends_sooner() -> None:
    clock = itertools.count(0.0, 0.04)
    assert [*fleet_orders.bounded("abcdef", 0.1, lambda: next(clock))] == [(1, "a"), (2, "b"), (3, "c")]
    assert [*fleet_orders.bounded("abc", 0.0, lambda: 0.0)] == [(1, "a")]  # one at least, or it would never end
    assert [*fleet_orders.bounded("", 0.1, lambda: 0.0)] == []


def test_passes_that_took_long_still_come_to_everybody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (node,) = fleet(world, 1)
    enrolled(world.conn, node, 7)
    monkeypatch.setattr(fleet_orders.bounded, "__defaults__", (0.0, lambda: 0.0))
    revoke(world)
    assert the_rest(world) == [1] * 6 and {*states(world.conn)} == {"revoked"}


KILLED = """
import os, signal, sys
from authority import passes, revoking
from authority.store import Store
from tests.authority.test_passes import one_world
store = Store(sys.argv[1])
store.run(lambda conn: revoking.revoke_everywhere(conn, "ada", "ann", "left", 1.0) and None)
store.run(lambda conn: passes.go_on(conn, one_world(conn).rt, 2.0) and None)
def killed(conn):
    pushes, more = passes.go_on(conn, one_world(conn).rt, 3.0)
    print(len(pushes), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
store.run(killed)
"""


def one_world(conn: Any) -> World:
    return World(conn, default_policy())


def test_killed_within_a_pass_it_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'authority.db'}"
    store = Store(url)
    store.run(lambda conn: enrolled(conn, fleet(one_world(conn), 1)[0], 3 * AT_ONCE + 7) and None)
    store.close()
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, url], capture_output=True, text=True, timeout=120, check=False, cwd=Path.cwd()
    )
    assert ended.returncode == -signal.SIGKILL and 0 < int(ended.stdout) <= AT_ONCE, ended.stderr
    store = Store(url)
    try:
        (order,) = store.run(fleet_orders.running)
        assert order["done"] == store.run(states).count("revoked") and 0 < order["done"] <= 2 * AT_ONCE
        while store.run(lambda conn: passes.go_on(conn, one_world(conn).rt, 4.0)[1]):
            pass
        assert {*store.run(states)} == {"revoked"}
        row = schema.audit
        kinds = store.run(lambda conn: [*conn.scalars(select(row.c.data).where(row.c.kind == "revoked"))])
        assert len(kinds) == len({*kinds}) == 3 * AT_ONCE + 7
    finally:
        store.close()
