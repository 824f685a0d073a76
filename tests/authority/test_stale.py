"""Nodes that nobody sees: told of, retired by the policy's rule and no other, held when the fault may be ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select

from authority import joining, scheduler, stale, standing
from authority.keys import add_member, create_network
from authority.refusal import Refused
from authority.store import schema, schema_fleet
from authority.trust import default_policy
from authority.trust.staleness import StaleRules
from protocol.levels import ResourceClass
from protocol.messages import ErasureOrder
from protocol.problems import ErrorCode
from tests.authority.nodes import Machine, Site
from tests.authority.world import World, open_world

DAY = 86400.0
RULES = StaleRules(alert_s=10 * DAY, retire_s=30 * DAY)
POLICY = msgspec.structs.replace(default_policy(), stale=RULES)
FLEET = 41
"""Nodes: of one less, two are five in a hundred."""


@pytest.fixture
def world() -> Iterator[World]:
    with open_world(POLICY) as opened:
        for number in range(FLEET):
            opened.node(f"n{number:02d}", state="active", score=900)
        see(opened)
        yield opened


def see(world: World, but: tuple[str, ...] = ()) -> None:
    """Every node, but those named, was seen just now."""
    row = schema.node
    world.conn.execute(row.update().where(row.c.name.not_in(but)).values(last_seen_at=world.clock))


def node_id(world: World, name: str) -> Any:
    return world.conn.scalar(select(schema.node.c.id).where(schema.node.c.name == name))


def live(world: World, days: int, silent: tuple[str, ...]) -> list[Any]:
    """So many days in which all nodes are seen but the silent ones; gives what is pushed."""
    pushes = []
    for _ in range(days):
        world.clock += DAY
        see(world, silent)
        pushes += stale.clean(world.conn, world.rt, world.clock)
    return pushes


def state(world: World, name: str) -> str:
    return str(world.conn.scalar(select(schema.node.c.state).where(schema.node.c.name == name)))


def kinds(world: World, name: str) -> list[str]:
    return [kind for _, kind in world.alerts(node_id(world, name))]


def steps(world: World, rules: StaleRules = RULES) -> dict[str, str]:
    return {each["node"]: each["step"] for each in stale.views(world.conn, rules, world.clock)}


def test_a_silent_node_is_told_of_and_later_retired_and_others_are_not(world: World) -> None:
    record, other = world.enrol(node_id(world, "n01")), world.enrol(node_id(world, "n02"))
    live(world, 9, ("n01",))
    assert kinds(world, "n01") == []
    live(world, 1, ("n01",))
    assert kinds(world, "n01") == ["node-stale"]
    live(world, 19, ("n01",))
    assert state(world, "n01") == "active" and steps(world) == {"n01": "warned"}
    pushes = live(world, 1, ("n01",))
    assert state(world, "n01") == "retired" and "node-stale-retired" in kinds(world, "n01")
    profiles = dict(world.conn.execute(select(schema.profile.c.record_id, schema.profile.c.state)).all())
    assert (profiles[record], profiles[other]) == ("revoked", "active")
    assert all(not isinstance(event, ErasureOrder) for _, event in pushes)  # it is told when it comes back
    assert {state(world, f"n{number:02d}") for number in range(2, FLEET)} == {"active"}
    assert "node-retire" in world.audit_kinds()


def test_without_the_section_nothing_is_told_and_nothing_goes(world: World) -> None:
    """The control, and the default."""
    world.policy = default_policy()
    live(world, 400, ("n01",))
    assert kinds(world, "n01") == [] and state(world, "n01") == "active"


def test_its_peers_lose_the_keys_to_it_as_after_an_isolation(world: World) -> None:
    world.conn.execute(schema.node.update().values(tier="high"))
    create_network(world.conn, world.rt, "net", world.clock)
    told = []
    for number, name in enumerate(("n01", "n02", "n03"), 1):
        args = ("net", node_id(world, name), f"10.0.0.{number}", ResourceClass.NORMAL)
        told += add_member(world.conn, world.rt, *args, world.clock)
    told = world.answered(told)
    peers = {each.peer for each in world.bundles(told)["n02"].associations}
    assert node_id(world, "n01") in peers
    live(world, 29, ("n01",))
    after = world.answered(live(world, 1, ("n01",)))
    left = {each.peer for each in world.bundles(after)["n02"].associations}
    assert node_id(world, "n01") not in left and node_id(world, "n03") in left
    assert "n01" not in world.bundles(after) or world.bundles(after)["n01"].associations == []


def test_a_node_that_is_seen_again_is_no_longer_stale(world: World) -> None:
    live(world, 12, ("n01",))
    live(world, 19, ())
    assert state(world, "n01") == "active" and steps(world) == {}
    live(world, 10, ("n01",))
    assert kinds(world, "n01") == ["node-stale"] * 2


def test_nobody_goes_without_having_been_told_of_for_a_day(world: World) -> None:
    """A policy that is put in force when a node has been silent for long already."""
    world.policy = default_policy()
    live(world, 100, ("n01",))
    world.policy = POLICY
    stale.clean(world.conn, world.rt, world.clock)
    stale.clean(world.conn, world.rt, world.clock + DAY - 1)
    assert state(world, "n01") == "active" and kinds(world, "n01") == ["node-stale"]
    live(world, 1, ("n01",))
    assert state(world, "n01") == "retired"


def test_when_too_many_would_go_none_does_until_an_operator_acts(world: World) -> None:
    silent = ("n01", "n02", "n03")
    live(world, 40, silent)
    assert {state(world, name) for name in silent} == {"active"} and set(steps(world).values()) == {"held"}
    assert [kind for _, kind in world.alerts()].count("stale-held") == 1
    standing.retire(world.conn, world.rt, node_id(world, "n03"), "ann", "scrapped", world.clock)
    live(world, 1, silent)
    assert {state(world, name) for name in silent} == {"retired"}


def test_a_share_of_the_fleet_may_go_by_itself(world: World) -> None:
    """The control of the test above: two of forty."""
    live(world, 30, ("n01", "n02"))
    assert (state(world, "n01"), state(world, "n02")) == ("retired", "retired")


def test_nobody_goes_day_by_day_beyond_the_share(world: World) -> None:
    live(world, 30, ("n01", "n02"))
    world.clock += 60
    see(world, ("n03",))
    last = world.clock - 31 * DAY
    world.set_node(node_id(world, "n03"), last_seen_at=last)
    world.conn.execute(insert(schema_fleet.stale_node).values(node_id=node_id(world, "n03"), alerted_at=last + DAY))
    stale.clean(world.conn, world.rt, world.clock)
    assert state(world, "n03") == "active" and steps(world)["n03"] == "held"
    live(world, 1, ("n03",))
    assert state(world, "n03") == "retired"


def test_the_brake_holds_it_too(world: World) -> None:
    live(world, 29, ("n01",))
    world.conn.execute(insert(schema.brake).values(engaged_at=world.clock, engaged_by="ann", cause="test"))
    live(world, 5, ("n01",))
    assert state(world, "n01") == "active" and steps(world) == {"n01": "held"}


def test_a_banned_node_stays_banned(world: World) -> None:
    standing.ban(world.conn, world.rt, node_id(world, "n01"), "ann", "stolen", world.clock)
    live(world, 40, ("n01",))
    assert state(world, "n01") == "banned" and steps(world) == {}


def test_an_outage_of_ours_is_nobody_s_silence(world: World) -> None:
    scheduler.sweep(world.conn, world.rt, world.clock, first=True)
    world.clock += 60 * DAY
    scheduler.sweep(world.conn, world.rt, world.clock, first=True)
    assert steps(world) == {} and [kind for _, kind in world.alerts()].count("node-stale") == 0
    live(world, 10, ("n01",))
    assert steps(world) == {"n01": "warned"}


def test_a_restart_does_not_count_silence_anew(world: World) -> None:
    live(world, 9, ("n01",))
    scheduler.sweep(world.conn, world.rt, world.clock, first=True)
    world.clock += 300
    scheduler.sweep(world.conn, world.rt, world.clock, first=True)
    live(world, 1, ("n01",))
    assert kinds(world, "n01").count("node-stale") == 1


def test_the_sweep_does_it() -> None:
    rules = StaleRules(alert_s=100, retire_s=300)
    with open_world(msgspec.structs.replace(default_policy(), lab=True, stale=rules)) as world:
        for name in ("n01", "n02"):
            world.node(name, state="pending")
        for _ in range(40):
            world.clock += 10
            see(world, ("n01",))
            scheduler.sweep(world.conn, world.rt, world.clock)
        assert (state(world, "n01"), state(world, "n02")) == ("retired", "pending")


def test_the_preview_changes_nothing_and_takes_other_limits(world: World) -> None:
    world.policy = default_policy()
    live(world, 20, ("n01",))
    rules = StaleRules(alert_s=DAY, retire_s=7 * DAY)
    before = world.audit_kinds(), world.alerts()
    (found,) = stale.views(world.conn, rules, world.clock)
    assert (found["node"], found["step"], found["silent_s"]) == ("n01", "alert", 20 * DAY)
    assert found["retire_at"] == world.clock + DAY
    assert (world.audit_kinds(), world.alerts()) == before
    assert world.conn.execute(select(schema_fleet.stale_node)).first() is None


def retired_as_stale(site: Site, machine: Machine, was: str = "active") -> None:
    site.policy = msgspec.structs.replace(site.policy, stale=msgspec.structs.replace(RULES, percent=100.0))
    machine.join(site)
    machine.enrol(site)
    site.set_node(machine.node_id, state=was, last_seen_at=site.clock, score=900, tier="high")
    for _ in range(30):
        site.clock += DAY
        site.run(stale.clean)
    assert site.node(machine.node_id).state == "retired"


def test_a_node_that_returns_joins_with_a_new_token_and_enrols_anew(site: Site, machine: Machine) -> None:
    retired_as_stale(site, machine)
    refused = site.refuses(joining.renew, site.ca, machine.renewal(site))
    assert "new token" in refused.remedy and "retired" in refused.remedy
    assert site.read(lambda conn: joining.node_of_certificate(conn, machine.certificate, site.clock)) is None
    site.clock += 1
    machine.join(site)
    node = site.node(machine.node_id)
    assert (node.state, node.tier, node.score) == ("pending", "low", 0)
    assert site.read(lambda conn: [*conn.scalars(select(schema.profile.c.state))]) == ["revoked"]
    assert [row.kind for row in site.audit("stale-returned")] == ["stale-returned"]
    site.run(stale.clean)
    assert site.node(machine.node_id).state == "pending"


def test_a_token_from_before_is_refused_with_the_reason(site: Site, machine: Machine) -> None:
    machine.join(site)
    token = site.token(ttl=60 * DAY)
    retired_as_stale(site, machine)
    with pytest.raises(Refused) as refused:
        site.start_join(machine.request(token))
    assert refused.value.code is ErrorCode.NODE_BANNED
    assert "nobody had seen it" in refused.value.detail and "node token" in refused.value.remedy


def test_one_that_an_operator_retired_does_not_return(site: Site, machine: Machine) -> None:
    """The control: only silence is forgiven, and not that of a node that was retired by order after an alert."""
    site.policy = msgspec.structs.replace(site.policy, stale=RULES)
    machine.join(site)
    site.clock += 11 * DAY
    site.run(stale.clean)
    site.run(standing.retire, machine.node_id, "ann", "scrapped")
    assert site.refuses_join(machine.request(site.token())) is ErrorCode.NODE_BANNED


def test_joining_is_no_release_from_an_isolation(site: Site, machine: Machine) -> None:
    retired_as_stale(site, machine, was="isolated")
    site.clock += 1
    machine.join(site)
    assert site.node(machine.node_id).state == "isolated"
