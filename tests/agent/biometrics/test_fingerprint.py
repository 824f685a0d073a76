import dataclasses

import cv2
import numpy as np
import pytest

from agent.biometrics import (
    BiometricError,
    CaptureRefused,
    FingerprintPipeline,
    ModelMismatch,
    Pipelines,
    Purpose,
    StraySample,
    enrol,
    match,
)
from agent.biometrics._nbis import NbisEngine
from agent.biometrics.finger.foreground import foreground
from agent.biometrics.finger.geometry import between, points, wrap
from agent.biometrics.fingerprint import normalise
from agent.biometrics.minutiae import most_reliable
from agent.biometrics.settings import FingerprintSettings
from hal import FingerprintImage
from tests.agent.biometrics.ridges import impression


@pytest.fixture(scope="module")
def samples(pipelines, fingers):
    return {
        finger: [pipelines.fingerprint.extract(image, Purpose.ENROL).features for image in fingers[finger][:count]]
        for finger, count in ((1, 5), (2, 1))
    }


def test_a_finger_matches_itself_and_no_other(pipelines: Pipelines, samples):
    template = pipelines.enrol(samples[1][:4])
    assert pipelines.match(template, samples[1][4]).accepted
    results = [pipelines.match(template, probe) for probe in samples[2]]
    assert not any(result.accepted for result in results)
    assert {result.margin for result in results} == {0}


def test_the_score_is_the_mean_of_the_two_best_impressions(pipelines: Pipelines, samples):
    enrolled, probe = tuple(one.vector for one in samples[1][:4]), samples[1][4].vector
    single = sorted(pipelines.fingerprint.compare((one,), (probe,)) for one in enrolled)
    assert pipelines.fingerprint.compare(enrolled, (probe,)) == pytest.approx(sum(single[-2:]) / 2)
    assert single[0] < single[-1]


def test_the_fast_extractor_tells_fingers_apart_and_its_features_are_no_one_elses(pipelines: Pipelines, fingers):
    fast = FingerprintPipeline(FingerprintSettings(extractor="fast"))
    own, stranger = ([fast.extract(image).features for image in fingers[finger]] for finger in (1, 2))
    template = enrol(fast, own[:4])
    assert match(fast, template, own[4]).accepted
    assert not match(fast, template, stranger[0]).accepted
    with pytest.raises(ModelMismatch):
        match(pipelines.fingerprint, template, pipelines.fingerprint.extract(fingers[1][4]).features)


def test_both_extractors_agree_on_where_minutiae_point(pipelines: Pipelines, fingers):
    """The convention of angles: one extractor's minutiae near another's point the same way, and not the other way."""
    pixels = fingers[1][0].pixels
    cells = foreground(pixels)
    neural = points(most_reliable(pipelines.fingerprint.minutiae(pixels, cells)))
    fast = points(most_reliable(NbisEngine().minutiae(pixels, cells)))
    near = np.hypot(between(neural.x, fast.x), between(neural.y, fast.y)) < 6
    turned = np.abs(wrap(between(neural.angle, fast.angle)))[near]
    mirrored = np.abs(wrap(between(neural.angle, -fast.angle)))[near]
    assert len(turned) > 10
    assert np.median(turned) < 0.3 < np.median(mirrored)


def test_another_resolution_matches_after_resampling(pipelines: Pipelines, samples):
    other = impression(1, 7, height=290, width=384, dpi=512)
    probe = pipelines.fingerprint.extract(other)
    assert pipelines.match(pipelines.enrol(samples[1][:4]), probe.features).accepted
    untrue = pipelines.fingerprint.extract(dataclasses.replace(impression(1, 7), dpi=700))
    truthful = pipelines.fingerprint.extract(impression(1, 7))
    template = pipelines.enrol(samples[1][:4])
    assert pipelines.match(template, untrue.features).score < pipelines.match(template, truthful.features).score / 2


def test_the_same_capture_gives_the_same_features(pipelines: Pipelines, fingers, samples):
    again = pipelines.fingerprint.extract(fingers[1][0]).features
    assert again.to_bytes() == samples[1][0].to_bytes()


