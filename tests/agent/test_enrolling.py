from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.biometrics.errors import StraySample
from agent.capturing import Booth
from agent.client import AuthorityClient
from agent.clocks import StoppableClock
from agent.config import EnrolmentSection, PresentationSection
from agent.enclave import EnclaveGate
from agent.enrolling import REPEATED, Enrolment, Guide, consent_to
from agent.errors import AgentError, AuthorityRefused, ConfigError, EnrolmentFailed
from agent.identity import pinned_context
from agent.profile import OpenProfile, ProfileKey, ProfileVault
from agent.room import NoRoom
from agent.state import StateDirectory
from authority.tpm import Guard, counter_index, verify_guard, verify_guarded_key, verify_nv
from hal import Disconnected, NotFound
from protocol.codec import decode
from protocol.digests import enrol_digest
from protocol.guard import FLOOR_LABEL
from protocol.messages import EnrolFinish, EnrolResult, EnrolSession, EnrolStart
from protocol.problems import ErrorCode
from simulators.devices.faults import Fault, FaultOrder
from tests.agent.people import GONE, FakeDevices, QuietPrompter, Scene, TextPipeline, modalities, pipelines
from tests.agent.scripted_authority import Raw, Refusal, ScriptedAuthority, served
from tests.agent.sealing import Holder, Node
from tests.agent.world import Tpm, delivery_key, identity, kos_for

GOOD = {"fingerprint": ["f1", "f2", "f3", "f4"], "face": ["face"], "voice": ["v1", "v2", "v3"]}


@dataclass
class Desk:
    """An enrolment at a node whose person shows what the scene says."""

    authority: ScriptedAuthority
    enrolment: Enrolment
    gate: EnclaveGate
    vault: ProfileVault
    prompter: QuietPrompter = field(default_factory=QuietPrompter)
    waits: list[float] = field(default_factory=list)
    holder: Holder = field(default_factory=Holder)

    @property
    def session(self) -> EnrolSession:
        return self.holder.session(self.enrolment.identity)

    def open(self) -> OpenProfile:
        return Node(self.gate, StateDirectory(Path()), self.vault, self.holder).open(record="r9")

    def guide(self, shows: dict[str, list[Any]], **settings: Any) -> Guide:
        devices = FakeDevices(Scene({name: list(line) for name, line in shows.items()}))
        clock = _Patient(threading.Event())
        booth = Booth("node-a", "alice", "enrolment", devices, modalities(), self.prompter, clock)
        return Guide(booth, self.enrolment.pipelines, EnrolmentSection(**settings))

    def enrol(self, shows: dict[str, list[Any]], **settings: Any) -> EnrolResult:
        guide = self.guide(shows, **settings)
        session = self.session
        chosen = self.enrolment.choose(session, ["fingerprint", "face", "voice"])
        return self.enrolment.finish(session, "alice", guide, chosen, consent_to(session, 7.0))

    def finished(self) -> list[EnrolFinish]:
        return [decode(body, EnrolFinish) for body in self.authority.seen("/v1/enrolments/e1")]


class _Patient(StoppableClock):
    """Time passes only as it is slept away, and does not pass while a frame is looked at."""

    def sleep(self, seconds: float) -> None:
        pass


@pytest.fixture
def desk(tmp_path: Path, state: StateDirectory, gate: EnclaveGate) -> Iterator[Desk]:
    with served(tmp_path) as authority:
        authority.on("PUT", "/v1/enrolments/e1", lambda _: EnrolResult(record_id="r9", state="pending"))
        authority.on("POST", "/v1/enrolments", lambda _: made.session)
        key = gate.run(delivery_key)
        vault, waits = ProfileVault(state, os.urandom), list[float]()
        with AuthorityClient(authority.url, pinned_context(authority.ca.pem), 5.0) as client:
            node = identity(kos_for(key), key)
            enrolment = Enrolment(
                node, client, vault, gate, pipelines(), PresentationSection(), lambda: 7.0, waits.append
            )
            made = Desk(authority, enrolment, gate, vault, waits=waits)
            yield made


def test_an_administrator_is_enrolled_with_a_certified_key_and_a_sealed_record(desk: Desk) -> None:
    assert desk.enrol(GOOD).state == "pending"
    (finish,) = desk.finished()
    ak = desk.gate.run(lambda enclave: enclave.attestation_key())
    key = finish.profile_key
    digest = enrol_digest("e1", "r9", b"n" * 32)
    assert not isinstance(finish.guard, msgspec.UnsetType) and not isinstance(finish.floor, msgspec.UnsetType)
    guard = Guard("r9", desk.holder.point, finish.guard.change_key)
    verify_guarded_key(key.attest, key.signature, ak, digest, key.public, finish.guard.public, guard)
    count = verify_guard(finish.guard.attest, finish.guard.signature, ak, digest, finish.guard.public, guard)
    assert (count.failures, count.limit) == (0, 15)
    floor = finish.floor
    verify_nv(floor.attest, floor.signature, ak, digest, floor.public, counter_index(FLOOR_LABEL))
    profile = desk.open()
    assert profile.header.admin == "alice"
    assert profile.templates["fingerprint"] == b'["f1", "f2", "f3", "f4"]'
    assert [*profile.templates] == ["fingerprint"]
    assert {*profile.sides} == {"face", "voice"}


