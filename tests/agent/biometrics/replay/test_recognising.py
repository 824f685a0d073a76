"""Captures of the shipped personas through the agent's own pipelines: a second capture passes where a copy does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from agent.biometrics import BiometricError, Features, Modality, Recording
from agent.biometrics._dlib import shared_engine
from agent.biometrics.live_frames import LiveFrames
from agent.biometrics.replay import finger, recogniser
from agent.modalities._own import OwnPipeline
from agent.modalities.voice import Utterance
from agent.pipelines import DIGEST_BYTES
from hal import FingerprintImage, Frame
from simulators.attacks import face as face_attacks
from simulators.attacks import finger as finger_attacks
from simulators.attacks import voice as voice_attacks
from simulators.personas import shipped_personas

PERSON = shipped_personas()[0]
FINGER, FACE, VOICE = (recogniser(modality) for modality in Modality)


def impression(number: int) -> FingerprintImage:
    return FingerprintImage(*PERSON.finger(number), 0, 0)


def frames(seconds: float) -> list[Frame]:
    return [Frame(PERSON.frame(seconds + step / 30), 0, 0) for step in range(3)]


def sound(digits: str, take: int) -> np.ndarray:
    return PERSON.say(digits, take)[0] / 32768.0


def recording(samples: np.ndarray) -> Recording:
    return Recording(np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16), voice_attacks.RATE)


@pytest.fixture(scope="module")
def pressed() -> list[bytes]:
    return [FINGER.digest(FINGER.trace(impression(number))) for number in range(4)]


@pytest.fixture(scope="module")
def looked() -> list[bytes]:
    return [FACE.digest(FACE.trace(frames(seconds))) for seconds in (3.0, 50.0, 120.0)]


@pytest.fixture(scope="module")
def said() -> list[bytes]:
    return [VOICE.digest(VOICE.trace(recording(sound("407182", take)))) for take in range(3)]


@pytest.mark.parametrize("disguise", finger_attacks.DISGUISES)
def test_an_impression_is_known_again_through_any_disguise(pressed: list[bytes], disguise: str) -> None:
    pixels = finger_attacks.DISGUISES[disguise](impression(2).pixels, np.random.default_rng(5))
    assert FINGER.replayed(pressed, FINGER.trace(FingerprintImage(pixels, 500, 0, 0)))


def test_further_impressions_of_the_same_finger_are_new(pressed: list[bytes]) -> None:
    assert not any(FINGER.replayed(pressed, FINGER.trace(impression(number))) for number in range(4, 10))


@pytest.mark.parametrize("disguise", face_attacks.DISGUISES)
def test_frames_are_known_again_through_any_disguise(looked: list[bytes], disguise: str) -> None:
    rng = np.random.default_rng(5)
    shown = [Frame(face_attacks.DISGUISES[disguise](one.bgr, rng), 0, 0) for one in frames(50.0)]
    assert FACE.replayed(looked, FACE.trace(shown))


def test_the_same_face_at_other_moments_is_new(looked: list[bytes]) -> None:
    assert not any(FACE.replayed(looked, FACE.trace(frames(seconds))) for seconds in (20.0, 75.0, 200.0, 333.0))


def test_one_new_frame_makes_a_presentation_new(looked: list[bytes]) -> None:
    mixed = [*frames(50.0)[:2], Frame(PERSON.frame(222.0), 0, 0)]
    assert not FACE.replayed(looked, FACE.trace(mixed))


def test_frames_mixed_from_old_presentations_are_known(looked: list[bytes]) -> None:
    mixed = [frames(3.0)[0], frames(120.0)[1], frames(50.0)[2]]
    assert FACE.replayed(looked, FACE.trace(mixed))
    assert not FACE.replayed(looked[:2], FACE.trace(mixed))


def test_every_frame_of_the_longest_answer_is_kept() -> None:
    answer = [Frame(PERSON.frame(20.0 + 15.25 * number), 0, 0) for number in range(7)]
    kept = FACE.digest(FACE.trace(answer))
    assert len(kept) <= DIGEST_BYTES
    assert all(FACE.replayed([kept], FACE.trace([one])) for one in answer)


def test_the_face_that_was_recognised_is_traced_and_no_surer_one() -> None:
    """Beside another head the frames are known by the place; without it, the surest face is taken, whose it may be."""
    pair = np.hstack([PERSON.frame(50.0), shipped_personas()[1].frame(9.0)])
    found = shared_engine().detect(np.ascontiguousarray(pair[:, :, ::-1]))
    assert len(found) == 2
    left, right = sorted(found, key=lambda box: box.left)
    shown = [Frame(pair, 0, 0)]
    mine, other = (FACE.digest(FACE.trace(LiveFrames.of(shown, places=[place]))) for place in (left, right))
    alone = FACE.trace(frames(50.0)[:1])
    assert FACE.replayed([mine], alone)
    assert not FACE.replayed([other], alone)


def test_frames_of_one_sitting_are_repeated_only_when_they_are_equal(looked: list[bytes]) -> None:
    """Two frames a thirtieth of a second apart are alike to the other check: that is what this one is for."""
    one, other = (FACE.trace([Frame(PERSON.frame(seconds), 0, 0)]) for seconds in (9.0, 9.04))
    kept = [FACE.digest(one)]
    assert FACE.repeated(kept, one)
    assert not FACE.repeated(kept, other)
    assert FACE.replayed(kept, other)


@pytest.mark.parametrize("disguise", [name for name in voice_attacks.DISGUISES if name != "telephoned"])
def test_a_recording_is_known_again_through_any_disguise(said: list[bytes], disguise: str) -> None:
    """A telephone's filter turns the phases of the band: docs/biometrics/replay.md."""
    heard = voice_attacks.DISGUISES[disguise](sound("407182", 1), np.random.default_rng(5))
    assert VOICE.replayed(said, VOICE.trace(recording(heard)))


