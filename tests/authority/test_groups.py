"""Challenge groups: one presentation is shared by quotes over exactly it, capped, and by nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from authority import challenges, groups, scheduler, signals
from authority.keys import FileKek
from authority.pki import CertificateAuthority
from authority.refusal import Refused
from authority.store import Store, schema
from authority.trust import parse_policy
from drivers.software_enclave import SoftwareEnclaveDriver
from protocol.digests import group_digest
from protocol.messages import BeginRequest, GroupSubmission, GroupSummons, Outcome, Verdict
from tests.authority.nodes import Site, random_bytes
from tests.authority.statement_nodes import StatementMachine
from tests.databases import database_url

POLICY = parse_policy(
    'version = "g"\n[enclaves]\nallowed = ["software"]\n[caps]\nsoftware_enclave = 800\n[groups]\ncap = 700'
)


def order(site: Site, change: Callable[..., None], group: str, node_id: str) -> None:
    site.read(lambda conn: change(conn, group, node_id, "operator", site.clock))


class Rack:
    """A sensor node and two members."""

    def __init__(self, site: Site, sensor: StatementMachine, members: list[StatementMachine]) -> None:
        self.site, self.sensor, self.members = site, sensor, members

    def present(self) -> dict[str, GroupSummons]:
        """One accepted presentation at the sensor node; the summonses that follow, by node id."""
        challenge_id = self.site.summon(self.sensor.node_id)
        activation = self.sensor.begin(self.site, challenge_id)
        self.site.clock += 8
        evidence = self.sensor.evidence(self.sensor.claims(activation))
        verdict, pushes = self.site.run(
            challenges.submit_evidence, self.sensor.node_id, self.sensor.certificate, challenge_id, evidence
        )
        assert verdict.outcome is Outcome.ACCEPTED
        return {node_id: event for node_id, event in pushes if isinstance(event, GroupSummons)}

    def submission(self, member: StatementMachine, summons: GroupSummons, **changes: object) -> GroupSubmission:
        said = {"challenge_id": summons.challenge_id, "nonce": summons.nonce, "evidence": summons.evidence_sha256}
        said |= changes
        return GroupSubmission(quote=member.quote(group_digest(*said.values())))  # type: ignore[arg-type]

    def answer(self, member: StatementMachine, summons: GroupSummons, submission: GroupSubmission) -> Verdict:
        verdict, _ = self.site.run(groups.answer, member.node_id, summons.challenge_id, submission)
        return verdict


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Rack]:
    ca = CertificateAuthority.create(tmp_path / "ca", ["localhost"], time.time())
    store = Store(database_url(tmp_path / "authority.db"))
    site = Site(store, ca, FileKek(random_bytes(32)), policy=POLICY)
    machines = []
    for name in ("desk", "rack-1", "rack-2"):
        enclave = SoftwareEnclaveDriver().open({"folder": str(tmp_path / name)})
        machines.append(StatementMachine(name, enclave.__enter__()))
        machines[-1].join(site)
    machines[0].enrol(site)
    order(site, groups.create, "racks", machines[0].node_id)
    for member in machines[1:]:
        order(site, groups.add, "racks", member.node_id)
    yield Rack(site, machines[0], machines[1:])
    store.close()
    for machine in machines:
        machine.enclave.__exit__(None, None, None)


def test_one_presentation_lifts_every_member_to_the_cap(rack: Rack) -> None:
    for _ in range(4):
        summonses = rack.present()
        assert set(summonses) == {member.node_id for member in rack.members}
        for member in rack.members:
            summons = summonses[member.node_id]
            verdict = rack.answer(member, summons, rack.submission(member, summons))
            assert verdict.outcome is Outcome.ACCEPTED
        rack.site.clock += 3600
    assert verdict.score == 700
    assert "the group's sensor node" in verdict.explanation
    assert rack.site.node(rack.members[0].node_id).state == "active"
    assert rack.site.node(rack.sensor.node_id).score == 800


def test_what_a_presentation_was_worth_is_shared_with_it(rack: Rack) -> None:
    summons = rack.present()[rack.members[0].node_id]
    rack.answer(rack.members[0], summons, rack.submission(rack.members[0], summons))
    row = schema.presentation
    kept = {
        each.node_id: (each.models, each.modalities)
        for each in rack.site.read(lambda conn: conn.execute(row.select()).all())
    }
    assert kept[rack.members[0].node_id] == kept[rack.sensor.node_id] != ("[]", "[]")


@pytest.mark.parametrize(
    ("sensor", "member"), [({"lab": True}, {"lab": False}), ({"enclave_kind": "software"}, {"enclave_kind": "tpm2"})]
)
def test_a_node_vouches_for_no_better_one(rack: Rack, sensor: dict[str, object], member: dict[str, object]) -> None:
    node_id = rack.members[0].node_id
    order(rack.site, groups.remove, "racks", node_id)
    before = rack.site.node(node_id)
    rack.site.set_node(rack.sensor.node_id, **sensor)
    rack.site.set_node(node_id, **member)
    with pytest.raises(Refused, match="vouches for no"):
        order(rack.site, groups.add, "racks", node_id)
    rack.site.set_node(node_id, lab=True, enclave_kind=before.enclave_kind)
    order(rack.site, groups.add, "racks", node_id)


@pytest.mark.parametrize("changed", ["challenge_id", "nonce", "evidence"])
def test_a_quote_over_anything_else_fails_the_member(rack: Rack, changed: str) -> None:
    first, second = rack.members
    summonses = rack.present()
    mine, other = summonses[first.node_id], summonses[second.node_id]
    values = {"challenge_id": other.challenge_id, "nonce": other.nonce, "evidence": bytes(32)}
    submission = rack.submission(first, mine, **{changed: values[changed]})
    verdict = rack.answer(first, mine, submission)
    assert (verdict.outcome, verdict.score) == (Outcome.REJECTED, 0)
    assert rack.answer(second, other, rack.submission(second, other)).outcome is Outcome.ACCEPTED


def test_a_member_cannot_answer_for_another(rack: Rack) -> None:
    first, second = rack.members
    summonses = rack.present()
    summons = summonses[second.node_id]
    with pytest.raises(Refused, match="no such challenge"):
        rack.answer(first, summons, rack.submission(first, summons))
    forged = rack.submission(first, summons)
    assert rack.answer(second, summons, forged).outcome is Outcome.REJECTED


def test_the_same_quote_has_the_same_verdict_and_another_is_refused(rack: Rack) -> None:
    member = rack.members[0]
    summons = rack.present()[member.node_id]
    submission = rack.submission(member, summons)
    verdict = rack.answer(member, summons, submission)
    assert rack.answer(member, summons, submission) == verdict
    with pytest.raises(Refused, match="no answer"):
        rack.answer(member, summons, rack.submission(member, summons, nonce=bytes(32)))


def test_a_silent_member_missed_it(rack: Rack) -> None:
    member = rack.members[0]
    summons = rack.present()[member.node_id]
    assert rack.site.run(groups.open_summons, member.node_id) == [summons]
    for _ in range(7):
        rack.site.run(scheduler.sweep)
        rack.site.clock += 10
    with pytest.raises(Refused):
        rack.answer(member, summons, rack.submission(member, summons))
    row = schema.presentation
    kinds = rack.site.read(lambda conn: [*conn.scalars(row.select().with_only_columns(row.c.kind))])
    assert sorted(kinds) == ["accepted", "missed", "missed"]


def test_a_group_challenge_takes_no_evidence_of_a_person(rack: Rack) -> None:
    member = rack.members[0]
    summons = rack.present()[member.node_id]
    with pytest.raises(Refused, match="no such challenge"):
        rack.site.run(challenges.begin, member.node_id, summons.challenge_id, BeginRequest(record_id="x"))


def test_who_is_banned_or_removed_shares_nothing(rack: Rack) -> None:
    first, second = rack.members
    rack.site.set_node(first.node_id, state="banned")
    order(rack.site, groups.remove, "racks", second.node_id)
    assert rack.present() == {}


def test_what_was_asked_before_a_node_was_taken_out_is_worth_nothing(rack: Rack) -> None:
    member = rack.members[0]
    summons = rack.present()[member.node_id]
    order(rack.site, groups.remove, "racks", member.node_id)
    with pytest.raises(Refused, match="takes no answer"):
        rack.answer(member, summons, rack.submission(member, summons))


@pytest.mark.parametrize(
    ("sensor", "member", "cause"),
    [
        ({"lab": True}, {"lab": False}, "a lab node"),
        ({"enclave_kind": "software"}, {"enclave_kind": "tpm2"}, "without a TPM"),
    ],
)
def test_what_a_member_shares_is_asked_anew_each_time(
    rack: Rack, sensor: dict[str, object], member: dict[str, object], cause: str
) -> None:
    """The other member, which is no better than the sensor node, is the control."""
    first, second = rack.members
    rack.site.set_node(second.node_id, lab=True)
    assert set(rack.present()) == {first.node_id, second.node_id}
    rack.site.clock += 3600
    rack.site.run(scheduler.sweep)
    rack.site.set_node(rack.sensor.node_id, **sensor)
    rack.site.set_node(first.node_id, **member)
    assert set(rack.present()) == {second.node_id}
    [record] = rack.site.audit("group-not-shared")
    assert record.node_id == first.node_id and cause in record.data


def test_a_sensor_node_in_the_low_tier_lifts_nobody(rack: Rack) -> None:
    sensor = rack.sensor.node_id
    rack.site.run(signals.confirm_hostile, sensor, "ada", "it scans")
    assert rack.present() == {}
    assert len(rack.site.audit("group-not-shared")) == 2
    rack.site.run(signals.absolve, sensor, "ada", "a drill")
    rack.site.clock += 3600
    assert set(rack.present()) == {member.node_id for member in rack.members}


def test_who_is_in_a_group_does_not_become_a_lab_node_or_end_being_one(rack: Rack) -> None:
    for machine in (rack.sensor, rack.members[0]):
        with pytest.raises(Refused, match="challenge group"):
            machine.join(rack.site, lab=not rack.site.node(machine.node_id).lab)
        machine.join(rack.site, lab=rack.site.node(machine.node_id).lab)
    order(rack.site, groups.remove, "racks", rack.members[0].node_id)
    rack.members[0].join(rack.site, lab=not rack.site.node(rack.members[0].node_id).lab)


def test_groups_do_not_nest_or_overlap(rack: Rack) -> None:
    site, member = rack.site, rack.members[0].node_id
    for call in (
        (groups.create, "racks", rack.sensor.node_id),
        (groups.create, "chain", member),
        (groups.add, "racks", rack.sensor.node_id),
        (groups.add, "racks", member),
        (groups.add, "nowhere", member),
        (groups.remove, "racks", rack.sensor.node_id),
    ):
        with pytest.raises(Refused):
            order(site, *call)


def test_a_failed_presentation_is_not_shared(rack: Rack) -> None:
    challenge_id = rack.site.summon(rack.sensor.node_id)
    activation = rack.sensor.begin(rack.site, challenge_id)
    rack.site.clock += 8
    _, pushes = rack.site.run(
        challenges.report_failure, rack.sensor.node_id, challenge_id, rack.sensor.failure(activation)
    )
    assert not [event for _, event in pushes if isinstance(event, GroupSummons)]
