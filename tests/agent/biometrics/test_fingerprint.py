import dataclasses

import cv2
import numpy as np
import pytest

from agent.biometrics import BiometricError, CaptureRefused, Pipelines, Purpose, StraySample
from agent.biometrics.fingerprint import normalise
from hal import FingerprintImage
from tests.agent.biometrics.ridges import impression


@pytest.fixture(scope="module")
def samples(pipelines, fingers):
    return {
        finger: [pipelines.fingerprint.extract(image, Purpose.ENROL).features for image in images]
        for finger, images in fingers.items()
    }


def test_a_finger_matches_itself_and_no_other(pipelines: Pipelines, samples):
    template = pipelines.enrol(samples[1][:4])
    assert pipelines.match(template, samples[1][4]).accepted
    results = [pipelines.match(template, probe) for probe in samples[2]]
    assert not any(result.accepted for result in results)
    assert {result.margin for result in results} == {0}


def test_the_score_is_the_sum_of_the_two_best_impressions(pipelines: Pipelines, samples):
    enrolled, probe = tuple(one.vector for one in samples[1][:4]), samples[1][4].vector
    single = sorted(pipelines.fingerprint.compare((one,), (probe,)) for one in enrolled)
    assert pipelines.fingerprint.compare(enrolled, (probe,)) == sum(single[-2:])


def test_our_form_of_the_minutiae_scores_as_the_library_does_itself(fingers):
    import nbis

    settings = nbis.NbisExtractorSettings(
        min_quality=0.0, get_center=False, check_fingerprint=False, compute_nfiq2=False, ppi=500.0
    )
    extractor = nbis.new_nbis_extractor(settings)
    pngs = [cv2.imencode(".png", image.pixels)[1].tobytes() for image in fingers[1][:3]]
    native = [extractor.extract_minutiae(png) for png in pngs]
    ours = Pipelines().fingerprint
    vectors = [ours.extract(image).features.vector for image in fingers[1][:3]]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert ours.compare((vectors[one],), (vectors[other],)) == native[one].compare(native[other]) > 100


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


def test_noise_is_refused(pipelines: Pipelines):
    random = np.random.default_rng(2)
    blur = cv2.GaussianBlur(random.integers(0, 255, (374, 388)).astype(np.uint8), (0, 0), 1.5)
    with pytest.raises(CaptureRefused):
        pipelines.fingerprint.extract(FingerprintImage(cv2.convertScaleAbs(blur, alpha=3, beta=-255), 500, 0, 0))


def test_the_quick_look_agrees_on_area_and_needs_no_native_code(fingers):
    class NoEngine:
        """Fails whatever is asked of it."""

    from agent.biometrics import FingerprintPipeline

    pipeline = FingerprintPipeline(engine=NoEngine())
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
