from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from agent.capturing import Booth
from agent.clocks import StoppableClock
from agent.config import PresentationSection
from agent.enclave import EnclaveGate
from agent.errors import BiometricError, StateError
from agent.failing import ReportTime
from agent.gathering import Gathering
from agent.modalities.voice import Voice
from agent.openings import OpeningStore
from agent.pipelines import Match
from agent.presentation import Answer, Presentation
from agent.profile import OpenProfile, ProfileVault, _key
from agent.state import StateDirectory
from agent.timings import Stopwatch
from authority.tpm import public_key, verify_quote
from hal import Deadline
from protocol.codec import ProtocolViolation, b64url, encode, unb64url
from protocol.digests import evidence_digest, failure_digest
from protocol.evidence import read_claims
from protocol.messages import Activation
from tests.agent.people import (
    BOUND,
    GONE,
    LATE,
    BindableText,
    FakeDevices,
    QuietPrompter,
    Scene,
    TextPipeline,
    modalities,
    pipelines,
)
from tests.agent.sealing import Node, text_draft
from tests.agent.world import NODE, SELECTION, Tpm, delivery_key, identity, kos_for
from tests.security.broken import replaced

RECORD = "r1"
GENUINE = {"fingerprint": ["finger"], "face": ["face"], "voice": ["voice"]}


@dataclass
class Stage:
    """A node with alice enrolled, whose presentations go through a real TPM."""

    node: Node
    vault: ProfileVault
    gate: EnclaveGate
    profile_public: bytes
    ak: bytes
    prompter: QuietPrompter
    clock: StoppableClock
    delivery: Any

    def present(self, shows: dict[str, list[Any]], **changes: Any) -> Answer:
        activation = changes.pop("begun", None) or self.activation(**changes.pop("activation", {}))
        senses, compared = changes.pop("modalities", modalities()), changes.pop("pipelines", pipelines())
        report, watch = changes.pop("report", None), changes.pop("watch", None) or Stopwatch()
        header = changes.pop("header", None) or self.vault.header(RECORD)
        lamp, second = changes.pop("lamp", None), changes.pop("second", None)
        settings = PresentationSection(**changes)
        devices = FakeDevices(Scene({name: list(line) for name, line in shows.items()}))
        devices.lamp, devices.second = lamp, second
        booth = Booth(
            "node-a", "alice", "challenge", devices, senses, self.prompter, self.clock, "4719", ("blink", "left")
        )
        booth = replace(booth, flashes=tuple(activation.hues))
        deadline = Deadline.after(activation.deadline_s, self.clock)
        presentation = Presentation(
            identity=identity(kos_for(self.delivery), self.delivery),
            certificate="cc" * 32,
            activation=activation,
            header=header,
            modalities=["fingerprint", "face", "voice"],
            gathering=Gathering(booth, compared, settings, deadline, watch),
            pipelines=compared,
            vault=self.vault,
            gate=self.gate,
            settings=settings,
            random=os.urandom,
            watch=watch,
            openings=OpeningStore(self.gate.state.openings, os.urandom, time.time),
            report=report or ReportTime(watch, self.clock, deadline_s=0.0),
        )
        answer = presentation.perform()
        if answer.evidence is not None:
            self.node.holder.settle(answer.evidence.share)
        return answer

    def activation(self, **changes: Any) -> Activation:
        with self.gate.use() as enclave:
            made = self.node.holder.activation(enclave, self.delivery, record_id=RECORD)
        return msgspec.structs.replace(made, **changes)


@pytest.fixture
def stage(gate: EnclaveGate, state: StateDirectory) -> Stage:
    node = Node(gate, state, ProfileVault(state, os.urandom))
    sealed = node.enrol(text_draft(RECORD, {name: line[0] for name, line in GENUINE.items()}))
    with gate.use() as enclave:
        delivery, ak = delivery_key(enclave), enclave.attestation_key()
    public = sealed.key.certified.public
    return Stage(node, node.vault, gate, public, ak, QuietPrompter(), StoppableClock(threading.Event()), delivery)


