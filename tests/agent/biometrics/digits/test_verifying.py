from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from agent.biometrics import BiometricError, CaptureRefused, Purpose, Recording, VoicePipeline, enrol, match
from agent.biometrics.digits import DigitVerifier, consistency, consistent
from tests.agent.biometrics.digits.conftest import ENROLLED, Say

EVERYBODY = range(4)


@pytest.mark.parametrize("person", EVERYBODY)
@pytest.mark.parametrize("digits", ["40718259", "99017364", "55221088"])
def test_the_right_digits_are_heard_and_agree_with_the_enrolled_takes(
    verifier: DigitVerifier, enrolled: list[list[bytes]], say: Say, person: int, digits: str
) -> None:
    heard = verifier.listen(say(person, digits).samples(), digits)
    assert heard.accepted
    assert consistent(enrolled[person], heard.takes)


@pytest.mark.parametrize("person", EVERYBODY)
@pytest.mark.parametrize(
    ("said", "asked"), [("40718259", "16532047"), ("99017364", "12345678"), ("12345678", "87654321")]
)
def test_other_digits_and_another_order_are_refused_at_the_match_whoever_speaks(
    verifier: DigitVerifier, enrolled: list[list[bytes]], say: Say, person: int, said: str, asked: str
) -> None:
    heard = verifier.listen(say(person, said).samples(), asked)
    assert not consistent(enrolled[person], heard.takes)
    assert not consistent([], heard.takes), "nor without takes of their own"


@pytest.mark.parametrize(("said", "asked"), [("4071", "40718259"), ("40718259", "4071"), ("407", "740")])
def test_missing_and_further_digits_and_two_in_the_wrong_order_are_refused(
    verifier: DigitVerifier, enrolled: list[list[bytes]], say: Say, said: str, asked: str
) -> None:
    assert not consistent(enrolled[1], verifier.listen(say(1, said).samples(), asked).takes)
    assert consistent(enrolled[1], verifier.listen(say(1, said).samples(), said).takes)


def test_the_own_takes_set_apart_what_differs_in_one_place(
    verifier: DigitVerifier, enrolled: list[list[bytes]], say: Say
) -> None:
    """One digit of eight is worth little to the network alone; the person's own takes make the difference larger."""
    right = verifier.listen(say(1, "40718259").samples(), "40718259")
    near = verifier.listen(say(1, "40718259").samples(), "40718254")
    own_gap = consistency(enrolled[1], right.takes) - consistency(enrolled[1], near.takes)
    assert own_gap > right.score - near.score > 0


@pytest.mark.parametrize("sound", ["silence", "noise", "nothing", "click"])
def test_what_is_no_speech_is_refused_at_the_sensor(verifier: DigitVerifier, sound: str) -> None:
    random = np.random.default_rng(0)
    samples = {
        "silence": np.zeros(80_000, np.float32),
        "noise": random.normal(0, 0.1, 80_000).astype(np.float32),
        "nothing": np.zeros(0, np.float32),
        "click": np.ones(300, np.float32),
    }[sound]
    assert not verifier.listen(samples, "40718259").accepted


def test_each_digit_is_found_where_it_was_said(verifier: DigitVerifier, say: Say) -> None:
    first, second = say(1, "407").pcm, say(1, "182").pcm
    gap = np.zeros(16_000, np.int16)
    joined = Recording(np.concatenate([first, gap, second]), 16_000)
    spoken = verifier.listen(joined.samples(), "407182").spoken
    middle = len(first) / 16_000 + 0.5
    assert [digit.end < middle for digit in spoken] == [True] * 3 + [False] * 3
    assert all(one.start < one.end <= other.start for one, other in pairwise(spoken))
    assert all(0.1 < digit.end - digit.start < 1.2 for digit in spoken)
    assert all(digit.score <= 0.0 for digit in spoken)


def test_telephone_and_high_rates_are_heard_alike(verifier: DigitVerifier, say: Say) -> None:
    import soxr

    pcm = say(1, "407182").pcm
    for rate in (8_000, 48_000):
        resampled = Recording(soxr.resample(pcm, 16_000, rate).astype(np.int16), rate)
        assert verifier.listen(resampled.samples(), "407182").accepted


@pytest.mark.parametrize("text", ["", "12a", "1 2", "٣", "1" * 65])
def test_only_digits_can_be_expected(verifier: DigitVerifier, text: str) -> None:
    with pytest.raises(BiometricError, match="decimal digits"):
        verifier.listen(np.zeros(16_000, np.float32), text)


def test_the_pipeline_refuses_other_digits_without_saying_what_was_heard(say: Say) -> None:
    pipeline = VoicePipeline()
    said = say(1, "40718259")
    asked = Recording(said.pcm, said.rate, expected="16532047")
    with pytest.raises(CaptureRefused) as caught:
        pipeline.extract(asked)
    assert caught.value.quality.reasons == ("Say exactly the digits shown, one after another.",)
    assert "16532047" not in repr(asked)
    assert pipeline.extract(Recording(said.pcm, said.rate, expected="40718259")).features.side
    assert pipeline.extract(said).features.side == b"", "where nothing was asked, nothing is kept"


def test_a_matching_voice_with_other_digits_is_no_match(say: Say) -> None:
    """The voice alone would be accepted: that is what makes a recording of it useless."""
    pipeline = VoicePipeline()

    def features(digits: str, take: int, purpose: Purpose) -> object:
        said = say(1, digits, take)
        return pipeline.extract(Recording(said.pcm, said.rate, expected=digits), purpose).features

    template = enrol(pipeline, [features(digits, take, Purpose.ENROL) for take, digits in enumerate(ENROLLED)])
    right = features("40718259", 8, Purpose.VERIFY)
    assert match(pipeline, template, right).accepted

    old = DigitVerifier().listen(say(1, "40718259", 8).samples(), "16532047").takes
    replayed = type(right)(right.modality, right.model, right.vector, old)
    result = match(pipeline, template, replayed)
    assert result.score >= result.threshold
    assert not result.accepted
    assert result.margin == 0
