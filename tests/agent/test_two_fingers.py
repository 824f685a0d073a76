"""Two fingers as one sample: each in its turn, both good, both matching, and not one finger twice."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from agent.capturing import Booth
from agent.clocks import StoppableClock
from agent.errors import BiometricError
from agent.extension import DIGEST_BYTES, RefusesReplays
from agent.modalities._two_fingers import TwoFingers
from agent.modalities.fingerprint import Fingerprint
from hal import Deadline, FingerprintImage
from simulators.personas import shipped_personas
from tests.agent.people import FakeDevices, QuietPrompter, Scene, Shown, TextPipeline


def shown(*texts: str) -> list[FingerprintImage]:
    return [Shown(np.zeros((2, 2), np.uint8), 500, 1, 1, text) for text in texts]


@pytest.fixture
def pipeline() -> TwoFingers:
    return TwoFingers(TextPipeline("fingerprint"))


def features(pipeline: TwoFingers, *texts: str):
    return pipeline.examine(shown(*texts), "challenge").features


def test_both_fingers_are_asked_for_in_turn() -> None:
    prompter = QuietPrompter()
    devices = FakeDevices(Scene({"fingerprint": ["thumb", "index", "thumb", "index"]}))
    modality = Fingerprint({"fingers": 2})
    clock = StoppableClock(threading.Event())
    booth = Booth("node-a", "alice", "enrolment", devices, {"fingerprint": modality}, prompter, clock)  # type: ignore[arg-type]
    with booth.session("fingerprint", 2, Deadline.after(5)) as session:
        samples = [session.take(1), session.take(2)]
    assert [[image.text for image in sample] for sample in samples] == [["thumb", "index"]] * 2
    told = [step.action for step in prompter.steps]
    assert told == ["place", "lift", "place-second", "lift", "place", "lift", "place-second"]


def test_the_model_says_that_two_are_needed(pipeline: TwoFingers) -> None:
    assert pipeline.model.traits_known == {"two-fingers"}
    assert Fingerprint({"fingers": 2}).pipeline().model.traits_known == {"two-fingers"}
    assert not Fingerprint({}).pipeline().model.traits_known


def test_a_refusal_names_the_finger(pipeline: TwoFingers) -> None:
    refused = pipeline.examine(shown("thumb", "bad index"), "challenge")
    assert refused.features is None
    assert refused.quality == 10
    assert refused.reason == "The second finger: bad index is not clear"


def test_both_must_match_in_their_order(pipeline: TwoFingers) -> None:
    template = pipeline.enrol([features(pipeline, "thumb", "index")] * 3)
    assert pipeline.match(template, features(pipeline, "thumb", "index")).accepted
    for wrong in (("thumb", "other"), ("other", "index"), ("index", "thumb"), ("thumb", "thumb")):
        assert not pipeline.match(template, features(pipeline, *wrong)).accepted


def test_one_finger_is_not_two(pipeline: TwoFingers) -> None:
    with pytest.raises(BiometricError, match="both fingers are the same"):
        pipeline.enrol([features(pipeline, "thumb", "thumb")] * 3)


def test_evidence_commits_to_both(pipeline: TwoFingers) -> None:
    both = features(pipeline, "thumb", "index").to_bytes()
    assert len(both) % 2 == 0
    assert both not in {features(pipeline, *other).to_bytes() for other in (("thumb", "ring"), ("ring", "index"))}


def test_a_damaged_template_is_an_error(pipeline: TwoFingers) -> None:
    for damaged in (b"", b"\xc1", b"\x91\xc4\x00"):
        with pytest.raises(BiometricError, match="cannot be read"):
            pipeline.match(damaged, features(pipeline, "thumb", "index"))


@pytest.mark.slow
def test_real_impressions_match_and_a_copy_of_either_is_refused() -> None:
    """Through the shipped pipeline, whose digests the pair must pass on; a new pair is the negative control."""
    pipeline = Fingerprint({"fingers": 2, "extractor": "fast"}).pipeline()
    assert isinstance(pipeline, RefusesReplays)
    one, other = shipped_personas()[:2]

    def given(first: int, second: int):
        pair = [FingerprintImage(*one.finger(first), 0, 0), FingerprintImage(*other.finger(second), 0, 0)]
        return pipeline.examine(pair, "challenge").features

    enrolled = [given(touch, touch) for touch in range(3)]
    template, past = pipeline.enrol(enrolled), [pipeline.digest(one) for one in enrolled]
    assert max(map(len, past)) <= DIGEST_BYTES
    for first, second, copied in ((3, 3, False), (0, 3, True), (3, 1, True)):
        assert pipeline.match(template, given(first, second)).accepted
        assert pipeline.replayed(past, given(first, second)) is copied
