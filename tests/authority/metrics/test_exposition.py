"""What a scrape says: against the database and the events that it counts."""

from __future__ import annotations

import random

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, update

from authority import audit, standing
from authority.alerts import ledger, raise_alert
from authority.keys import networks
from authority.metrics import Meter, Plane, Snapshot, names, take_snapshot
from authority.metrics.decisions import DecisionCounter
from authority.store import schema
from authority.trust import PresentationKind
from protocol.levels import ResourceClass
from tests.authority.world import World, open_world

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(meter: Meter, snapshot: Snapshot) -> Values:
    text = meter.exposition(snapshot).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(world: World, *destinations: str) -> Values:
    return parsed(Meter(), take_snapshot(world.conn, destinations, world.clock))


def test_nodes_are_counted_by_state_and_tier() -> None:
    with open_world() as world:
        for name, state, score in (("a", "active", 900), ("b", "active", 900), ("c", "isolated", 100)):
            world.node(name, state=state, score=score)
        said = scrape(world)
    assert said["keyvigil_nodes", (("state", "active"), ("tier", "high"))] == 2
    assert said["keyvigil_nodes", (("state", "isolated"), ("tier", "low"))] == 1


def test_deliveries_and_rotations_are_counted_until_they_are_installed() -> None:
    with open_world() as world:
        networks.create_network(world.conn, world.rt, "net", world.clock)
        pushes = []
        for number, name in enumerate(("a", "b"), 1):
            node = world.node(name, state="active", score=900)
            pushes += networks.add_member(
                world.conn, world.rt, "net", node, f"10.0.0.{number}", ResourceClass.NORMAL, world.clock
            )
        world.clock += 7
        before = scrape(world)
        world.answered(pushes)
        after = scrape(world)
    assert before["keyvigil_key_deliveries_total", ()] == len(pushes) == 3
    assert before["keyvigil_key_deliveries_waiting", ()] > 0
    assert before["keyvigil_rotation_longest_wait_seconds", ()] == 7
    assert before["keyvigil_rotation_members_waited_for", ()] == 2
    assert after["keyvigil_rotation_members_waited_for", ()] == after["keyvigil_key_deliveries_waiting", ()] == 0
    assert after["keyvigil_rotation_networks", ()] == 0


def test_an_outbox_is_shown_per_destination() -> None:
    with open_world() as world:
        raise_alert(world.conn, "critical", "node-isolated", None, "x", {}, world.clock)
        raise_alert(world.conn, "info", "log-checkpoint", None, "x", {}, world.clock)
        ledger.count_sent(world.conn, "fast", 2, 1, world.clock)
        ledger.count_failure(world.conn, "slow", 1, "refused", world.clock)
        world.clock += 40
        said = scrape(world, "fast", "slow")
    fast, slow = (("destination", "fast"),), (("destination", "slow"),)
    assert (said["keyvigil_alerts_waiting", fast], said["keyvigil_alerts_waiting", slow]) == (0, 2)
    assert (said["keyvigil_alerts_sent_total", fast], said["keyvigil_alerts_failed_total", slow]) == (1, 1)
    assert said["keyvigil_alerts_oldest_wait_seconds", slow] == 40
    assert said["keyvigil_alerts_unacknowledged", (("severity", "critical"),)] == 1


def test_challenges_are_counted_by_outcome_and_once() -> None:
    with open_world() as world:
        node = world.node("a", state="active", score=900)
        counter, meter = DecisionCounter(), Meter()
        counter.read(world.conn)
        world.enrol(node)
        for number, kind in enumerate((PresentationKind.MISSED, PresentationKind.FAILED, PresentationKind.MISSED)):
            challenge = f"{number:032x}"
            row = {"id": challenge, "node_id": node, "epoch": number, "state": kind.value, "reason": "scheduled"}
            world.conn.execute(insert(schema.challenge).values(**row, summoned_at=0, expires_at=1))
            standing.record_presentation(world.conn, world.rt, node, challenge, kind, None, None, world.clock)
        audit.append(world.conn, "undecided", "authority", node, {"challenge": "", "reason": ""}, world.clock)
        for _ in range(2):
            meter.decided(*counter.read(world.conn))
        said = parsed(meter, Snapshot())
    outcomes = {labels[0][1]: value for (name, labels), value in said.items() if name == "keyvigil_challenges_total"}
    assert outcomes == {"accepted": 0, "missed": 2, "failed": 1, "undecided": 1}
    assert said["keyvigil_decisions_total", (("kind", "presentation"),)] == 3


def test_a_process_counts_what_it_sees() -> None:
    meter = Meter()
    meter.attested("accepted")
    meter.judged(0.004)
    meter.acknowledged(2.0, installed=True)
    meter.acknowledged(None, installed=True)
    meter.acknowledged(3.0, installed=False)
    meter.transaction(0.001, 0.003)
    meter.shaken_hands(Plane.NODE)
    meter.swept(-0.1, 0.2)
    said = parsed(meter, Snapshot())
    assert said["keyvigil_attestations_total", (("outcome", "accepted"),)] == 1
    assert said["keyvigil_verdict_duration_seconds_count", ()] == 1
    assert said["keyvigil_key_install_duration_seconds_sum", ()] == 2
    assert said["keyvigil_key_install_failures_total", ()] == 1
    assert said["keyvigil_database_wait_duration_seconds_sum", ()] == pytest.approx(0.001)
    assert said["keyvigil_tls_handshakes_total", (("plane", "node"),)] == 1
    assert said["keyvigil_scheduler_lag_seconds_sum", ()] == 0


def test_two_processes_share_nothing() -> None:
    one, two = Meter(), Meter()
    one.judged(1)
    assert parsed(two, Snapshot())["keyvigil_verdict_duration_seconds_count", ()] == 0


def test_cardinality_does_not_grow_with_the_fleet() -> None:
    seed = random.Random(3)
    with open_world() as world:
        for number in range(40):
            world.node(f"n{number}", state="active", score=seed.choice((100, 600, 900)))
        few = len(scrape(world))
        for number in range(40, 400):
            world.node(f"n{number}", state="active", score=seed.choice((100, 600, 900)))
        text = Meter().exposition(take_snapshot(world.conn, (), world.clock)).decode()
        assert len(scrape(world)) == few
    assert "n17" not in text


def test_every_metric_that_is_named_is_exposed() -> None:
    with open_world() as world:
        world.node("a", state="active")
        world.conn.execute(update(schema.node).values(next_delivery=4))
        text = Meter().exposition(take_snapshot(world.conn, ("d",), world.clock)).decode()
    of_the_process = {names.HEALTH, names.CERTIFICATE_END, names.CONNECTED, names.GENERATION, names.SERVED_BY}
    missing = [each.name for each in names.ALL if each not in of_the_process and f"# TYPE {each.name} " not in text]
    assert missing == []
    assert "keyvigil_key_deliveries_total 3.0" in text and "_created" not in text
