"""Signals at the authority: who may speak about whom, once, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import select

from authority import audit, signals, standing
from authority.keys import add_member, create_network
from authority.refusal import Refused
from authority.signals import Source
from authority.store import schema
from protocol.levels import NodeState, ResourceClass, Tier
from protocol.problems import ErrorCode
from protocol.signals import Severity, SignalOutcome, SignalReport
from tests.authority.world import World, open_world

DAY = 86400.0
TAP = Source("suricata-1", node=False)


class Town:
    """Four nodes of one network in good standing, and one that is in none."""

    def __init__(self, world: World) -> None:
        self.world = world
        create_network(world.conn, world.rt, "core", world.clock)
        self.a, self.b, self.c, self.d = (world.node(name, state="active", score=880) for name in "abcd")
        self.stranger = world.node("stranger", state="active", score=880)
        for number, node in enumerate((self.a, self.b, self.c, self.d), 1):
            add_member(world.conn, world.rt, "core", node, f"10.7.0.{number}", ResourceClass.NORMAL, world.clock)
        for node in (self.a, self.b, self.c, self.d):
            for _ in range(4):
                world.clock += 60
                self.answer(node)

    def answer(self, node: str) -> standing.Standing:
        world = self.world
        ref = world.seed.randbytes(8).hex()
        return standing.record_presentation(world.conn, world.rt, node, ref, "accepted", 1000, 1000, world.clock)

    def report(self, **changes: object) -> SignalReport:
        base = SignalReport(
            source="test",
            node="a",
            kind="port-scan",
            severity=Severity.HIGH,
            confidence=1000,
            observed_at=self.world.clock,
            ttl=DAY,
            ref=self.world.seed.randbytes(8).hex(),
        )
        return msgspec.structs.replace(base, **changes)

    def send(self, source: Source | str, **changes: object) -> SignalOutcome:
        return self.deliver(source, self.report(**changes))

    def deliver(self, source: Source | str, report: SignalReport) -> SignalOutcome:
        who = Source(source, node=True) if isinstance(source, str) else source
        receipt, _ = signals.record(self.world.conn, self.world.rt, who, report, self.world.clock)
        return receipt.outcome

    def score(self, node: str) -> int:
        return int(self.world.row(node).score)


@pytest.fixture
def town() -> Iterator[Town]:
    with open_world() as world:
        yield Town(world)


def test_a_tap_is_believed_alone(town: Town) -> None:
    before = town.score(town.a)
    assert town.send(TAP) is SignalOutcome.RECORDED
    assert town.score(town.a) == before - 50
    assert "behaviour (port-scan)" in town.world.row(town.a).explanation
    assert town.world.audit_kinds()[-1] == "signal"


@pytest.mark.parametrize("name", ["a", "10.7.0.1"])
def test_a_node_is_found_by_name_and_by_address(town: Town, name: str) -> None:
    before = town.score(town.b)
    town.send(TAP, node=name)
    assert (town.score(town.a) < 870, town.score(town.b)) == (True, before)


def test_a_liar_alone_does_not_touch_its_neighbours(town: Town) -> None:
    before = [town.score(node) for node in (town.a, town.c)]
    for kind in ("port-scan", "flood", "malware"):
        for target in ("a", "c"):
            town.send(town.b, node=target, kind=kind, severity=Severity.CRITICAL)
    assert [town.score(node) for node in (town.a, town.c)] == before
    town.send(town.d, node="a")
    assert town.score(town.a) < before[0]


def test_two_neighbours_cost_no_more_than_the_behaviour_term(town: Town) -> None:
    before = town.score(town.a)
    for kind in ("port-scan", "flood", "malware", "spoofing"):
        for peer in (town.b, town.c, town.d):
            town.send(peer, kind=kind, severity=Severity.CRITICAL)
    assert town.score(town.a) == before - town.world.policy.weights.behaviour
    assert town.world.row(town.a).state == NodeState.ACTIVE


def test_a_node_that_lost_its_standing_loses_its_voice_and_what_it_said(town: Town) -> None:
    before = town.score(town.a)
    town.send(town.b)
    town.send(town.c)
    assert town.score(town.a) < before
    town.world.set_node(town.c, state="isolated")
    standing.refresh(town.world.conn, town.world.rt, town.a, town.world.clock)
    assert town.score(town.a) == before
    with pytest.raises(Refused, match="does not count now") as refused:
        town.send(town.c, kind="flood")
    assert refused.value.status == 403


def test_a_node_in_the_low_tier_has_no_voice_but_for_itself(town: Town) -> None:
    town.world.set_node(town.b, tier=Tier.LOW.value, score=300)
    with pytest.raises(Refused, match="does not count now"):
        town.send(town.b)
    assert town.send(town.b, node="b") is SignalOutcome.RECORDED


def test_a_self_report_lowers_at_once_and_nothing_raises(town: Town) -> None:
    before = town.score(town.a)
    town.send(town.a, node="a")
    lowered = town.score(town.a)
    assert lowered < before
    town.send(town.a, node="a", severity=Severity.LOW)
    town.send(town.a, node="a", severity=Severity.LOW, confidence=0)
    assert town.score(town.a) == lowered


def test_silence_of_the_reporter_raises_nothing_before_its_time(town: Town) -> None:
    town.send(town.a, node="a")
    lowered = town.score(town.a)
    town.world.clock += 60
    standing.refresh_after(town.world.conn, town.world.rt, "", 1000, town.world.clock)
    assert town.score(town.a) == lowered


def test_a_node_learns_nothing_of_strangers(town: Town) -> None:
    told = []
    for name in ("stranger", "no-such-node", town.stranger):
        with pytest.raises(Refused) as refused:
            town.send(town.b, node=name)
        told.append((refused.value.code, refused.value.status, refused.value.detail))
    assert len({*told}) == 1
    assert town.send(TAP, node="stranger") is SignalOutcome.RECORDED


def test_the_same_signal_again_changes_nothing(town: Town) -> None:
    report = town.report()
    assert town.deliver(TAP, report) is SignalOutcome.RECORDED
    score, rows = town.score(town.a), len(town.world.audit_kinds())
    assert town.deliver(TAP, report) is SignalOutcome.KNOWN
    assert (town.score(town.a), len(town.world.audit_kinds())) == (score, rows)
    with pytest.raises(Refused, match="another signal") as refused:
        town.deliver(TAP, msgspec.structs.replace(report, severity=Severity.LOW))
    assert refused.value.code is ErrorCode.REPLAYED


def test_the_number_of_another_source_is_its_own(town: Town) -> None:
    report = town.report()
    town.deliver(TAP, report)
    assert town.deliver(replace(TAP, reporter="zeek"), report) is SignalOutcome.RECORDED


def test_a_repeated_finding_keeps_one_row_alive(town: Town) -> None:
    for _ in range(50):
        town.world.clock += 1
        town.send(TAP)
    assert town.send(TAP, severity=Severity.LOW) is SignalOutcome.COVERED
    row = schema.signal
    alive = select(row.c.id).where(row.c.ended_at.is_(None))
    assert len(town.world.conn.scalars(alive).all()) == 1


def test_a_source_with_a_wrong_clock_is_told_so(town: Town) -> None:
    with pytest.raises(Refused, match="in the future"):
        town.send(TAP, observed_at=town.world.clock + 301)
    with pytest.raises(Refused, match="expired"):
        town.send(TAP, observed_at=town.world.clock - DAY)


def test_a_sure_tap_at_severity_critical_confirms_hostility(town: Town) -> None:
    town.send(TAP, severity=Severity.CRITICAL)
    row = town.world.row(town.a)
    assert (row.score, row.tier, row.state) == (500, "low", "demoted")
    assert ("critical", "node-hostile") in town.world.alerts(town.a)
    assert town.answer(town.a).score == 500


def test_an_operator_confirms_and_absolves(town: Town) -> None:
    world = town.world
    before = town.score(town.a)
    signals.confirm_hostile(world.conn, world.rt, town.a, "olga", "scans the plant", world.clock)
    assert town.score(town.a) == 500
    world.clock += 300
    town.answer(town.a)
    assert town.score(town.a) == 500
    signals.absolve(world.conn, world.rt, town.a, "olga", "it was a test", world.clock)
    assert town.score(town.a) >= before
    assert {"hostile-confirmed", "absolved"} <= {*world.audit_kinds()}
    assert audit.verify_log(world.conn).intact
    with pytest.raises(Refused, match="no signal"):
        signals.absolve(world.conn, world.rt, town.a, "olga", "again", world.clock)


def test_signals_are_listed_for_operators(town: Town) -> None:
    town.send(TAP)
    (found,) = signals.signal_list(town.world.conn, town.a, town.world.clock)
    assert (found["node"], found["kind"], found["origin"]) == ("a", "port-scan", "tap")
    assert signals.signal_list(town.world.conn, None, town.world.clock + 2 * DAY) == []


def test_a_node_s_signals_are_bounded_in_number(town: Town) -> None:
    for number in range(signals.MOST_OF_A_NODE):
        town.send(town.b, node="b", kind=f"kind-{number}")
    with pytest.raises(Refused) as refused:
        town.send(town.b, node="b", kind="one-more")
    assert refused.value.status == 429


def test_old_signals_are_forgotten_and_not_before_a_replay_needs_them(town: Town) -> None:
    town.send(TAP)
    town.world.clock += 32 * DAY
    town.send(TAP, kind="flood")
    row = schema.signal
    assert len(town.world.conn.scalars(select(row.c.id)).all()) == 2
    town.world.clock += 32 * DAY
    town.send(TAP, kind="spoofing")
    assert [*town.world.conn.scalars(select(row.c.kind))] == ["flood", "spoofing"]
