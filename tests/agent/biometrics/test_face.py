import hashlib

import cv2
import face_recognition
import numpy as np
import pytest

from agent.biometrics import BiometricError, CaptureRefused, FacePipeline, ModelError, Pipelines, Purpose
from agent.biometrics import parameters as shipped
from agent.biometrics._dlib import Box, DlibEngine
from agent.biometrics._files import require_sha256
from agent.biometrics.parameters import FACE_SCALE
from hal import Frame


def altered(frame: Frame, change) -> Frame:
    return Frame(np.ascontiguousarray(np.clip(change(frame.bgr.astype(np.float32)), 0, 255).astype(np.uint8)), 0, 0)


def oracle(rgb: np.ndarray) -> np.ndarray:
    """face_recognition's descriptor of the first face, all settings at their defaults but the upsampling."""
    places = face_recognition.face_locations(rgb, number_of_times_to_upsample=0)
    return face_recognition.face_encodings(rgb, known_face_locations=places)[0]


def test_our_descriptor_equals_that_of_face_recognition(pipelines: Pipelines, portrait, frame: Frame):
    features = pipelines.face.extract([frame]).features
    expected = oracle(portrait)
    assert np.abs(features.vector / FACE_SCALE - expected).max() <= 0.5 / FACE_SCALE + 1e-6
    engine = DlibEngine()
    (box,) = engine.detect(portrait)
    assert np.abs(engine.describe(portrait, box) - expected).max() < 1e-6
    moved = engine.describe(portrait, Box(box.left + 40, box.top, box.right + 40, box.bottom))
    assert np.abs(moved - expected).max() > 1e-3


def test_our_descriptor_equals_that_of_face_recognition_at_its_own_defaults(portrait):
    engine = DlibEngine()
    ours = [engine.describe(portrait, box) for box in engine.detect(portrait, upsample=1)]
    assert np.abs(np.array(ours) - np.array(face_recognition.face_encodings(portrait))).max() < 1e-6


@pytest.mark.realdata
def test_our_descriptor_equals_that_of_face_recognition_on_real_pictures(real_data):
    engine, compared = DlibEngine(), 0
    for path in sorted((real_data / "face/caltech_faces_easy").glob("*/*"))[::10]:
        rgb = np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])
        boxes = engine.detect(rgb)
        places = face_recognition.face_locations(rgb, number_of_times_to_upsample=0)
        assert len(boxes) == len(places)
        for box, place in zip(boxes, places, strict=True):
            (expected,) = face_recognition.face_encodings(rgb, known_face_locations=[place])
            assert np.abs(engine.describe(rgb, box) - expected).max() < 1e-6
            compared += 1
    assert compared >= 8


@pytest.mark.realdata
def test_real_people_match_themselves_and_nobody_else(pipelines: Pipelines, real_data):
    folders = sorted((real_data / "face/caltech_faces_easy").iterdir())[:4]
    people = [
        [pipelines.face.extract([Frame(cv2.imread(str(path)), 0, 0)]).features for path in sorted(folder.iterdir())[:4]]
        for folder in folders
    ]
    for person, group in enumerate(people):
        template = pipelines.enrol(group[:3])
        accepted = [pipelines.match(template, other[3]).accepted for other in people]
        assert accepted == [index == person for index in range(len(people))]


def test_frames_are_averaged(pipelines: Pipelines, frame: Frame):
    brighter = altered(frame, lambda picture: picture * 0.8)
    single = [pipelines.face.extract([one]).features.vector.astype(int) for one in (frame, brighter)]
    both = pipelines.face.extract([frame, brighter]).features.vector
    assert np.abs(both - (single[0] + single[1]) / 2).max() <= 1


def test_a_large_picture_gives_nearly_the_same_descriptor(pipelines: Pipelines, frame: Frame):
    large = Frame(cv2.resize(frame.bgr, (1280, 1280), interpolation=cv2.INTER_CUBIC), 0, 0)
    template = pipelines.enrol([pipelines.face.extract([frame]).features])
    assert pipelines.match(template, pipelines.face.extract([large]).features).margin == 100