class _Patient(Voice):
    """A voice that may try thrice."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.effort = replace(self.effort, tries=3)


def test_the_right_person_gives_evidence_that_holds(stage: Stage) -> None:
    answer = stage.present(GENUINE)
    assert answer.evidence is not None
    token = answer.evidence.token
    claims = read_claims(token)
    assert [model.modality for model in claims.modalities] == ["fingerprint", "face", "voice"]
    assert [one.kind for one in claims.sensors] == ["fingerprint", "camera", "microphone"]
    assert (claims.iss, claims.challenge, claims.record) == (NODE, "c1", RECORD)
    assert (claims.eat_nonce, claims.certificate, claims.counter) == (b64url(b"n" * 32), "cc" * 32, 1)
    assert (claims.quality, claims.margin, claims.elapsed) == (4, 2, 0)
    signed, _, signature = token.rpartition(".")
    raw = unb64url(signature)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    public_key(stage.profile_public).verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(SHA256()))
    quote = answer.evidence.quote
    verify_quote(quote.attest, quote.signature, stage.ak, evidence_digest(token), SELECTION, quote.pcrs)


@pytest.mark.parametrize("shows", [GENUINE, {name: ["somebody else"] for name in GENUINE}])
def test_roots_and_pins_that_were_tried_are_wiped(stage: Stage, shows: dict[str, list[Any]]) -> None:
    """Whether one of them was right or none."""
    roots, pins, attempts, pin_of = list[bytes](), list[bytes](), OpenProfile.attempts, _key.pin_of

    def tried(*given: Any) -> Any:
        found = attempts(*given)
        roots.extend(each.root for each in found)
        return found

    def answered(*given: Any) -> bytes:
        pins.append(pin_of(*given))
        return pins[-1]

    with replaced(OpenProfile, "attempts", tried), replaced(_key, "pin_of", answered):
        stage.present(shows)
    assert roots and pins
    assert [each for each in (*roots, *pins) if each != bytes(32)] == []


def test_two_of_three_are_enough_and_only_they_are_named(stage: Stage) -> None:
    answer = stage.present(GENUINE | {"voice": ["somebody else"]})
    assert answer.evidence is not None
    assert [m.modality for m in read_claims(answer.evidence.token).modalities] == ["fingerprint", "face"]


@pytest.mark.parametrize(
    "shows",
    [
        {"fingerprint": ["other"], "face": ["other"], "voice": ["other"]},
        GENUINE | {"face": ["other"], "voice": ["other"]},
        {"fingerprint": ["bad 1"], "face": [LATE], "voice": ["bad 2"]},
        {"fingerprint": [GONE], "face": [GONE], "voice": [GONE]},
    ],
)
def test_the_wrong_person_gives_a_failure_report_that_says_nothing(stage: Stage, shows: dict[str, list[Any]]) -> None:
    answer = stage.present(shows, capture_timeout_s=0.3)
    assert answer.evidence is None
    assert answer.failure is not None
    quote = answer.failure.quote
    digest = failure_digest("c1", RECORD, b"n" * 32)
    verify_quote(quote.attest, quote.signature, stage.ak, digest, SELECTION, quote.pcrs)


def test_failure_reports_are_alike_whatever_failed(stage: Stage) -> None:
    """Only the signature's and the clock's encodings may differ in value, never the shape."""
    one = stage.present({"fingerprint": ["other"], "face": ["other"], "voice": ["other"]}).failure
    two = stage.present({"fingerprint": [GONE], "face": [GONE], "voice": [GONE]}, capture_timeout_s=0.3).failure
    assert one is not None
    assert two is not None
    assert len(one.quote.attest) == len(two.quote.attest)
    assert one.quote.pcrs == two.quote.pcrs
    three = stage.present({"fingerprint": GENUINE["fingerprint"], "face": ["other"], "voice": ["other"]}).failure
    assert three is not None
    forms = {(len(encode(each)), len(encode(each.quote.pcrs)), len(each.quote.signature)) for each in (one, two, three)}
    assert len(forms) == 1, "not even the length of the request tells how many modalities failed, or which"


def test_the_counter_grows_with_every_evidence(stage: Stage) -> None:
    counters = [read_claims(stage.present(GENUINE).evidence.token).counter for _ in range(3)]  # type: ignore[union-attr]
    assert counters == [1, 2, 3]


def test_commitments_hide_and_differ_although_the_features_are_the_same(stage: Stage) -> None:
    first, second = (read_claims(stage.present(GENUINE).evidence.token) for _ in range(2))  # type: ignore[union-attr]
    assert set(first.commitments).isdisjoint(second.commitments)


def test_a_finger_that_does_not_match_may_try_again(stage: Stage) -> None:
    shows = {"fingerprint": ["other", "other", "finger"], "face": ["face"], "voice": ["other"]}
    answer = stage.present(shows)
    assert answer.evidence is not None
    assert [step.action for step in stage.prompter.steps if step.step == "fingerprint"] == [
        "place",
        "lift",
        "place",
        "lift",
        "place",
    ]


def test_the_tries_of_a_finger_are_counted_over_quality_and_match(stage: Stage) -> None:
    shows = {"fingerprint": ["bad", "other", "other", "finger"], "face": ["face"], "voice": ["other"]}
    assert stage.present(shows).evidence is None


def test_no_further_try_is_asked_for_when_it_cannot_help(stage: Stage) -> None:
    stage.present({"fingerprint": ["other"], "face": [LATE], "voice": ["bad noise"]}, capture_timeout_s=0.3)
    assert sum(step.action == "place" for step in stage.prompter.steps) == 1


def test_a_sensor_that_comes_back_in_time_is_asked_again(stage: Stage) -> None:
    answer = stage.present({"fingerprint": [GONE, "finger"], "face": [GONE, "face"], "voice": [GONE, "voice"]})
    assert answer.evidence is not None
    assert len(read_claims(answer.evidence.token).modalities) == 3
    told = [(step.step, step.action) for step in stage.prompter.steps]
    assert told.count(("voice", "speak")) == 2
    assert told.count(("fingerprint", "place")) == 2


def test_a_bound_modality_is_not_asked_for_again_for_nothing_tells_that_it_is_wrong(stage: Stage) -> None:
    """Its probe alone cannot be told right from wrong, and every try at the enclave counts."""
    both = modalities(voice={}, fingerprint={}) | {"voice": _Patient({})}
    shows = {"fingerprint": ["other", "finger"], "face": ["face"], "voice": ["other", "voice"]}
    answer = stage.present(shows, modalities=both)
    assert answer.evidence is not None
    assert [m.modality for m in read_claims(answer.evidence.token).modalities] == ["fingerprint", "face"]
    assert sum(step.step == "voice" for step in stage.prompter.steps) == 1


def test_a_sensor_that_fails_at_a_further_try_ends_the_tries(stage: Stage) -> None:
    shows = {"fingerprint": ["other", LATE, "finger"], "face": ["face"], "voice": ["other"]}
    assert stage.present(shows).evidence is None


class _Damaged(BindableText):
    def consistent(self, side: bytes, sample: Any) -> bool:
        raise BiometricError("what is kept is damaged")


def test_a_modality_that_cannot_be_compared_counts_for_nothing(stage: Stage) -> None:
    answer = stage.present(GENUINE, pipelines=pipelines() | {"face": _Damaged("face")})
    assert answer.evidence is not None
    assert [m.modality for m in read_claims(answer.evidence.token).modalities] == ["fingerprint", "voice"]
    assert stage.present(GENUINE | {"voice": ["other"]}, pipelines=pipelines() | {"face": _Damaged("face")}).failure


def test_steps_carry_what_the_authority_drew(stage: Stage) -> None:
    stage.present(GENUINE)
    by_step = {step.step: step for step in stage.prompter.steps}
    assert by_step["voice"].digits == "4719"
    assert by_step["fingerprint"].digits == ""


def test_somebody_who_declines_a_step_does_without_it(stage: Stage) -> None:
    stage.prompter.declines = {"voice"}
    answer = stage.present(GENUINE)
    assert answer.evidence is not None
    assert len(read_claims(answer.evidence.token).modalities) == 2


def test_a_wrong_release_share_ends_in_a_failure_report(stage: Stage) -> None:
    stage.node.holder.shares[1] = b"x" * 32
    assert stage.present(GENUINE).failure is not None


def test_a_share_that_was_sealed_for_another_challenge_is_no_answer(stage: Stage) -> None:
    with pytest.raises(ProtocolViolation):
        stage.present(GENUINE, activation={"nonce": b"m" * 32})


def test_moved_pcrs_end_in_a_failure_report(stage: Stage, tpm: Tpm) -> None:
    before = stage.activation().approval
    tpm.extend()
    assert stage.present(GENUINE, activation={"approval": before}).failure is not None
    assert stage.present(GENUINE).evidence is not None


def test_evidence_says_which_share_opens_the_record_by_now(stage: Stage) -> None:
    shares = [stage.present(GENUINE).evidence.share for _ in range(3)]  # type: ignore[union-attr]
    assert shares == [2, 3, 4]


def test_a_refresh_that_fails_does_not_cost_the_evidence(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(stage.vault, "refresh", fail)
    answer = stage.present(GENUINE)
    assert answer.evidence is not None and answer.evidence.share is msgspec.UNSET
    monkeypatch.undo()
    assert stage.present(GENUINE).evidence is not None


def test_the_margin_is_that_of_the_modality_that_differed_most_in_coarse_steps(stage: Stage) -> None:
    answer = stage.present({"fingerprint": ["other"], "face": ["face"], "voice": ["voice"]})
    assert answer.evidence is not None
    claims = read_claims(answer.evidence.token)
    assert ([m.modality for m in claims.modalities], claims.margin) == (["face", "voice"], 4)


def test_digits_that_were_not_said_as_enrolled_take_the_voice_out(stage: Stage) -> None:
    answer = stage.present(GENUINE | {"voice": ["voice mumbled"]})
    assert answer.evidence is not None
    assert [m.modality for m in read_claims(answer.evidence.token).modalities] == ["fingerprint", "face"]


def test_nobody_is_let_in_by_released_modalities_alone(stage: Stage) -> None:
    """The finger matches, and so would a second released one: without a bound one there is no root."""
    assert stage.present(GENUINE | {"face": [LATE], "voice": [LATE]}, capture_timeout_s=0.3).evidence is None


def test_a_locked_key_ends_in_a_failure_report(stage: Stage) -> None:
    for _ in range(5):
        assert stage.present(GENUINE | {"face": ["other"], "voice": ["other"]}).failure is not None
    assert stage.present(GENUINE).failure is not None


def test_stopping_the_agent_ends_the_captures(stage: Stage) -> None:
    abort = threading.Event()
    stopped = replace(stage, clock=StoppableClock(abort))
    abort.set()
    assert stopped.present(GENUINE).evidence is None


class _Remembering(BindableText):
    """A text that was given before is a replay, whatever its case."""

    def digest(self, sample: Any) -> bytes:
        return sample.text.lower().encode()

    def replayed(self, past: Sequence[bytes], sample: Any) -> bool:
        return self.digest(sample) in past

    repeated = replayed


class _RememberingFinger(TextPipeline):
    digest, replayed, repeated = _Remembering.digest, _Remembering.replayed, _Remembering.replayed

    def match(self, template: bytes, sample: Any) -> Match:
        return Match(sample.text.lower().startswith(self.modality[:4]), 50)


def _remembering() -> dict[str, TextPipeline]:
    return {name: (_Remembering if name in BOUND else _RememberingFinger)(name) for name in pipelines()}


def _shown(take: str) -> dict[str, list[Any]]:
    return {name: [f"{name[:4]}{take}"] for name in pipelines()}


def test_a_capture_that_was_given_before_is_refused_although_it_matches(stage: Stage) -> None:
    """The new ones of the third presentation are the negative control: the same check lets them pass."""
    given = [stage.present(_shown(take), pipelines=_remembering()).evidence for take in ("1", "1", "2")]
    assert [evidence is not None for evidence in given] == [True, False, True]


def test_a_replayed_modality_does_not_stop_the_others(stage: Stage) -> None:
    stage.present(_shown("1"), pipelines=_remembering())
    answer = stage.present(_shown("2") | {"voice": ["voic1"]}, pipelines=_remembering())
    assert answer.evidence is not None
    assert [m.modality for m in read_claims(answer.evidence.token).modalities] == ["fingerprint", "face"]


def test_a_matching_capture_of_a_failed_presentation_is_remembered_and_a_stranger_s_is_not(stage: Stage) -> None:
    assert stage.present(GENUINE | {"face": ["other"], "voice": ["other"]}, pipelines=_remembering()).evidence is None
    assert stage.node.open(record=RECORD).past == {"fingerprint": [b"finger"]}


def test_the_log_says_that_a_capture_was_replayed_and_nothing_of_it(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        stage.present(_shown("1"), pipelines=_remembering())
    lines = [record.getMessage() for record in caplog.records if "given before" in record.getMessage()]
    assert len(lines) == 3
    assert not any("voic1" in line for line in lines)


def test_what_is_remembered_is_on_disk_before_the_evidence_leaves(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(stage.vault, "accept", fail)
    assert stage.present(GENUINE).evidence is None