def test_nothing_biometric_and_no_share_goes_to_the_authority(desk: Desk) -> None:
    desk.enrol(GOOD)
    body = desk.authority.seen("/v1/enrolments/e1")[0]
    profile = desk.open()
    version = profile.versions[0]
    helpers = [share.helper for share in version.secrets.shares.bound.values()]
    for secret in (*profile.templates.values(), *helpers, version.secrets.masked_auth, version.pepper, b"f1", b"v1"):
        import base64

        assert base64.b64encode(secret).rstrip(b"=") not in body


def test_consent_is_recorded_as_version_hash_and_time(desk: Desk) -> None:
    import hashlib

    desk.enrol(GOOD)
    (finish,) = desk.finished()
    wanted = ("1", hashlib.sha256(b"May we?").hexdigest(), 7.0)
    assert (finish.consent_version, finish.consent_sha256, finish.consent_at) == wanted


def test_a_refused_sample_is_explained_and_taken_again(desk: Desk) -> None:
    desk.enrol(GOOD | {"fingerprint": ["f1", "bad one", "f2", "f3", "f4"]})
    said = [(note.accepted, note.reason, note.done) for note in desk.prompter.feedbacks if note.step == "fingerprint"]
    assert said == [(True, "", 1), (False, "bad one is not clear", 1), (True, "", 2), (True, "", 3), (True, "", 4)]


def test_too_many_refusals_end_the_enrolment_with_the_reason_and_nothing_stored(desk: Desk) -> None:
    with pytest.raises(EnrolmentFailed, match="bad one is not clear"):
        desk.enrol(GOOD | {"fingerprint": ["bad one"]}, refusals=3)
    assert desk.vault.headers() == []
    assert desk.finished() == []


def test_a_face_that_never_becomes_clear_ends_with_the_reason(desk: Desk) -> None:
    with pytest.raises(EnrolmentFailed, match="bad light is not clear"):
        desk.enrol(GOOD | {"face": ["bad light"]}, capture_timeout_s=0.2)


def test_somebody_who_leaves_ends_the_enrolment(desk: Desk) -> None:
    desk.prompter.declines = {"voice"}
    with pytest.raises(EnrolmentFailed):
        desk.enrol(GOOD)
    assert desk.vault.headers() == []


def test_a_device_that_goes_away_ends_the_enrolment(desk: Desk) -> None:
    with pytest.raises(Disconnected):
        desk.enrol(GOOD | {"fingerprint": ["f1", GONE]}, capture_timeout_s=0.2)
    assert desk.vault.headers() == []


def test_a_device_that_comes_back_goes_on_with_the_enrolment(desk: Desk) -> None:
    desk.enrol(GOOD | {"fingerprint": ["f1", GONE, "f2", "f3", "f4"]})
    profile = desk.open()
    assert profile.templates["fingerprint"] == b'["f1", "f2", "f3", "f4"]'


def test_every_utterance_has_digits_of_its_own(desk: Desk) -> None:
    desk.enrol(GOOD)
    digits = [step.digits for step in desk.prompter.steps if step.step == "voice"]
    assert len(digits) == len(set(digits)) == 3
    assert all(len(each) == 6 and each.isdecimal() for each in digits)


def test_a_stray_sample_is_taken_anew(desk: Desk) -> None:
    class Picky(TextPipeline):
        def enrol(self, samples: Any) -> bytes:
            for index, sample in enumerate(samples):
                if sample.text == "stray":
                    raise StraySample(self.modality, index)
            return super().enrol(samples)

    desk.enrolment.pipelines["fingerprint"] = Picky("fingerprint")  # type: ignore[index]
    desk.enrol(GOOD | {"fingerprint": ["f1", "stray", "f3", "f4", "f2"]})
    profile = desk.open()
    assert profile.templates["fingerprint"] == b'["f1", "f3", "f4", "f2"]'


def test_a_refused_enrolment_leaves_no_record(desk: Desk) -> None:
    def refuse(_: bytes) -> object:
        raise Refusal(403, ErrorCode.ATTESTATION_REJECTED, "no")

    desk.authority.on("PUT", "/v1/enrolments/e1", refuse)
    with pytest.raises(AuthorityRefused):
        desk.enrol(GOOD)
    assert desk.vault.headers() == []


