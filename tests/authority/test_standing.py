"""Standing: presentations, attestations and orders, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import select, update

from authority import audit, standing
from authority.keys import add_member, create_network
from authority.refusal import Refused
from authority.store import schema
from authority.trust.policy import EnclaveRules
from protocol.levels import Access, NodeState, ResourceClass, Tier
from protocol.messages import DeliveryEvent, StatusEvent
from tests.authority.world import World, devices, open_world

HOUR = 3600.0


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as made:
        yield made


class Story:
    """One node that presents itself again and again, six hours apart."""

    def __init__(self, world: World, name: str = "n1") -> None:
        self.world, self.node = world, world.node(name)
        self.count = 0

    def present(self, kind: str, speed: int | None = None, quality: int | None = None) -> standing.Standing:
        self.world.clock += 6 * HOUR
        self.count += 1
        challenge = f"{self.node[:8]}-{self.count}"
        world = self.world
        return standing.record_presentation(
            world.conn, world.rt, self.node, challenge, kind, speed, quality, world.clock
        )

    def good(self) -> standing.Standing:
        return self.present("accepted", 1000, 1000)

    def state(self) -> NodeState:
        return NodeState(self.world.row(self.node).state)


@pytest.fixture
def story(world: World) -> Story:
    return Story(world)


def test_a_fresh_node_is_pending_and_reaches_high_with_its_second_acceptance(story: Story) -> None:
    assert story.state() is NodeState.PENDING
    first, second = story.good(), story.good()
    assert (first.state, first.tier) == (NodeState.ACTIVE, Tier.MEDIUM)
    assert (second.state, second.tier) == (NodeState.ACTIVE, Tier.HIGH)


def test_failures_before_any_acceptance_leave_a_node_pending(story: Story) -> None:
    for _ in range(4):
        assert story.present("failed").state is NodeState.PENDING
    assert standing.status(story.world.conn, story.node).access is Access.ISOLATED


def test_an_impostor_lowers_step_by_step_and_is_isolated_with_alerts(story: Story) -> None:
    for _ in range(3):
        story.good()
    once, twice, thrice = (story.present("failed") for _ in range(3))
    assert (once.tier, once.state) == (Tier.MEDIUM, NodeState.ACTIVE)
    assert (twice.tier, twice.state) == (Tier.LOW, NodeState.DEMOTED)
    assert (thrice.tier, thrice.state) == (Tier.LOW, NodeState.ISOLATED)
    kinds = story.world.alerts(story.node)
    assert ("error", "tier-low") in kinds
    assert ("critical", "node-isolated") in kinds
    assert kinds.count(("warning", "presentation-failed")) == 3


def test_the_right_person_recovers_step_by_step(story: Story) -> None:
    for _ in range(3):
        story.good()
    for _ in range(3):
        story.present("failed")
    steps = [story.good() for _ in range(8)]
    states = [step.state for step in steps]
    assert states[:3] == [NodeState.ISOLATED, NodeState.DEMOTED, NodeState.ACTIVE]
    assert [step.tier for step in steps[:3]] == [Tier.LOW, Tier.LOW, Tier.MEDIUM]
    assert steps[-1].tier is Tier.HIGH
    assert ("notice", "node-released") in story.world.alerts(story.node)


def test_time_alone_does_not_end_the_step_after_isolation(story: Story) -> None:
    for kind in ("accepted", "failed", "failed", "failed", "accepted", "accepted"):
        story.present(kind, 1000, 1000)
    standing.refresh_after(story.world.conn, story.world.rt, "", 1000, story.world.clock + 60)
    assert story.state() is NodeState.DEMOTED


def test_a_missed_summons_makes_the_node_overdue_and_an_answer_ends_it(story: Story) -> None:
    story.good()
    before = story.good()
    missed = story.present("missed")
    assert missed.score < before.score
    assert missed.state is NodeState.OVERDUE
    assert "missed challenge" in missed.explanation
    assert story.good().state is NodeState.ACTIVE


def test_slow_and_poor_answers_alone_stay_medium(story: Story) -> None:
    tiers = {story.present("accepted", 0, 0).tier for _ in range(12)}
    assert tiers == {Tier.MEDIUM}


def test_a_failed_attestation_takes_everything_until_somebody_is_accepted_again(story: Story) -> None:
    world = story.world
    for _ in range(3):
        story.good()
    failed = standing.record_attestation(world.conn, world.rt, story.node, False, "PCR 4 differs", world.clock)
    assert (failed.score, failed.state) == (0, NodeState.DEMOTED)
    good_again = standing.record_attestation(world.conn, world.rt, story.node, True, "", world.clock)
    assert good_again.score == 0
    assert story.good().tier is Tier.HIGH
    assert world.alerts(story.node).count(("error", "attestation-failed")) == 1


def test_a_good_attestation_never_raises_a_score(story: Story) -> None:
    before = story.good().score
    world = story.world
    after = standing.record_attestation(world.conn, world.rt, story.node, True, "", world.clock).score
    assert after == before


def test_a_software_enclave_never_reaches_high(story: Story) -> None:
    policy = story.world.policy
    story.world.policy = msgspec.structs.replace(policy, enclaves=EnclaveRules(allowed=("tpm2", "software")))
    story.world.set_node(story.node, enclave_kind="software", devices=devices("software"))
    assert {story.good().tier for _ in range(6)} == {Tier.MEDIUM}
    story.world.policy = policy
    assert story.good().tier is Tier.LOW, "the policy allows the kind no more"


def test_a_hardware_enclave_does(story: Story) -> None:
    story.world.set_node(story.node, enclave_kind="tpm2", devices=devices("tpm2"))
    assert story.good().tier is Tier.MEDIUM
    assert story.good().tier is Tier.HIGH


@pytest.mark.parametrize("damaged", ["{", "[1]", '"dlib"'])
def test_a_presentation_that_cannot_be_read_counts_as_weak_and_holds_no_other_node_up(
    world: World, damaged: str
) -> None:
    mine, other = Story(world), Story(world, "n2")
    for each in (mine, mine, other, other):
        each.good()
    world.conn.execute(
        update(schema.presentation).where(schema.presentation.c.node_id == mine.node).values(models=damaged)
    )
    standing.refresh_after(world.conn, world.rt, "", 1000, world.clock)
    assert (world.row(mine.node).score, world.row(mine.node).tier) == (800, "medium")
    assert world.row(other.node).tier == "high"


def test_silence_brings_a_score_down(story: Story) -> None:
    world = story.world
    for _ in range(4):
        story.good()
    tiers = []
    for days in (1, 3, 5):
        standing.refresh_after(world.conn, world.rt, "", 1000, world.clock + days * 24 * HOUR)
        tiers.append(world.row(story.node).tier)
    assert tiers == ["high", "medium", "low"]


def test_orders_isolate_release_and_ban(story: Story) -> None:
    world = story.world
    for _ in range(3):
        story.good()
    pushes = standing.isolate(world.conn, world.rt, story.node, "olga", "looks odd", world.clock)
    assert story.state() is NodeState.ISOLATED
    assert [event.access for _, event in pushes if isinstance(event, StatusEvent)] == [Access.ISOLATED]
    standing.release(world.conn, world.rt, story.node, "olga", "was nothing", world.clock)
    assert story.state() is NodeState.DEMOTED
    assert story.good().tier is Tier.HIGH
    standing.ban(world.conn, world.rt, story.node, "olga", "stolen", world.clock)
    assert story.good().state is NodeState.BANNED
    assert ("critical", "node-banned") in world.alerts(story.node)


def test_an_isolation_by_order_needs_acceptances_made_since(story: Story) -> None:
    world = story.world
    for _ in range(5):
        story.good()
    standing.isolate(world.conn, world.rt, story.node, "olga", "", world.clock)
    standing.refresh_after(world.conn, world.rt, "", 1000, world.clock)
    assert story.good().state is NodeState.ISOLATED
    assert story.good().state is NodeState.DEMOTED


def test_a_released_node_is_not_isolated_again_for_its_old_failures(story: Story) -> None:
    world = story.world
    for kind in ("accepted", "failed", "failed", "failed"):
        story.present(kind, 1000, 1000)
    standing.release(world.conn, world.rt, story.node, "olga", "", world.clock)
    assert story.present("missed").state is NodeState.DEMOTED
    for _ in range(2):
        assert story.present("failed").state is NodeState.DEMOTED
    assert story.present("failed").state is NodeState.ISOLATED


def test_a_node_where_nobody_was_ever_accepted_is_released_to_pending(story: Story) -> None:
    world = story.world
    standing.ban(world.conn, world.rt, story.node, "olga", "", world.clock)
    standing.release(world.conn, world.rt, story.node, "olga", "", world.clock)
    assert story.state() is NodeState.PENDING


def test_an_order_that_the_state_does_not_allow_is_refused_with_a_remedy(story: Story) -> None:
    with pytest.raises(Refused, match="pending") as refused:
        standing.release(story.world.conn, story.world.rt, story.node, "olga", "", story.world.clock)
    assert refused.value.remedy
    with pytest.raises(Refused, match="no such node"):
        standing.ban(story.world.conn, story.world.rt, "ff" * 32, "olga", "", story.world.clock)


def test_a_repeated_order_changes_nothing(story: Story) -> None:
    world = story.world
    standing.ban(world.conn, world.rt, story.node, "olga", "", world.clock)
    count = len(world.audit_kinds())
    assert standing.ban(world.conn, world.rt, story.node, "olga", "", world.clock) == []
    assert len(world.audit_kinds()) == count


def test_a_ban_withdraws_the_open_challenge(story: Story) -> None:
    world = story.world
    values = {"id": "c1", "node_id": story.node, "epoch": 1, "state": "summoned", "reason": "scheduled"}
    world.conn.execute(schema.challenge.insert().values(**values, summoned_at=world.clock, expires_at=world.clock + 9))
    standing.ban(world.conn, world.rt, story.node, "olga", "", world.clock)
    assert world.conn.scalar(select(schema.challenge.c.state)) == "withdrawn"


def test_a_change_of_tier_reaches_the_keys_of_the_node_and_its_peers(world: World) -> None:
    one, two = Story(world, "one"), Story(world, "two")
    create_network(world.conn, world.rt, "core", world.clock)
    add_member(world.conn, world.rt, "core", one.node, "10.7.0.1", ResourceClass.NORMAL, world.clock)
    add_member(world.conn, world.rt, "core", two.node, "10.7.0.2", ResourceClass.NORMAL, world.clock)
    world.answered(two.good().pushes)
    medium = world.bundles(world.answered(one.good().pushes))
    high = world.bundles(world.answered(one.good().pushes))
    assert (medium["one"].version, medium["one"].access) == (2, Access.LIMITED)
    assert (high["one"].version, high["one"].access) == (3, Access.FULL)
    assert high["one"].epoch == medium["one"].epoch + 1
    assert max(link.version for link in high["two"].associations if link.direction == "inbound") == 3


def test_a_presentation_that_changes_nothing_else_delivers_no_key(world: World) -> None:
    story = Story(world)
    create_network(world.conn, world.rt, "core", world.clock)
    add_member(world.conn, world.rt, "core", story.node, "10.7.0.1", ResourceClass.NORMAL, world.clock)
    for _ in range(2):
        story.good()
    assert not [event for _, event in story.good().pushes if isinstance(event, DeliveryEvent)]


def test_every_change_is_in_the_audit_log(story: Story) -> None:
    world = story.world
    story.good()
    standing.isolate(world.conn, world.rt, story.node, "olga", "odd", world.clock)
    assert world.audit_kinds() == ["presentation", "standing", "node-isolate", "standing"]
    assert audit.verify_log(world.conn).intact
