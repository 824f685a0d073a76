"""The modality fingerprint-match with the real fprintd: enrolled at the reader, answered yes or no, withdrawn."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agent.config import EnrolmentSection, PresentationSection
from agent.enclave import EnclaveGate
from agent.enrolling import Enrolment, Guide, consent_to
from agent.errors import (
    AgentError,
    AuthorityRefused,
    AuthorityUnreachable,
    BiometricError,
    ConfigError,
    EnrolmentFailed,
)
from agent.extension import KeptAtDevice, Sensor
from agent.modalities.fingerprint import Fingerprint
from agent.modalities.fingerprint_match import Answer, FingerprintMatch, MatchPipeline, Reference
from agent.profile import ProfileVault
from agent.state import StateDirectory
from drivers.fprintd import FprintdDriver
from hal import Deadline, DeviceError, DeviceInfo, DeviceKind, Finger, NotFound, TimedOut, Transport, Unsupported
from protocol.messages import EnrolFinish, EnrolResult
from protocol.problems import ErrorCode, Problem
from simulators.devices.dbus import PrivateBus
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.libfprint_reader import VirtualFprintd
from tests.agent.daemon_site import make_site, summons
from tests.agent.match_only_rig import MATCH, Counter
from tests.agent.people import modalities as strong_modalities
from tests.agent.scripted_authority import served
from tests.agent.sealing import Holder
from tests.agent.world import delivery_key, identity, kos_for
from tests.drivers.system_bus import needs_bus, needs_fprintd, soon

pytestmark = [needs_bus, needs_fprintd]


@pytest.fixture(params=[False, True], ids=["host-templates", "reader-templates"])
def counter(request: pytest.FixtureRequest) -> Iterator[Counter]:
    with PrivateBus() as bus, VirtualFprintd(bus, storage=request.param) as daemon:
        yield Counter(bus, daemon)


def fingers(counter: Counter) -> tuple[Finger, ...]:
    """What the reader has enrolled."""
    with FprintdDriver().open({"bus": counter.bus.address}) as reader:
        return reader.enrolled(soon())


def template(counter: Counter, finger: str = "alice") -> bytes:
    guide = Guide(counter.booth("enrolment", finger), counter.pipelines, EnrolmentSection())
    return guide.enrolled(MATCH)


def answer(counter: Counter, finger: str, seconds: float = 20.0) -> Answer:
    with counter.booth("challenge", finger).session(MATCH, 1, Deadline.after(seconds)) as session:
        (found,) = session.take(1)
    assert isinstance(found, Answer)
    return found


def test_the_enrolled_finger_matches_its_reference_and_another_does_not(counter: Counter) -> None:
    enrolled = template(counter)
    assert fingers(counter) == (Finger.RIGHT_INDEX,)
    pipeline = counter.pipelines[MATCH]
    right, wrong = answer(counter, "alice"), answer(counter, "mallory")
    assert (right.matched, wrong.matched) == (True, False)
    assert pipeline.match(enrolled, right).accepted
    assert not pipeline.match(enrolled, wrong).accepted


def test_every_scan_of_an_enrolment_is_asked_for_with_its_number(counter: Counter) -> None:
    template(counter)
    told = [step.instruction for step in counter.prompter.steps if step.step == MATCH]
    assert len(told) > 1
    assert told == [
        f"Place the right index finger on the reader, scan {number + 1} of {len(told)}." for number in range(len(told))
    ]


def test_a_scan_that_does_not_count_is_asked_for_again_with_the_reason(counter: Counter) -> None:
    template(counter)
    counter.prompter.commands = ["RETRY 1"]
    assert answer(counter, "alice").matched
    assert "too short" in counter.prompter.steps[-1].instruction


def test_the_finger_of_the_configuration_is_compared_and_no_other_that_the_reader_knows(counter: Counter) -> None:
    """fprintd alone would take any finger of the user, also one that was enrolled for something else."""
    with FprintdDriver().open({"bus": counter.bus.address}) as reader:
        reader.enrol(Finger.LEFT_THUMB, soon(), lambda stage: counter.daemon.scan("mallory"))
    with pytest.raises(NotFound):
        answer(counter, "mallory")
    template(counter)
    assert not answer(counter, "mallory").matched
    assert answer(counter, "alice").matched


def test_enrolling_again_replaces(counter: Counter) -> None:
    template(counter)
    template(counter, "bob")
    assert fingers(counter) == (Finger.RIGHT_INDEX,)
    assert not answer(counter, "alice").matched
    assert answer(counter, "bob").matched


def test_a_person_who_does_not_come_is_waited_for_no_longer_than_the_deadline(counter: Counter) -> None:
    template(counter)
    with pytest.raises(TimedOut):
        answer(counter, "", seconds=0.5)
    assert answer(counter, "alice").matched


def test_a_reader_that_goes_away_during_an_enrolment_leaves_no_finger(counter: Counter) -> None:
    counter.daemon.inject(FaultOrder(Fault.PERMISSION_DENIED))
    with pytest.raises(DeviceError) as caught:
        template(counter)
    assert "polkit" in caught.value.remedy
    counter.daemon.mend()
    assert fingers(counter) == ()
    template(counter)
    assert fingers(counter) == (Finger.RIGHT_INDEX,)


def test_another_finger_by_configuration_does_not_match_the_reference(counter: Counter) -> None:
    enrolled = template(counter)
    other = Counter(counter.bus, counter.daemon, options='finger = "left-thumb"')
    template(other, "thumb of alice")
    found = answer(other, "thumb of alice")
    assert found.matched
    assert not other.pipelines[MATCH].match(enrolled, found).accepted
    assert "left thumb" in other.prompter.steps[-1].instruction


def test_evidence_is_told_that_the_reader_is_weak(counter: Counter) -> None:
    booth = counter.booth("challenge")
    template(counter)
    with booth.session(MATCH, 1, soon()) as session:
        session.take(1)
    assert booth.seen[MATCH].weak
    assert booth.seen[MATCH].strength == "match-only"
    assert not counter.devices.identify("face").weak


def test_a_reader_of_images_is_refused() -> None:
    class Images:
        info = DeviceInfo(DeviceKind.FINGERPRINT, "d", Transport.USB, "1", capabilities=frozenset({"image"}))
        closed = False

        def close(self) -> None:
            self.closed = True

    class Holder:
        purpose = "challenge"

        def use(self, work: Any) -> Any:
            return work(device)

    device = Images()
    with pytest.raises(Unsupported, match="does not compare"):
        next(FingerprintMatch({}).captures(Holder()))  # type: ignore[arg-type]
    assert device.closed


def reference(**changes: str) -> Reference:
    fields = {"driver": "fprintd", "transport": "system", "port": "1-2", "vendor_id": "05ba", "product_id": "000a"}
    return Reference(finger=Finger.RIGHT_INDEX, **{**fields, "serial": "s", "name": "Reader", **changes})


def test_features_have_a_fixed_form_that_names_the_reader_and_the_answer_only() -> None:
    yes, no = Answer(True, reference()).to_bytes(), Answer(False, reference()).to_bytes()
    assert len(yes) == len(no) == 2 * 18
    assert struct.unpack("<hh", yes[:4]) == (1, 1)
    assert struct.unpack("<hh", no[:4]) == (1, 0)
    assert yes[4:] == no[4:] == reference().digest()
    assert yes == Answer(True, reference()).to_bytes()
    assert Answer(True, reference(serial="t")).to_bytes() != yes


@pytest.mark.parametrize("field", ["driver", "transport", "port", "vendor_id", "product_id", "serial", "name"])
def test_another_reader_matches_no_reference(field: str) -> None:
    pipeline = MatchPipeline()
    enrolled = pipeline.enrol([Answer(True, reference())])
    assert pipeline.match(enrolled, Answer(True, reference())).accepted
    assert not pipeline.match(enrolled, Answer(True, reference(**{field: "another"}))).accepted


@pytest.mark.parametrize("damaged", [b"", b"{}", b"\xff", b"[]"])
def test_a_damaged_reference_is_an_error_of_the_modality(damaged: bytes) -> None:
    with pytest.raises(BiometricError):
        MatchPipeline().match(damaged, Answer(True, reference()))


@pytest.mark.parametrize(
    ("options", "named"), [({"finger": "nose"}, "finger"), ({"tries": 0}, "tries"), ({"x": 1}, "x")]
)
def test_wrong_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        FingerprintMatch(options)


@dataclass
class ScriptedClient:
    """An authority whose answers to the end of an enrolment are given."""

    script: list[Any]

    def finish_enrolment(self, enrolment_id: str, finish: EnrolFinish) -> EnrolResult:
        found = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(found, Exception):
            raise found
        return EnrolResult(record_id="r9", state="pending")


REFUSED = AuthorityRefused(Problem(title="no", status=403, code=ErrorCode.ATTESTATION_REJECTED))
LOST = AuthorityUnreachable("no answer", sent=True)


@dataclass
class Desk:
    """A node at which somebody enrols; the reader comes first, so that everything else can still fail."""

    counter: Counter
    vault: ProfileVault
    gate: EnclaveGate

    def enrol(self, *answers: Any, finger: str = "alice", record: str = "r9") -> EnrolResult:
        key = self.gate.run(delivery_key)
        client = ScriptedClient(list(answers) or ["yes"])
        node = identity(kos_for(key), key)
        work = Enrolment(
            node,
            client,  # type: ignore[arg-type]
            self.vault,
            self.gate,
            self.counter.pipelines,
            PresentationSection(),
            lambda: 7.0,
            lambda seconds: None,
        )
        guide = Guide(self.counter.booth("enrolment", finger), self.counter.pipelines, EnrolmentSection(refusals=2))
        session = Holder().session(node, record_id=record, modalities=["face", "voice", MATCH])
        return work.finish(session, "alice", guide, [MATCH, "face", "voice"], consent_to(session, 7.0))


@pytest.fixture
def desk(counter: Counter, state: StateDirectory, gate: EnclaveGate) -> Desk:
    return Desk(counter, ProfileVault(state, os.urandom), gate)


def test_a_profile_with_a_finger_at_the_reader_is_enrolled_and_holds_it(desk: Desk) -> None:
    assert desk.enrol().state == "pending"
    (header,) = desk.vault.headers()
    assert [sensor.weak for sensor in header.sensors] == [True, False, False]
    assert fingers(desk.counter) == (Finger.RIGHT_INDEX,)
    assert desk.vault.holds(MATCH, "r9")


def test_an_enrolment_that_fails_later_leaves_no_finger_behind(desk: Desk) -> None:
    desk.counter.shows["voice"][:] = ["bad noise"]
    with pytest.raises(EnrolmentFailed):
        desk.enrol()
    assert fingers(desk.counter) == ()
    assert desk.vault.headers() == []


def test_an_enrolment_that_the_authority_refuses_leaves_no_finger_behind(desk: Desk) -> None:
    with pytest.raises(AuthorityRefused):
        desk.enrol(REFUSED)
    assert fingers(desk.counter) == ()


def test_an_enrolment_that_may_be_registered_keeps_its_finger(desk: Desk) -> None:
    with pytest.raises(AgentError, match="did not confirm"):
        desk.enrol(LOST)
    assert fingers(desk.counter) == (Finger.RIGHT_INDEX,)


def test_a_second_enrolment_takes_the_reader_away_from_the_first(desk: Desk) -> None:
    """Also one that fails, or that ends without a trace once it has begun: the first finger is gone by then."""
    desk.enrol()
    desk.counter.shows["voice"][:] = ["bad noise"]
    with pytest.raises(EnrolmentFailed):
        desk.enrol(finger="bob", record="r10")
    assert not desk.vault.holds(MATCH, "r9")
    assert fingers(desk.counter) == ()


def test_only_what_stays_at_a_device_is_withdrawn(counter: Counter) -> None:
    assert isinstance(counter.modalities[MATCH], KeptAtDevice)
    assert not any(isinstance(each, KeptAtDevice) for each in strong_modalities().values())


class KeptFingerprint(Fingerprint):
    """A reader of images that keeps the template as well."""

    def withdraw(self, sensor: Sensor) -> None:
        pass


def test_only_whose_template_the_device_keeps_may_answer_by_it(
    tmp_path: Path, state: StateDirectory, gate: EnclaveGate
) -> None:
    with served(tmp_path) as authority:
        site = make_site(authority, state, gate)
        plain = site.daemon().answerer
        kept = replace(plain, modalities={**plain.modalities, "fingerprint": KeptFingerprint({})})
        header = plain.vault.header("r1")
        assert plain._usable(summons(), header) == ["fingerprint", "face", "voice"]
        assert kept._usable(summons(), header) == ["face", "voice"]
        kept.vault.hold("fingerprint", "r1")
        assert kept._usable(summons(), header) == ["fingerprint", "face", "voice"]
        kept.vault.hold("fingerprint", "r2")
        assert kept._usable(summons(), header) == ["face", "voice"]
