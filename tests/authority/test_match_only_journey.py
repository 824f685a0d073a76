"""One machine whose fingerprint reader only matches, end to end: the agent, fprintd, a TPM, and the authority."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.clocks import StoppableClock
from agent.config import EnrolmentSection, PresentationSection
from agent.enclave import EnclaveGate
from agent.enrolling import Enrolment, Guide, consent_to
from agent.failing import ReportTime
from agent.gathering import Gathering
from agent.presentation import Answer, Presentation
from agent.profile import ProfileVault
from agent.releasing import approval_in
from agent.state import StateDirectory
from agent.timings import Stopwatch
from authority import challenges, enrolling
from authority.trust.policy import EnrolmentRules
from hal import Deadline, SystemClock
from protocol.digests import evidence_digest
from protocol.evidence import encode_token, read_claims
from protocol.levels import Ownership
from protocol.messages import Activation, EnrolFinish, EnrolResult, EvidenceSubmission, Outcome, Verdict
from simulators.devices.dbus import PrivateBus
from simulators.devices.libfprint_reader import VirtualFprintd
from tests.agent.match_only_rig import MATCH, Counter
from tests.agent.people import BindableText, TextFeatures
from tests.agent.world import identity, kos_for
from tests.authority.nodes import SELECTION, Machine, Site
from tests.drivers.system_bus import needs_bus, needs_fprintd

pytestmark = [needs_bus, needs_fprintd]


class Node:
    """The agent's own enrolment and presentation, with the authority in the same process."""

    def __init__(self, site: Site, machine: Machine, counter: Counter, state: StateDirectory) -> None:
        self.site, self.machine, self.counter = site, machine, counter
        self.activation: Activation | None = None
        machine.join(site)
        clock = StoppableClock(threading.Event())
        self.gate = EnclaveGate(state, lambda: nullcontext(machine.enclave), clock)  # type: ignore[arg-type,return-value]
        self.vault = ProfileVault(state, os.urandom)
        assert machine.delivery_key is not None
        node = identity(kos_for(machine.delivery_key), machine.delivery_key, machine.node_id)
        self.identity = msgspec.structs.replace(node, pcr_selection=[*SELECTION])

    def finish_enrolment(self, enrolment_id: str, finish: EnrolFinish) -> EnrolResult:
        """The authority's half, as the client would reach it."""
        return self.site.run(enrolling.finish_enrolment, self.machine.node_id, enrolment_id, finish)

    def enrol(self, modalities: list[str]) -> None:
        """Enrol; the TPM is shared with other tests, so that nobody owns it, and the authority is told so for now."""
        self.site.set_node(self.machine.node_id, ownership=Ownership.NONE.value)
        session = self.machine.start_enrolment(self.site)
        work = Enrolment(
            self.identity,
            self,  # type: ignore[arg-type]
            self.vault,
            self.gate,
            self.counter.pipelines,
            PresentationSection(),
            lambda: 7.0,
            lambda seconds: None,
        )
        guide = Guide(self.counter.booth("enrolment"), self.counter.pipelines, EnrolmentSection())
        chosen = work.choose(session, modalities)
        work.finish(session, "ada", guide, chosen, consent_to(session, 1.0))
        self.site.run(enrolling.approve, session.record_id, "operator")
        self.site.set_node(self.machine.node_id, ownership=Ownership.TAKEN.value)
        self.machine.record_id = session.record_id

    def present(self, finger: str = "alice") -> tuple[str, Answer]:
        """The challenge, and what this person gives for an answer."""
        activation = self.activation = self.machine.begin(self.site, self.site.summon(self.machine.node_id))
        header, watch, settings = self.vault.header(activation.record_id), Stopwatch(), PresentationSection()
        deadline = Deadline.after(20.0)
        gathering = Gathering(
            self.counter.booth("challenge", finger), self.counter.pipelines, settings, deadline, watch
        )
        presentation = Presentation(
            identity=self.identity,
            certificate=self.machine.certificate,
            activation=activation,
            header=header,
            modalities=[each.modality for each in header.modalities],
            gathering=gathering,
            pipelines=self.counter.pipelines,
            vault=self.vault,
            gate=self.gate,
            settings=settings,
            random=os.urandom,
            watch=watch,
            report=ReportTime(watch, SystemClock(), deadline_s=0.0),
        )
        answer = presentation.perform()
        self.site.clock += 5.0
        return activation.challenge_id, answer

    def submit(self, challenge_id: str, evidence: EvidenceSubmission) -> Verdict:
        return self.machine.submit(self.site, challenge_id, evidence)

    def accepted(self) -> Verdict:
        challenge_id, answer = self.present()
        assert answer.evidence is not None
        return self.submit(challenge_id, answer.evidence)