def test_unusable_frames_among_good_ones_do_no_harm(pipelines: Pipelines, frame: Frame):
    black = altered(frame, lambda picture: picture * 0.0)
    alone = pipelines.face.extract([frame])
    among = pipelines.face.extract([black, frame, black])
    assert among.features.to_bytes() == alone.features.to_bytes()


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda picture: picture * 0.0, "Look into the camera"),
        (lambda picture: picture * 0.15, "too dark"),
        (lambda picture: cv2.GaussianBlur(picture, (0, 0), 4.0), "blurred"),
        (lambda picture: np.hstack([picture[:, 100:400]] * 2), "Only one person"),
        (lambda picture: cv2.resize(picture, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA), "closer"),
    ],
)
def test_a_bad_picture_is_refused_with_something_to_do(pipelines: Pipelines, frame: Frame, change, hint: str):
    with pytest.raises(CaptureRefused) as caught:
        pipelines.face.extract([altered(frame, change)])
    assert hint in " ".join(caught.value.quality.reasons)


def test_live_feedback_is_that_of_the_newest_frame(pipelines: Pipelines, frame: Frame):
    dark = altered(frame, lambda picture: picture * 0.15)
    assert pipelines.face.assess([dark, frame]).acceptable
    assert not pipelines.face.assess([frame, dark]).acceptable
    assert not pipelines.face.assess([]).acceptable


def test_enrolment_asks_for_a_larger_face_than_verification(pipelines: Pipelines, frame: Frame):
    small = altered(frame, lambda picture: cv2.resize(picture, None, fx=0.65, fy=0.65, interpolation=cv2.INTER_AREA))
    assert pipelines.face.extract([small], Purpose.VERIFY)
    with pytest.raises(CaptureRefused):
        pipelines.face.extract([small], Purpose.ENROL)


class TwoPeople(DlibEngine):
    """A network that sees another person in every second picture."""

    def __init__(self, apart: float) -> None:
        super().__init__()
        self._apart, self._calls = apart, 0

    def describe(self, rgb, box):
        self._calls += 1
        descriptor = np.zeros(128)
        descriptor[self._calls % 2] = self._apart / 2**0.5
        return descriptor


def test_frames_of_two_people_are_refused(frame: Frame):
    assert FacePipeline(engine=TwoPeople(0.4)).extract([frame, frame])
    with pytest.raises(CaptureRefused, match="same face"):
        FacePipeline(engine=TwoPeople(0.7)).extract([frame, frame])


@pytest.mark.parametrize("shape", [(480, 640), (480, 640, 4), (20, 20, 3), (5000, 100, 3)])
def test_a_malformed_frame_is_refused(pipelines: Pipelines, shape: tuple[int, ...]):
    with pytest.raises(BiometricError):
        pipelines.face.extract([Frame(np.zeros(shape, np.uint8), 0, 0)])


def test_a_model_file_that_was_changed_is_refused(tmp_path):
    file = tmp_path / "model.dat"
    file.write_bytes(b"weights")
    with pytest.raises(ModelError, match="is pinned"):
        require_sha256(file, shipped.FACE_MODEL_SHA256)
    with pytest.raises(ModelError, match="cannot be read"):
        require_sha256(tmp_path / "absent.dat", shipped.FACE_MODEL_SHA256)
    require_sha256(file, hashlib.sha256(b"weights").hexdigest())


def test_a_pattern_that_only_resembles_a_face_is_no_second_person(pipelines: Pipelines, frame: Frame):
    enlarged = Frame(cv2.resize(frame.bgr, (520, 520)), 0, 0)
    finds = DlibEngine().detect(np.ascontiguousarray(enlarged.bgr[:, :, ::-1]))
    assert len(finds) == 2
    assert pipelines.face.extract([enlarged])