@pytest.mark.parametrize("answers", [[Raw(503, b""), Raw(503, b"")], [Raw(502, b"x")]])
def test_an_authority_that_is_away_is_asked_again(desk: Desk, answers: list[object]) -> None:
    script = [*answers, EnrolResult(record_id="r9", state="pending")]
    desk.authority.on("PUT", "/v1/enrolments/e1", lambda _: script.pop(0))
    assert desk.enrol(GOOD).state == "pending"
    assert len(desk.waits) == len(answers)


def test_an_enrolment_that_nobody_confirmed_keeps_its_record(desk: Desk) -> None:
    desk.authority.on("PUT", "/v1/enrolments/e1", lambda _: Raw(503, b""))
    with pytest.raises(AgentError, match="did not confirm"):
        desk.enrol(GOOD)
    assert [header.record_id for header in desk.vault.headers()] == ["r9"]


def test_too_few_sensors_are_a_configuration_error(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="2 modalities"):
        desk.enrolment.choose(desk.session, ["face"])
    chosen: Callable[..., list[str]] = desk.enrolment.choose
    assert chosen(desk.session, ["fingerprint", "voice"]) == ["fingerprint", "voice"]


def test_ticket_and_pin_travel_once_and_show_in_no_repr(desk: Desk) -> None:
    desk.enrolment.start("alice", "kvt1.x", "12345678")
    start = decode(desk.authority.seen("/v1/enrolments")[0], EnrolStart)
    assert (start.ticket, start.pin) == ("kvt1.x", "12345678")
    assert "12345678" not in repr(start)
    assert "kvt1" not in repr(start)
    assert repr(desk.session.sealed_share) not in repr(desk.session)


def test_a_full_tpm_is_noticed_before_the_ticket_is_spent(desk: Desk, tpm: Tpm) -> None:
    tpm.swtpm.inject(FaultOrder(Fault.NV_FULL))
    with pytest.raises(NoRoom, match="no room for another NV counter") as refused:
        desk.enrolment.start("alice", "kvt1.x", "12345678")
    assert "nvundefine" in refused.value.remedy and desk.authority.seen("/v1/enrolments") == []
    replace(desk.enrolment, check_room=False).start("alice", "kvt1.x", "12345678")
    assert len(desk.authority.seen("/v1/enrolments")) == 1
    tpm.swtpm.mend()
    desk.enrolment.start("alice", "kvt1.x", "12345678")  # the control: there is room


class _Remembering(TextPipeline):
    """A text that was given before is the same capture."""

    def digest(self, sample: Any) -> bytes:
        return b"digest of " + sample.text.encode()

    def replayed(self, past: Sequence[bytes], sample: Any) -> bool:
        return self.digest(sample) in past

    repeated = replayed


def test_the_same_capture_twice_is_refused_and_taken_anew_and_the_others_are_remembered(desk: Desk) -> None:
    desk.enrolment.pipelines["fingerprint"] = _Remembering("fingerprint")
    desk.enrol(GOOD | {"fingerprint": ["f1", "f2", "f2", "f3", "f4"]})
    said = [(note.accepted, note.reason) for note in desk.prompter.feedbacks if note.step == "fingerprint"]
    assert said == [(True, ""), (True, ""), (False, REPEATED), (True, ""), (True, "")]
    past = desk.open().past
    assert past == {"fingerprint": [b"digest of f1", b"digest of f2", b"digest of f3", b"digest of f4"]}


def test_a_pipeline_that_tells_no_replays_takes_the_same_capture_twice(desk: Desk) -> None:
    """Negative control of the test above."""
    desk.enrol(GOOD | {"fingerprint": ["f1", "f2", "f2", "f3"]})
    assert all(note.accepted for note in desk.prompter.feedbacks)


def test_a_refused_enrolment_leaves_no_guard_in_the_enclave(desk: Desk) -> None:
    def refuse(_: bytes) -> object:
        raise Refusal(403, ErrorCode.ATTESTATION_REJECTED, "no")

    desk.authority.on("PUT", "/v1/enrolments/e1", refuse)
    kept: list[ProfileKey] = []
    discard = desk.vault.discard

    def keep(record_id: str) -> None:
        kept.append(desk.vault.header(record_id).key)
        discard(record_id)

    desk.vault.discard = keep  # type: ignore[method-assign]
    with pytest.raises(AuthorityRefused):
        desk.enrol(GOOD)
    with desk.gate.use() as enclave, pytest.raises(NotFound):
        kept[0].guard_state(enclave)


def test_modalities_that_no_secret_can_be_bound_to_are_a_configuration_error(desk: Desk) -> None:
    desk.enrolment.pipelines["voice"] = TextPipeline("voice")  # type: ignore[index]
    with pytest.raises(ConfigError, match="can be bound to"):
        desk.enrolment.choose(desk.session, ["fingerprint", "voice"])