@pytest.fixture
def node(site: Site, machine: Machine, tmp_path: Path) -> Iterator[Node]:
    rules = EnrolmentRules(modalities=("face", "voice", MATCH), require={})
    site.policy = msgspec.structs.replace(site.policy, enrolment=rules)  # nobody makes gestures or speaks digits here
    with PrivateBus() as bus, VirtualFprintd(bus) as daemon:
        yield Node(site, machine, Counter(bus, daemon), StateDirectory.open(tmp_path / "state"))


def test_a_match_only_reader_counts_and_never_makes_the_node_high(node: Node, site: Site):
    node.enrol(["face", MATCH])
    verdicts = [node.accepted() for _ in range(5)]
    assert {verdict.outcome for verdict in verdicts} == {Outcome.ACCEPTED}
    assert verdicts[-1].score == 800
    assert "only says yes or no" in verdicts[-1].explanation
    assert site.node(node.machine.node_id).tier == "medium"


def test_the_same_machine_with_two_strong_modalities_becomes_high(node: Node, site: Site):
    """The negative control: the reader is there, and not needed."""
    node.enrol(["face", "voice", MATCH])
    verdicts = [node.accepted() for _ in range(4)]
    assert site.node(node.machine.node_id).tier == "high"
    assert verdicts[-1].score > 800


def test_another_finger_gives_no_evidence(node: Node, site: Site):
    node.enrol(["face", MATCH])
    challenge_id, answer = node.present("mallory")
    assert answer.evidence is None
    assert answer.failure is not None
    verdict, _ = site.run(challenges.report_failure, node.machine.node_id, challenge_id, answer.failure)
    assert verdict.outcome is Outcome.REJECTED
    assert node.accepted().outcome is Outcome.ACCEPTED


def test_a_node_that_hides_the_weakness_is_refused_even_with_its_own_key(node: Node, site: Site):
    """Root on the node signs another token with the real profile key, its sensor no longer said to be weak."""
    node.enrol(["face", MATCH])
    challenge_id, answer = node.present()
    assert answer.evidence is not None
    claims = read_claims(answer.evidence.token)
    assert [each.weak for each in claims.sensors] == [False, True]
    sensors = [msgspec.structs.replace(each, strength=msgspec.UNSET) for each in claims.sensors]
    verdict = node.submit(challenge_id, _signed(node, msgspec.structs.replace(claims, sensors=sensors)))
    assert verdict.outcome is Outcome.REJECTED
    reason = site.audit("rejected")[-1].data
    assert "not the one that was pinned" in reason
    assert node.accepted().outcome is Outcome.ACCEPTED


def _signed(node: Node, claims: Any) -> EvidenceSubmission:
    """By the root that opens with the face of whoever was there and the shares of the last challenge."""
    enclave, activation = node.machine.enclave, node.activation
    assert activation is not None
    shares, approval = node.machine.released(activation), approval_in(activation.approval)
    profile = node.vault.open(enclave, node.machine.node_id, claims.record, shares, approval)
    face = node.counter.pipelines["face"]
    assert isinstance(face, BindableText)
    attempt = profile.attempts({"face": face.embedding([TextFeatures("face")])}, frozenset({MATCH}))[0]
    token = encode_token(claims, lambda digest: attempt.sign(enclave, digest))
    return EvidenceSubmission(token=token, quote=node.machine.quote(evidence_digest(token)))