def test_the_same_digits_said_again_are_new(said: list[bytes]) -> None:
    assert not any(VOICE.replayed(said, VOICE.trace(recording(sound("407182", take)))) for take in range(3, 9))


def test_half_an_earlier_answer_joined_to_another_is_known(said: list[bytes]) -> None:
    halves = [sound("407182", 0)[4_000:40_000], sound("407182", 2)[30_000:60_000]]
    assert VOICE.repeated(said, VOICE.trace(recording(np.concatenate(halves))))


@pytest.mark.parametrize("modality", list(Modality))
def test_digests_are_small_and_foreign_ones_are_an_error(modality: Modality, pressed, looked, said) -> None:
    mine = {Modality.FINGERPRINT: pressed, Modality.FACE: looked, Modality.VOICE: said}[modality]
    assert all(0 < len(one) <= 2_680 for one in mine)
    capture = {
        Modality.FINGERPRINT: impression(9),
        Modality.FACE: frames(9.0),
        Modality.VOICE: recording(sound("4071", 9)),
    }[modality]
    trace = recogniser(modality).trace(capture)
    for foreign in (b"x", mine[0][:-1], mine[0] + b"xy"):
        with pytest.raises(BiometricError):
            recogniser(modality).replayed([foreign], trace)


def test_nothing_to_see_or_hear_is_never_a_replay() -> None:
    blank = FINGER.trace(FingerprintImage(np.full((300, 300), 250, np.uint8), 500, 0, 0))
    empty = FACE.trace([Frame(np.zeros((480, 640, 3), np.uint8), 0, 0)])
    silent = VOICE.trace(recording(np.zeros(16_000)))
    assert not FINGER.replayed([FINGER.digest(blank)], blank)
    assert not FACE.replayed([FACE.digest(empty)], empty)
    assert not VOICE.replayed([VOICE.digest(silent)], silent)


def test_features_carry_the_trace_and_neither_repr_nor_template_does() -> None:
    pipeline = OwnPipeline.of("fingerprint", extractor="fast")
    taken = [pipeline.examine([impression(number)], "enrolment").features for number in range(4)]
    assert all(isinstance(one, Features) and one.trace for one in taken)
    assert "trace" not in repr(taken[0])
    digests = [pipeline.digest(one) for one in taken]
    assert max(map(len, digests)) <= DIGEST_BYTES
    assert pipeline.replayed(digests, taken[1])
    assert not pipeline.replayed(digests[:1] + digests[2:], taken[1])
    assert not any(digest in pipeline.enrol(taken) for digest in digests)


@pytest.mark.parametrize("spoilt", range(3))
def test_a_frame_that_is_passed_over_does_not_hide_a_copy(spoilt: int) -> None:
    """Frames of another moment, spoilt alike, are the negative control; traced with all, the copy would be new."""
    pipeline = OwnPipeline.of("face")
    black = Frame(np.zeros_like(frames(0.0)[0].bgr), 0, 0)
    first = pipeline.examine(frames(50.0), "challenge").features
    for seconds, known in ((50.0, True), (333.0, False)):
        shown = frames(seconds)
        shown[spoilt] = black
        features = pipeline.examine(shown, "challenge").features
        assert pipeline.replayed([pipeline.digest(first)], features) is known
        assert not FACE.replayed([pipeline.digest(first)], FACE.trace(shown))


def test_an_utterance_goes_through_the_agent_s_pipeline() -> None:
    pipeline = OwnPipeline.of("voice")
    utterances = [Utterance(*PERSON.say("40718259", take), overflow=False) for take in (0, 1)]
    first, second = (pipeline.examine([one], "challenge").features for one in utterances)
    assert pipeline.replayed([pipeline.digest(first)], first)
    assert not pipeline.replayed([pipeline.digest(first)], second)


@pytest.mark.parametrize("size", [0.98, 1.02])
@pytest.mark.parametrize("person", [0, 1])
def test_a_finger_that_was_made_larger_or_smaller_is_a_copy(person: int, size: float) -> None:
    pixels, dpi = shipped_personas()[person].finger(0)
    height, width = pixels.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 0, size)
    scaled = np.asarray(cv2.warpAffine(pixels, matrix, (width, height), borderValue=255), np.uint8)
    kept = finger.digest(finger.trace(FingerprintImage(pixels, dpi, 0, 0)))
    assert finger.replayed([kept], finger.trace(FingerprintImage(scaled, dpi, 0, 0)))