def test_an_impression_of_another_finger_is_named_at_enrolment(pipelines: Pipelines, samples):
    mixed = [samples[1][0], samples[1][1], samples[2][0], samples[1][2]]
    with pytest.raises(StraySample) as caught:
        pipelines.enrol(mixed)
    assert caught.value.index == 2


@pytest.mark.parametrize(
    ("pixels", "hint"),
    [
        (np.full((374, 388), 255, np.uint8), "flat and in the middle"),
        (np.zeros((374, 388), np.uint8), "flat and in the middle"),
        (np.random.default_rng(0).integers(0, 30, (374, 388)).astype(np.uint8) * 2, "lightly"),
        (impression(1, 0).pixels[120:230, 120:230], "flat and in the middle"),
    ],
)
def test_a_bad_impression_is_refused_with_something_to_do(pipelines: Pipelines, pixels, hint: str):
    with pytest.raises(CaptureRefused) as caught:
        pipelines.fingerprint.extract(FingerprintImage(pixels, 500, 0, 0))
    assert hint in " ".join(caught.value.quality.reasons)
    assert not caught.value.quality.acceptable


def test_a_pale_impression_is_good_enough_to_match_and_not_to_enrol(pipelines: Pipelines, samples):
    pixels = impression(1, 4).pixels
    pale = FingerprintImage((255 - 0.16 * (255.0 - pixels)).astype(np.uint8), 500, 0, 0)
    template = pipelines.enrol(samples[1][:4])
    assert pipelines.match(template, pipelines.fingerprint.extract(pale, Purpose.VERIFY).features).accepted
    with pytest.raises(CaptureRefused) as caught:
        pipelines.fingerprint.extract(pale, Purpose.ENROL)
    assert "more firmly" in " ".join(caught.value.quality.reasons)


def test_noise_is_refused(pipelines: Pipelines):
    random = np.random.default_rng(2)
    blur = cv2.GaussianBlur(random.integers(0, 255, (374, 388)).astype(np.uint8), (0, 0), 1.5)
    with pytest.raises(CaptureRefused):
        pipelines.fingerprint.extract(FingerprintImage(cv2.convertScaleAbs(blur, alpha=3, beta=-255), 500, 0, 0))


def test_the_quick_look_agrees_on_area_and_needs_no_native_code(fingers):
    class NoEngine:
        """Fails whatever is asked of it."""

    pipeline = FingerprintPipeline(nbis=NoEngine(), leader=NoEngine())
    assert pipeline.assess(fingers[1][0]).acceptable
    empty = FingerprintImage(np.full((374, 388), 250, np.uint8), 500, 0, 0)
    assert pipeline.assess(empty).reasons


@pytest.mark.parametrize(
    "image",
    [
        FingerprintImage(np.zeros((10, 10), np.uint8), 500, 0, 0),
        FingerprintImage(np.zeros((374, 388), np.uint8), 0, 0, 0),
        FingerprintImage(np.zeros((374, 388), np.uint8), 100_000, 0, 0),
        FingerprintImage(np.zeros((4000, 4000), np.uint8), 500, 0, 0),
        FingerprintImage(np.zeros((374, 388, 3), np.uint8), 500, 0, 0),
    ],
)
def test_an_image_that_would_crash_the_native_code_is_refused_before_it(pipelines: Pipelines, image: FingerprintImage):
    with pytest.raises(BiometricError):
        pipelines.fingerprint.extract(image)


def test_normalising_keeps_the_scale_of_the_finger():
    half = normalise(FingerprintImage(np.zeros((300, 200), np.uint8), 1000, 0, 0))
    assert half.shape == (150, 100)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["FVC2002_DB1_B", "FVC2004_DB1_B"])
def test_real_presses_of_one_finger_are_accepted_and_others_are_not(pipelines: Pipelines, real_data, name: str):
    folder = real_data / "fingerprint" / name
    read = [
        FingerprintImage(cv2.imread(str(folder / press), cv2.IMREAD_GRAYSCALE), 500, 0, 0)
        for press in ("101/1.png", "101/2.png", "104/1.png")
    ]
    vectors = [pipelines.fingerprint.extract(image).features.vector for image in read]
    compare, accept = pipelines.fingerprint.compare, pipelines.fingerprint.threshold.accept
    assert compare((vectors[0],), (vectors[1],)) > 2 * accept
    assert compare((vectors[0],), (vectors[2],)) < accept
